//! The flags that choose a network, for the verbs that build one.

use super::train::pair;
use crate::train::Settings;

/// Which network.
#[derive(clap::Args, Clone, Debug)]
pub struct Network {
    /// The published network to start from
    #[arg(long, help_heading = "Network", value_name = "NAME")]
    preset: Option<String>,
    /// Widths of the encoder's hidden layers, such as 512,256; the decoder mirrors them
    #[arg(long, help_heading = "Network", value_name = "N,N,…", value_delimiter = ',')]
    hidden: Option<Vec<usize>>,
    /// Whether the prior is a function of the condition: p(z|c), a Gaussian from a network of c, in N(0, I)'s place
    #[arg(long, help_heading = "Network", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    conditional_prior: Option<bool>,
    /// Number of latents
    #[arg(long, help_heading = "Network", value_name = "N")]
    latent: Option<usize>,
    /// Hidden layers: dense or gated
    #[arg(long, help_heading = "Network", value_name = "KIND")]
    layer: Option<String>,
    /// Activation of dense layers: relu, tanh, sigmoid, softplus, gelu, leaky-relu or elu
    #[arg(long, help_heading = "Network", value_name = "NAME")]
    activation: Option<String>,
    /// What hidden layers are normalised by: none, layer (each row by its own mean and variance) or batch (each unit by those
    /// over the batch's rows, and in the decoder over all their samples; by running averages in use)
    #[arg(long, help_heading = "Network", value_name = "KIND")]
    norm: Option<String>,
    /// Whether there is a way around each hidden layer that is as wide as its input
    #[arg(long, help_heading = "Network", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    residual: Option<bool>,
    /// Share of each hidden layer's outputs that a training step leaves out
    #[arg(long, help_heading = "Network", value_name = "SHARE")]
    dropout: Option<f64>,
    /// Heads for mean and log-variance: joint or separate
    #[arg(long, help_heading = "Network", value_name = "STYLE")]
    heads: Option<String>,
    /// p(x|z): bernoulli, gaussian, gaussian:0.1, laplace, poisson, categorical:K, …; an unknown name lists them all
    #[arg(long, help_heading = "Network", value_name = "NAME")]
    likelihood: Option<String>,
    /// p(z): standard, mixture:COMPONENTS (learned), vamp:COMPONENTS (posteriors of learned pseudo-inputs), flow:COUPLINGS (a
    /// normalizing flow; flow:COUPLINGS:WIDTH also says how wide its nets are), exemplar:DRAWN:NEAREST (around the training
    /// rows: so many drawn a step, the nearest of them to each row) or vae:LATENTxWIDTH,… (more stochastic layers, up to four:
    /// each of LATENT latents, with two hidden layers of WIDTH units to and from those below)
    #[arg(long, help_heading = "Network", value_name = "NAME")]
    prior: Option<String>,
    /// q(z|x): diagonal, full (any covariance), planar:STEPS or iaf:STEPS (flows on the diagonal one)
    #[arg(long, help_heading = "Network", value_name = "NAME")]
    posterior: Option<String>,
    /// Stochastic layers between z and the data, from z down: none, hvae:LATENTxWIDTH,… (each posterior by a network of x and of the
    /// level above, and the decoder sees every level) or ladder:LATENTxWIDTH,… (each posterior is what the level above expects,
    /// corrected by x, and the decoder sees the lowest); WIDTH is that of the hidden layers between a level and the one above
    #[arg(long, help_heading = "Network", value_name = "NAME")]
    lower: Option<String>,
    /// Two numbers between which the log-variances of the posterior are kept, and those of further
    /// levels of latents, such as -6,2
    #[arg(long, help_heading = "Network", value_name = "LOW,HIGH", value_parser = pair, allow_hyphen_values = true)]
    log_variance: Option<[f64; 2]>,
    /// Initial parameters: torch, glorot or he
    #[arg(long, help_heading = "Network", value_name = "NAME")]
    init: Option<String>,
}

impl Network {
    /// These flags, as settings.
    pub fn settings(&self) -> Settings {
        Settings {
            preset: self.preset.clone(),
            hidden: self.hidden.clone(),
            conditional_prior: self.conditional_prior,
            latent: self.latent,
            layer: self.layer.clone(),
            activation: self.activation.clone(),
            norm: self.norm.clone(),
            residual: self.residual,
            dropout: self.dropout,
            heads: self.heads.clone(),
            likelihood: self.likelihood.clone(),
            prior: self.prior.clone(),
            posterior: self.posterior.clone(),
            lower: self.lower.clone(),
            log_variance: self.log_variance,
            init: self.init.clone(),
            ..Settings::default()
        }
    }
}
