//! From settings, as written, to a checked configuration, and back.

use super::config::check_penalty;
use super::{Capacity, OutputBias, Settings, TrainConfig};
use crate::data::{Binarize, Dataset, View};
use crate::density::{LikelihoodKind, LowerKind, PosteriorKind, PriorKind};
use crate::error::{Error, Result};
use crate::estimator::{BetaSchedule, Objective, ObjectiveKind, PathGradient, Penalty};
use crate::layer::{Activation, InitScheme, activation_name, parse_activation};
use crate::model::{Corruption, Heads, Hidden, Norm, Preset, VaeConfig};
use crate::nearest::unknown;
use crate::optim::{OptimizerConfig, OptimizerKind};
use std::str::FromStr;

/// Steps that a run of the default length has at least.
const DEFAULT_STEPS: u64 = 2000;

/// The rising part of a cycle of beta (Fu et al., 2019, section 4).
const CYCLE_RATIO: f64 = 0.5;

/// What hidden layers can be, by name.
const LAYERS: [&str; 2] = ["dense", "gated"];

impl Settings {
    /// The checked configuration of a run on `data`, and what there is to say about it: settings that had to be changed
    /// to make sense, grey values under a Bernoulli likelihood, and [data beyond memory](Dataset::note).
    ///
    /// What is not set comes from the preset, which is `mlp-400` for pictures and `tabular` for other data. Without
    /// `epochs` a run has at least 10, and in tens as many as make 2,000 steps, but no more than 100.
    ///
    /// # Errors
    /// Unknown names (with the nearest), settings out of range or that contradict each other.
    pub fn resolve(&self, data: &Dataset) -> Result<(TrainConfig, Vec<String>)> {
        let preset = self.base_preset(data.all())?;
        let mut config = TrainConfig::new(preset, data.all().cols());
        config.vae = self.network_from(preset, data.all().cols())?;
        config.vae.condition = data.all().condition_cols();
        if self.condition.is_some() && data.condition().is_none() {
            return Err(Error::input("the data have no condition").hint("Settings::split gives them theirs"));
        }
        config.batch_size = self.batch_size.unwrap_or(config.batch_size);
        let steps_per_epoch = config.steps_per_epoch(data.train().len());
        config.epochs = self.epochs.unwrap_or_else(|| default_epochs(steps_per_epoch));
        let total = config.epochs.checked_mul(steps_per_epoch).filter(|&t| t < 1 << 53);
        let total =
            total.ok_or_else(|| Error::input(format!("{} epochs are too many steps to count", config.epochs)))?;

        let mut warnings = Vec::new();
        config.optimizer = self.optimizer(preset)?;
        let (schedule, warning) = parse(&self.schedule, "schedule", config.schedule)?.check(total)?;
        config.schedule = schedule;
        warnings.extend(warning.map(|w| format!("{WARNING}{w}")));
        let (beta, warning) = self.beta(steps_per_epoch)?.check(total)?;
        config.beta = beta;
        warnings.extend(warning.map(|w| format!("{WARNING}{w}")));
        config.free_bits = match &self.free_bits {
            Some(text) => Some(text.parse().map_err(|e: Error| e.at("free-bits"))?),
            None => None,
        };
        (config.objective, config.samples, config.gradient) = self.objective_parts()?;
        let (capacity, warning) = self.capacity(steps_per_epoch, total)?;
        config.capacity = capacity;
        warnings.extend(warning.map(|w| format!("{WARNING}{w}")));
        config.penalty = self.penalty()?;
        config.corrupt = parse(&self.corrupt, "corrupt", config.corrupt)?;
        config.clip = self.clip;
        config.average = self.average;
        config.normalize = self.normalize_gradients.unwrap_or(config.normalize);
        config.precision = parse(&self.precision, "precision", config.precision)?;
        config.binarize = parse(&self.binarize, "binarize", config.binarize)?;
        config.output_bias = parse(&self.output_bias, "output-bias", config.output_bias)?;
        config.patience = self.patience;
        config.seed = self.seed.unwrap_or(config.seed);
        if config.penalty.is_some() && data.validation().is_some() {
            warnings.push("note: validation chooses the epoch by the objective without its penalty".to_owned());
        }
        warnings.extend(grey(&config, data));
        warnings.extend(data.note().map(str::to_owned));
        Ok((config, warnings))
    }

    /// The network for rows of `inputs` columns; of `mlp-400` if no preset is set.
    ///
    /// # Errors
    /// Unknown names (with the nearest), and settings that contradict each other.
    pub fn network(&self, inputs: usize) -> Result<VaeConfig> {
        self.network_from(self.preset_or("mlp-400")?, inputs)
    }

