//! Which network: the published presets, and any of them resized.

use crate::density::{LikelihoodKind, LowerKind, PosteriorKind, PriorKind};
use crate::error::{Error, Result};
use crate::layer::{Activation, InitScheme, check_activation};

/// How the posterior's mean and log-variance come out of the encoder's last hidden layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Heads {
    /// One dense layer of twice the latents: means first.
    #[default]
    Joint,
    /// A dense layer each.
    Separate,
}

impl Heads {
    /// Every style, with its name in configurations.
    pub const ALL: [(&'static str, Heads); 2] = [("joint", Heads::Joint), ("separate", Heads::Separate)];
}

/// What a hidden layer is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Hidden {
    /// A dense layer with this activation.
    Dense(Activation),
    /// A gated dense layer.
    Gated,
}

/// How the outputs of a hidden layer's product are normalised before its activation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Norm {
    /// Not at all.
    #[default]
    None,
    /// Each row by its own mean and variance: [`LayerNorm`](crate::layer::LayerNorm).
    Layer,
    /// Each unit by its mean and variance over the batch, [`BatchNorm`](crate::layer::BatchNorm): in the encoder over its n rows,
    /// in the decoder over all n·k samples. A model in use takes their running averages.
    Batch,
}

impl Norm {
    /// Every kind, with its name in configurations.
    pub const ALL: [(&'static str, Norm); 3] = [("none", Norm::None), ("layer", Norm::Layer), ("batch", Norm::Batch)];
}

/// A dense VAE's architecture. The decoder mirrors the encoder.
#[derive(Clone, PartialEq, Debug)]
pub struct VaeConfig {
    /// The preset it started from.
    pub preset: &'static str,
    /// Columns of x.
    pub inputs: usize,
    /// Widths of the encoder's hidden layers; the decoder has them in reverse.
    pub hidden: Vec<usize>,
    /// What the hidden layers are.
    pub layer: Hidden,
    /// How they are normalised; of gated layers, what comes out of the gates.
    pub norm: Norm,
    /// Whether there is a way around each hidden layer that is as wide as its input.
    pub residual: bool,
    /// The share of a hidden layer's outputs that a training step leaves out: see [`Dropout`](crate::layer::Dropout).
    pub dropout: f64,
    /// Columns of the rows' [condition](VaeConfig::row_cols) c; 0 of none.
    pub condition: usize,
    /// Whether the prior is a function of the condition.
    pub conditional_prior: bool,
    /// Columns of z.
    pub latent: usize,
    /// The posterior's heads.
    pub heads: Heads,
    /// p(x|z).
    pub likelihood: LikelihoodKind,
    /// p(z).
    pub prior: PriorKind,
    /// q(z|x).
    pub posterior: PosteriorKind,
    /// Stochastic layers between z and the data.
    pub lower: LowerKind,
    /// Between which numbers the posterior's log-variances are kept; anywhere, if none are given, but for [levels below
    /// z](VaeConfig::lower), which then have bounds of their own. Of a full covariance they are
    /// those of each latent given the ones before it, of a flow those of its base.
    pub log_variance: Option<[f64; 2]>,
    /// Initial parameters.
    pub init: InitScheme,
}

/// A published network, with the settings that it is usually trained with.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    hidden: &'static [usize],
    layer: Hidden,
    latent: usize,
    heads: Heads,
    likelihood: LikelihoodKind,
    init: InitScheme,
    /// Rows of a batch.
    pub batch_size: usize,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Adam's ε.
    pub adam_epsilon: f64,
}

const RELU: Hidden = Hidden::Dense(Activation::Relu);

const MLP_400: Preset = Preset {
    name: "mlp-400",
    about: "400 – 20 – 400 ReLU, the network that most VAE code shares (PyTorch's example)",
    hidden: &[400],
    layer: RELU,
    latent: 20,
    heads: Heads::Separate,
    likelihood: LikelihoodKind::Bernoulli,
    init: InitScheme::Torch,
    batch_size: 128,
    learning_rate: 1e-3,
    adam_epsilon: 1e-8,
};

/// Every preset.
pub const PRESETS: [Preset; 8] = [
    MLP_400,
    Preset {
        name: "mlp-512-256",
        about: "512 – 256 – 20 and back, ReLU, one head for mean and log-variance",
        hidden: &[512, 256],
        heads: Heads::Joint,
        ..MLP_400
    },
    Preset {
        name: "mlp-512-256-separate",
        about: "512 – 256 – 20 and back, ReLU, a head each for mean and log-variance",
        hidden: &[512, 256],
        ..MLP_400
    },
    Preset {
        name: "mlp-one",
        about: "one hidden layer of any width (--hidden), cross-entropy",
        hidden: &[500],
        heads: Heads::Joint,
        ..MLP_400
    },
    Preset {
        name: "mlp-one-squared",
        about: "one hidden layer of any width (--hidden), squared error (unit-variance Gaussian)",
        hidden: &[500],
        heads: Heads::Joint,
        likelihood: LikelihoodKind::GaussianUnit,
        ..MLP_400
    },
    Preset {
        name: "tabular",
        about: "64 – 32 – 2 – 32 – 64 ReLU, unit-variance Gaussian, for numbers in columns",
        hidden: &[64, 32],
        latent: 2,
        likelihood: LikelihoodKind::GaussianUnit,
        batch_size: 32,
        ..MLP_400
    },
    Preset {
        name: "iwae-200",
        about: "200 – 200 – 50 tanh (Burda, Grosse and Salakhutdinov 2016)",
        hidden: &[200, 200],
        layer: Hidden::Dense(Activation::Tanh),
        latent: 50,
        init: InitScheme::Glorot,
        batch_size: 20,
        adam_epsilon: 1e-4,
        ..MLP_400
    },
    Preset {
        name: "gated-300",
        about: "300 – 300 gated – 40 (Tomczak and Welling 2018)",
        hidden: &[300, 300],
        layer: Hidden::Gated,
        latent: 40,
        init: InitScheme::He,
        batch_size: 100,
        learning_rate: 5e-4,
        ..MLP_400
    },
];

impl Preset {
    /// The preset of a name.
    ///
    /// # Errors
    /// When there is none; the message names the nearest.
    pub fn named(name: &str) -> Result<&'static Preset> {
        let names = PRESETS.map(|p| p.name);
        PRESETS.iter().find(|p| p.name == name).ok_or_else(|| crate::nearest::unknown("preset", name, &names))
    }
    /// Its architecture for rows of `inputs` columns.
    pub fn config(&self, inputs: usize) -> VaeConfig {
        VaeConfig {
            preset: self.name,
            inputs,
            hidden: self.hidden.to_vec(),
            layer: self.layer,
            norm: Norm::None,
            residual: false,
            dropout: 0.0,
            condition: 0,
            conditional_prior: false,
            latent: self.latent,
            heads: self.heads,
            likelihood: self.likelihood,
            prior: PriorKind::StandardNormal,
            posterior: PosteriorKind::Diagonal,
            lower: LowerKind::None,
            log_variance: None,
            init: self.init,
        }
    }
}