    fn preset_or(&self, usual: &str) -> Result<&'static Preset> {
        Preset::named(self.preset.as_deref().unwrap_or(usual)).map_err(|e| e.at("preset"))
    }

    fn base_preset(&self, view: &View) -> Result<&'static Preset> {
        let usual = if view.image().is_some() { "mlp-400" } else { "tabular" };
        self.preset_or(usual)
    }

    fn network_from(&self, preset: &Preset, inputs: usize) -> Result<VaeConfig> {
        let base = preset.config(inputs);
        Ok(VaeConfig {
            hidden: self.hidden.clone().unwrap_or(base.hidden),
            layer: self.hidden_layer(base.layer)?,
            norm: named(&self.norm, "norm", base.norm, &Norm::ALL)?,
            residual: self.residual.unwrap_or(base.residual),
            dropout: self.dropout.unwrap_or(base.dropout),
            conditional_prior: self.conditional_prior.unwrap_or(base.conditional_prior),
            latent: self.latent.unwrap_or(base.latent),
            heads: named(&self.heads, "heads", base.heads, &Heads::ALL)?,
            likelihood: parse(&self.likelihood, "likelihood", base.likelihood)?,
            prior: parse(&self.prior, "prior", base.prior)?,
            posterior: parse(&self.posterior, "posterior", base.posterior)?,
            lower: parse(&self.lower, "lower", base.lower)?,
            log_variance: self.log_variance.or(base.log_variance),
            init: named(&self.init, "init", base.init, &InitScheme::ALL)?,
            ..base
        })
    }

    /// An activation alone asks for dense layers.
    fn hidden_layer(&self, base: Hidden) -> Result<Hidden> {
        let activation = self.activation.as_deref().map(|name| parse_activation(name).map_err(|e| e.at("activation")));
        match (self.layer.as_deref(), activation.transpose()?) {
            (None, None) => Ok(base),
            (None | Some("dense"), Some(activation)) => Ok(Hidden::Dense(activation)),
            (Some("dense"), None) => Ok(match base {
                Hidden::Dense(_) => base,
                Hidden::Gated => Hidden::Dense(Activation::Relu),
            }),
            (Some("gated"), None) => Ok(Hidden::Gated),
            (Some("gated"), Some(_)) => {
                Err(Error::input("gated layers have no activation").hint("leave out activation, or layer"))
            }
            (Some(name), _) => Err(unknown("layer", name, &LAYERS).at("layer")),
        }
    }

    fn optimizer(&self, preset: &Preset) -> Result<OptimizerConfig> {
        let kind: OptimizerKind = parse(&self.optimizer, "optimizer", OptimizerKind::Adam)?;
        let base = OptimizerConfig::new(kind);
        let sgd = kind == OptimizerKind::Sgd;
        let foreign = [
            ("momentum", self.momentum.is_some() && !sgd),
            ("nesterov", self.nesterov.is_some() && !sgd),
            ("betas", self.betas.is_some() && sgd),
            ("epsilon", self.epsilon.is_some() && sgd),
        ];
        if let Some((setting, _)) = foreign.iter().find(|(_, is)| *is) {
            return Err(Error::input(format!("the optimizer {kind} has no {setting}"))
                .hint(format!("leave out {setting}, or choose another optimizer")));
        }
        let config = OptimizerConfig {
            kind,
            learning_rate: self.learning_rate.unwrap_or(preset.learning_rate),
            betas: self.betas.unwrap_or(base.betas),
            epsilon: self.epsilon.unwrap_or(if sgd { base.epsilon } else { preset.adam_epsilon }),
            momentum: self.momentum.unwrap_or(base.momentum),
            nesterov: self.nesterov.unwrap_or(base.nesterov),
            weight_decay: self.weight_decay.unwrap_or(base.weight_decay),
        };
        config.check()?;
        Ok(config)
    }

    /// The objective, its samples, and its gradient.
    fn objective_parts(&self) -> Result<(ObjectiveKind, usize, PathGradient)> {
        let kind = parse(&self.objective, "objective", ObjectiveKind::Elbo)?;
        let samples = match (self.samples, kind) {
            (Some(samples), _) => samples,
            (None, ObjectiveKind::Elbo) => 1,
            (None, _) => {
                return Err(Error::input(format!("the objective {kind} has no number of samples"))
                    .hint("--samples 5, for example, or samples = 5 in a file; of one sample it would be the ELBO"));
            }
        };
        Ok((kind, samples, parse(&self.gradient, "gradient", PathGradient::Plain)?))
    }

    /// The objective of these settings for a network, without a penalty.
    ///
    /// # Errors
    /// Unknown names (with the nearest), and parts that do not go together: see [`ObjectiveKind::build`].
    pub fn objective_for(&self, vae: &VaeConfig) -> Result<Objective> {
        let (kind, samples, gradient) = self.objective_parts()?;
        vae.check_gradient(gradient)?;
        vae.check_objective(kind)?;
        let free_bits = self.free_bits.as_deref().map(str::parse).transpose().map_err(|e: Error| e.at("free-bits"))?;
        kind.build(samples, gradient, free_bits, vae.closed_form())
    }

    /// The same with its penalty, of batches drawn from `examples` rows.
    ///
    /// # Errors
    /// Those of [`objective_for`](Self::objective_for), and a penalty of an objective that can have none.
    pub fn penalised_objective_for(&self, vae: &VaeConfig, examples: usize) -> Result<Objective> {
        let (objective, penalty) = (self.objective_for(vae)?, self.penalty()?);
        check_penalty(penalty, &objective, vae)?;
        Ok(objective.with_penalty(penalty.map(|penalty| (penalty, examples))))
    }

    fn penalty(&self) -> Result<Option<Penalty>> {
        self.penalty.as_deref().map(str::parse).transpose().map_err(|e: Error| e.at("penalty"))
    }

    fn beta(&self, steps_per_epoch: u64) -> Result<BetaSchedule> {
        let beta = self.beta.unwrap_or(1.0);
        let steps = |epochs, what| steps(epochs, steps_per_epoch, what);
        match (self.warmup_epochs, self.cycle_epochs, self.cycle_ratio) {
            (None, None, None) => Ok(BetaSchedule::Constant(beta)),
            (Some(epochs), None, None) => Ok(BetaSchedule::Linear { beta, warmup: steps(epochs, "warmup-epochs")? }),
            (None, Some(epochs), ratio) => Ok(BetaSchedule::Cyclic {
                beta,
                period: steps(epochs, "cycle-epochs")?,
                ratio: ratio.unwrap_or(CYCLE_RATIO),
            }),
            (Some(_), Some(_), _) => Err(Error::input("both warmup-epochs and cycle-epochs are set")
                .hint("a warm-up rises once, cycles rise over and over: leave one out")),
            (_, None, Some(_)) => Err(Error::input("cycle-ratio is set, and cycle-epochs is not")),
        }
    }

    /// The capacity, and a warning where its rise is cut to the run.
    fn capacity(&self, steps_per_epoch: u64, total: u64) -> Result<(Option<Capacity>, Option<String>)> {
        let Some(nats) = self.capacity else {
            return match self.capacity_epochs {
                None => Ok((None, None)),
                Some(_) => Err(Error::input("capacity-epochs is set, and capacity is not")),
            };
        };
        let steps = steps(self.capacity_epochs.unwrap_or(0.0), steps_per_epoch, "capacity-epochs")?;
        let (capacity, warning) = Capacity { nats, steps }.check(total);
        Ok((Some(capacity), warning))
    }

    /// A network spelled out in full: every choice that makes it, and no other.
    pub fn from_network(vae: &VaeConfig) -> Settings {
        let name = |all: &[(&str, bool)]| all.iter().find(|(_, is)| *is).map(|(name, _)| (*name).to_owned());
        let (layer, activation) = match vae.layer {
            Hidden::Dense(activation) => ("dense", Some(activation_name(activation))),
            Hidden::Gated => ("gated", None),
        };
        Settings {
            preset: Some(vae.preset.to_owned()),
            hidden: Some(vae.hidden.clone()),
            latent: Some(vae.latent),
            layer: Some(layer.to_owned()),
            activation,
            norm: (vae.norm != Norm::None)
                .then(|| name(&Norm::ALL.map(|(name, norm)| (name, norm == vae.norm))))
                .flatten(),
            residual: vae.residual.then_some(true),
            dropout: (vae.dropout != 0.0).then_some(vae.dropout),
            conditional_prior: vae.conditional_prior.then_some(true),
            heads: name(&Heads::ALL.map(|(name, heads)| (name, heads == vae.heads))),
            likelihood: Some(vae.likelihood.to_string()),
            log_variance: vae.log_variance,
            prior: (vae.prior != PriorKind::StandardNormal).then(|| vae.prior.to_string()),
            posterior: (vae.posterior != PosteriorKind::Diagonal).then(|| vae.posterior.to_string()),
            lower: (vae.lower != LowerKind::None).then(|| vae.lower.to_string()),
            init: name(&InitScheme::ALL.map(|(name, init)| (name, init == vae.init))),
            ..Settings::default()
        }
    }

    /// A configuration spelled out in full: every choice, the preset's too. It resolves to the same configuration, and
    /// splits the data in the same way, if those came from settings. `data` is the set's name.
    pub fn from_config(config: &TrainConfig, data: &Dataset) -> Settings {
        let optimizer = &config.optimizer;
        let sgd = optimizer.kind == OptimizerKind::Sgd;
        let epochs = |steps: u64| steps as f64 / config.steps_per_epoch(data.train().len()) as f64;
        let (warmup_epochs, cycle) = match config.beta {
            BetaSchedule::Constant(_) => (None, None),
            BetaSchedule::Linear { warmup, .. } => (Some(epochs(warmup)), None),
            BetaSchedule::Cyclic { period, ratio, .. } => (None, Some((epochs(period), ratio))),
        };
        Settings {
            data: Some(data.name().to_owned()),
            validation: Some(data.set_aside().to_string()),
            condition: data.condition().map(|condition| condition.columns().to_string()),
            output_bias: (config.output_bias != OutputBias::Init).then(|| config.output_bias.to_string()),
            binarize: Some(config.binarize.to_string()),
            epochs: Some(config.epochs),
            batch_size: Some(config.batch_size),
            optimizer: Some(optimizer.kind.to_string()),
            learning_rate: Some(optimizer.learning_rate),
            betas: (!sgd).then_some(optimizer.betas),
            epsilon: (!sgd).then_some(optimizer.epsilon),
            momentum: sgd.then_some(optimizer.momentum),
            nesterov: sgd.then_some(optimizer.nesterov),
            weight_decay: Some(optimizer.weight_decay),
            schedule: Some(config.schedule.to_string()),
            clip: config.clip,
            average: config.average,
            normalize_gradients: config.normalize.then_some(true),
            precision: Some(config.precision.to_string()),
            objective: (config.objective != ObjectiveKind::Elbo).then(|| config.objective.to_string()),
            samples: (config.samples != 1 || config.objective != ObjectiveKind::Elbo).then_some(config.samples),
            gradient: (config.gradient != PathGradient::Plain).then(|| config.gradient.to_string()),
            beta: Some(config.beta.beta()),
            warmup_epochs,
            cycle_epochs: cycle.map(|(epochs, _)| epochs),
            cycle_ratio: cycle.map(|(_, ratio)| ratio),
            free_bits: config.free_bits.map(|free_bits| free_bits.to_string()),
            capacity: config.capacity.map(|capacity| capacity.nats),
            capacity_epochs: config.capacity.map(|capacity| epochs(capacity.steps)),
            penalty: config.penalty.map(|penalty| penalty.to_string()),
            corrupt: (config.corrupt != Corruption::None).then(|| config.corrupt.to_string()),
            patience: config.patience,
            seed: Some(config.seed),
            ..Settings::from_network(&config.vae)
        }
    }
}