/// More parameters than this are taken for a slip: 2³¹ of them need 32 GB to train.
const MOST_PARAMETERS: usize = 1 << 31;

impl VaeConfig {
    /// Whether the posterior's KL to the prior has a closed form; where it has none, an objective's terms are sampled.
    pub fn closed_form(&self) -> bool {
        self.prior.closed_form() && self.posterior.is_gaussian() && self.lower == LowerKind::None
    }
    /// Whether a row's KL, or an upper bound on it, is to be had without a draw.
    pub fn kl_without_draws(&self) -> bool {
        self.posterior == PosteriorKind::Diagonal || self.closed_form()
    }
    /// Hidden units of an autoregressive flow's networks: as many as the encoder's last hidden layer has, or without one twice as
    /// many as latents.
    pub fn flow_width(&self) -> usize {
        self.hidden.last().map_or(self.latent.saturating_mul(2), |width| *width)
    }
    /// Columns E of the encoder's output η: means, log-variances, and what else the posterior takes.
    pub fn posterior_columns(&self) -> usize {
        let more = self.posterior.more_columns(self.latent, self.flow_width());
        self.latent.saturating_mul(2).saturating_add(more)
    }
    /// Whether a network can be built from it.
    ///
    /// # Errors
    /// Widths of 0, a number of the likelihood or the activation out of range, a preset that there is not, what cannot be combined,
    /// or more parameters than any memory holds.
    pub fn check(&self) -> Result<()> {
        // Files know both by name.
        Preset::named(self.preset)?;
        if let Hidden::Dense(activation) = self.layer {
            check_activation(activation)?;
        }
        self.likelihood.check()?;
        self.prior.check()?;
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::input(format!(
                "the share that is left out lies from 0 to below 1, and {} does not",
                self.dropout
            ))
            .hint("--dropout 0.2, for example"));
        }
        self.posterior.check()?;
        self.check_condition()?;
        self.check_lower()?;
        self.check_norm()?;
        if let Some([low, high]) = self.log_variance
            && !(low.is_finite() && high.is_finite() && low < high)
        {
            return Err(Error::input(format!("log-variances cannot lie between {low} and {high}"))
                .hint("--log-variance=-6,2, for example"));
        }
        if self.posterior != PosteriorKind::Diagonal
            && matches!(self.prior, PriorKind::Vamp(_) | PriorKind::Exemplar { .. })
        {
            return Err(Error::input(format!(
                "the components of the prior {} come from the encoder, whose posteriors are then diagonal, and not {}",
                self.prior, self.posterior
            ))
            .hint("--prior mixture:500 has components of its own; or leave --posterior out"));
        }
        let positive = |what: &str, n: usize, flag: &str| match n {
            0 => Err(Error::input(format!("{what} must be at least 1, not 0")).hint(flag.to_string())),
            _ => Ok(()),
        };
        positive("the number of columns", self.inputs, "the data have no columns")?;
        positive("the number of latents", self.latent, "--latent 20, for example")?;
        self.prior.check_latent(self.latent)?;
        for &width in &self.hidden {
            positive("a hidden layer's width", width, "--hidden 400, for example")?;
        }
        let product = |sum: usize, w: &Vec<usize>| {
            w.windows(2).try_fold(sum, |sum, p| sum.checked_add(p[0].checked_add(1)?.checked_mul(p[1])?))
        };
        let parameters = self.chains().iter().try_fold(0, product);
        let posterior = self.posterior.parameters(self.latent, self.flow_width());
        let prior = self.prior.parameters(self.inputs, self.latent).saturating_add(posterior);
        let encoded = self.hidden.last().copied().unwrap_or(self.inputs);
        let more = prior.saturating_add(self.lower.parameters(self.inputs, encoded, self.latent));
        match parameters.map(|n| n.saturating_add(more)) {
            Some(n) if n <= MOST_PARAMETERS => Ok(()),
            _ => Err(Error::input("the network would have more than 2^31 parameters").hint(
                "choose a smaller --hidden or --latent, fewer columns, components of the prior, steps of a flow or levels",
            )),
        }
    }
}