/// Whole steps; saturates where no run is as long.
fn steps(epochs: f64, steps_per_epoch: u64, what: &str) -> Result<u64> {
    match epochs {
        e if e.is_finite() && e >= 0.0 => Ok((e * steps_per_epoch as f64).round() as u64),
        e => Err(Error::input(format!("{what} must be a number of epochs from 0 up, not {e}"))),
    }
}

fn default_epochs(steps_per_epoch: u64) -> u64 {
    DEFAULT_STEPS.div_ceil(steps_per_epoch.max(1)).next_multiple_of(10).clamp(10, 100)
}

/// The value of a setting's text, or what the preset has.
fn parse<T: FromStr<Err = Error>>(text: &Option<String>, setting: &str, base: T) -> Result<T> {
    text.as_ref().map_or(Ok(base), |text| text.parse().map_err(|e: Error| e.at(setting)))
}

/// The same for types that have a list of names.
fn named<T: Copy>(text: &Option<String>, setting: &str, base: T, all: &[(&str, T)]) -> Result<T> {
    let Some(text) = text else { return Ok(base) };
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let found = all.iter().find(|(name, _)| name == text).map(|(_, value)| *value);
    found.ok_or_else(|| unknown(setting, text, &names).at(setting))
}

/// How a note begins that says that something is not done as asked.
pub const WARNING: &str = "warning: ";

/// Grey values as Bernoulli targets are common, and not what published likelihoods of binary images are.
fn grey(config: &TrainConfig, data: &Dataset) -> Option<String> {
    let grey = config.vae.likelihood == LikelihoodKind::Bernoulli
        && config.binarize == Binarize::None
        && !data.train().is_binary()
        && data.all().first_outside(0.0, 1.0).is_none();
    grey.then(|| {
        "note: the data are grey values in [0, 1], used as they are: cross-entropy, and no likelihood of binary data \
         (--binarize dynamic makes them binary)"
            .to_owned()
    })
}
