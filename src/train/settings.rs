//! A run's configuration as a person writes it: in TOML or as flags, every setting optional.
//!
//! Settings are *merged* (flags over a file), then [resolved](Settings::resolve) against the data into a checked
//! [`TrainConfig`](super::TrainConfig). The other way, [`Settings::from_config`] spells a checked configuration out in
//! full; that is a run's `config.toml`, and it resolves to the same configuration again.
//!
//! ```
//! use elbo::train::Settings;
//! let file = Settings::from_toml("preset = \"mlp-400\"\nlatent = 2\nepochs = 50")?;
//! let flags = Settings { epochs: Some(5), ..Settings::default() };
//! let settings = file.merge(flags);
//! assert_eq!((settings.latent, settings.epochs), (Some(2), Some(5)));
//! let error = Settings::from_toml("latnet = 2").unwrap_err().to_string();
//! assert!(error.contains("did you mean `latent`?"), "{error}");
//! # Ok::<(), elbo::Error>(())
//! ```

use crate::data::{ConditionColumns, Dataset, Memory, Validation, load_beside};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A file of settings longer than this is something else, and perhaps without end.
const LONGEST: u64 = 1 << 20;

macro_rules! settings {
    ($($(#[$meta:meta])* $field:ident: $type:ty,)*) => {
        /// Every choice of a run, as written. The keys of a file are the names of the flags: `batch-size`.
        #[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
        #[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
        pub struct Settings {
            $($(#[$meta])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$type>,)*
        }

        impl Settings {
            /// The settings of both, those of `over` where both have one. What would contradict `over`, or belongs to a choice that it
            /// changes (another optimizer's momentum, a gated layer's activation), goes.
            #[must_use]
            pub fn merge(mut self, over: Settings) -> Settings {
                self.give_way(&over);
                Settings { $($field: over.$field.or(self.$field),)* }
            }
            /// Every key, in the order of a file.
            pub fn keys() -> Vec<String> {
                vec![$(stringify!($field).replace('_', "-"),)*]
            }
        }
    };
}

settings! {
    /// The data: a known name or a path.
    data: String,
    /// Rows (1000) or share (0.1) of the training rows to set aside for validation, or "none".
    #[serde(with = "text")]
    validation: String,
    /// The published network to start from; mlp-400 for pictures and tabular for other data if none is named.
    preset: String,
    /// Widths of the encoder's hidden layers; the decoder has them in reverse.
    hidden: Vec<usize>,
    /// What rows are conditioned on: "labels", or a table's columns, such as "region,age".
    condition: String,
    /// Whether the prior is a function of the condition.
    conditional_prior: bool,
    /// Columns of z.
    latent: usize,
    /// What the hidden layers are: "dense" or "gated".
    layer: String,
    /// The activation of dense hidden layers, such as "relu" or "leaky-relu:0.2".
    activation: String,
    /// How hidden layers are normalised: "none", "layer" or "batch".
    norm: String,
    /// Whether there is a way around each hidden layer that is as wide as its input.
    residual: bool,
    /// The share of each hidden layer's outputs that a training step leaves out.
    dropout: f64,
    /// The posterior's heads: "joint" or "separate".
    heads: String,
    /// p(x|z), such as "bernoulli" or "gaussian:0.1".
    likelihood: String,
    /// p(z): "standard", "mixture:COMPONENTS", "vamp:COMPONENTS", "flow:COUPLINGS", "exemplar:DRAWN:NEAREST" or
    /// "vae:LATENTxWIDTH,…".
    prior: String,
    /// q(z|x): "diagonal", "full", "planar:STEPS" or "iaf:STEPS".
    posterior: String,
    /// Stochastic layers between z and the data: "none", "hvae:LATENTxWIDTH,…" or "ladder:LATENTxWIDTH,…".
    lower: String,
    /// Two numbers between which the log-variances of the posterior are kept, and those of further levels of latents.
    #[serde(with = "pair")]
    log_variance: [f64; 2],
    /// Initial parameters: "torch", "glorot" or "he".
    init: String,
    /// A trained model to start from instead, a run folder or a file: see [`Start`](super::Start). In a model's own metadata and in a
    /// checkpoint, which know no paths, the digest of its parameters.
    from: String,
    /// Where the bias of the decoder's output starts: "init" or "data-mean".
    output_bias: String,
    /// How grey values become binary: "none", "dynamic", "threshold" or "fixed".
    binarize: String,
    /// What the encoder sees of the examples: "none", "mask:0.3" or "noise:0.1".
    corrupt: String,
    /// Times that every training row is used.
    epochs: u64,
    /// Rows of a step.
    batch_size: usize,
    /// "adam", "adamw" or "sgd".
    optimizer: String,
    /// The step size.
    learning_rate: f64,
    /// Adam's two decays.
    #[serde(with = "pair")]
    betas: [f64; 2],
    /// Adam's ε.
    epsilon: f64,
    /// SGD's decay of the velocity.
    momentum: f64,
    /// Whether SGD looks ahead along its velocity.
    nesterov: bool,
    /// Weight decay: decoupled in AdamW, else added to the gradient.
    weight_decay: f64,
    /// How the learning rate changes, such as "cosine" or "step:10,0.5".
    schedule: String,
    /// Largest global norm of a gradient.
    clip: f64,
    /// Whether the gradient of each parameter is divided by its norm.
    normalize_gradients: bool,
    /// The decay of a moving average of the parameters, which is then the model.
    average: f64,
    /// What the operands of matrix products are rounded to: "f32" or "bf16".
    precision: String,
    /// What is to be minimised, such as "elbo" or "iwae".
    objective: String,
    /// Samples of z a row.
    samples: usize,
    /// How the gradient by the posterior is estimated: "plain", "stl" or "dreg".
    gradient: String,
    /// The KL's weight.
    beta: f64,
    /// Epochs over which the KL's weight rises from 0; parts of an epoch count.
    warmup_epochs: f64,
    /// Epochs of a cycle in which the KL's weight rises and stays, over and over.
    cycle_epochs: f64,
    /// The rising part of a cycle.
    cycle_ratio: f64,
    /// KL that each latent may keep: nats, or "NATS,GROUP" for groups of latents.
    #[serde(with = "text")]
    free_bits: String,
    /// Nats that the KL is drawn to, instead of to 0.
    capacity: f64,
    /// Epochs over which the capacity rises from 0; parts of an epoch count.
    capacity_epochs: f64,
    /// A penalty of each batch's latents, such as "tc:5" or "mmd:10".
    penalty: String,
    /// Epochs without improvement on the validation split, after the warm-up of the KL's weight and the capacity's rise, after which training stops.
    patience: u64,
    /// The seed of everything random.
    #[serde(with = "seed")]
    seed: u64,
}

impl Settings {
    /// Settings from TOML.
    ///
    /// # Errors
    /// Not TOML, an unknown key (with the nearest), or a value of another type than the key takes.
    pub fn from_toml(text: &str) -> Result<Settings> {
        let wrong = |e: toml::de::Error| Error::input(e.to_string().trim_end().to_owned());
        let table: toml::Table = toml::from_str(text).map_err(wrong)?;
        let keys = Self::keys();
        let known: Vec<&str> = keys.iter().map(String::as_str).collect();
        if let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(crate::nearest::unknown("setting", key, &known));
        }
        // From the text again, and not from the table, so that errors show the line.
        toml::from_str(text).map_err(wrong)
    }

    /// Drops what cannot stand beside the choices of `over`.
    fn give_way(&mut self, over: &Settings) {
        let other = |new: &Option<String>, own: Option<&str>| new.is_some() && new.as_deref() != own;
        // An activation alone asks for dense layers.
        if other(&over.layer, self.layer.as_deref().or(self.activation.as_ref().map(|_| "dense"))) {
            self.activation = None;
        }
        if over.activation.is_some() {
            self.layer = None;
        }
        if other(&over.optimizer, self.optimizer.as_deref().or(Some("adam"))) {
            (self.betas, self.epsilon, self.momentum, self.nesterov, self.weight_decay) = Default::default();
        }
        if over.warmup_epochs.is_some() {
            (self.cycle_epochs, self.cycle_ratio) = Default::default();
        }
        if over.cycle_epochs.is_some() {
            self.warmup_epochs = None;
        }
    }

    /// Settings from a TOML file.
    ///
    /// # Errors
    /// A file that cannot be read, and as [`from_toml`](Self::from_toml).
    pub fn load(path: impl AsRef<Path>) -> Result<Settings> {
        let path = path.as_ref();
        let (mut text, at) = (String::new(), |e: Error| e.at(path.display().to_string()));
        let file = File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text));
        file.map_err(|e| Error::io("read", path, &e))?;
        if text.len() as u64 > LONGEST {
            return Err(at(Error::input(format!("more than {LONGEST} bytes: this is no file of settings"))));
        }
        Self::from_toml(&text).map_err(at)
    }

    /// The settings as TOML, which [`from_toml`](Self::from_toml) reads back to the same.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("settings are numbers, text and lists of numbers")
    }

    /// The settings as a JSON object.
    pub(super) fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(map)) => map,
            _ => unreachable!("settings are numbers, text and lists of numbers"),
        }
    }

    /// Loads the data and sets their validation split aside.
    ///
    /// # Errors
    /// No data named, or as [`load_beside`] and [`split`](Self::split).
    pub fn load_data(&self) -> Result<Dataset> {
        self.load_data_within(Memory::Auto)
    }

    /// The same with the memory that rows may take given: see [`load_beside`].
    ///
    /// # Errors
    /// As [`load_data`](Self::load_data).
    pub fn load_data_within(&self, memory: Memory) -> Result<Dataset> {
        let name = self.data.as_deref().ok_or_else(|| {
            let names = crate::data::KNOWN.join(", ");
            Error::input("no data named").hint(format!("name {names}, or a file or folder"))
        })?;
        let beside = self.condition_columns()?.map_or_else(Vec::new, |c| c.names().map(str::to_owned).collect());
        self.split(load_beside(name, memory, &beside)?)
    }

    /// Sets the validation split of data aside, and conditions their rows by what the training rows have of the condition's
    /// columns; a split of that size that they have already stays, and so does a condition.
    ///
    /// # Errors
    /// As [`Dataset::with_validation`], [`ConditionColumns::fit`] and [`Dataset::with_condition`].
    pub fn split(&self, data: Dataset) -> Result<Dataset> {
        let validation = match &self.validation {
            Some(text) => text.parse().map_err(|e: Error| e.at("validation"))?,
            None => Validation::None,
        };
        // One that was drawn by another seed is a split of that size all the same.
        let data = match data.set_aside() == validation {
            true => data,
            false => data.with_validation(validation, self.seed.unwrap_or_default())?,
        };
        match (self.condition_columns()?, data.condition()) {
            (Some(columns), None) => {
                let condition = columns.fit(&data)?;
                data.with_condition(condition)
            }
            _ => Ok(data),
        }
    }

    fn condition_columns(&self) -> Result<Option<ConditionColumns>> {
        self.condition.as_deref().map(str::parse).transpose().map_err(|e: Error| e.at("condition"))
    }
}

/// Text that may be written as a number: `validation = 0.1`.
mod text {
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a number or text in quotes")]
    enum Raw {
        Whole(i64),
        Number(f64),
        Text(String),
    }

    #[allow(clippy::ref_option, reason = "serde calls it with the field")]
    pub fn serialize<S: Serializer>(text: &Option<String>, s: S) -> Result<S::Ok, S::Error> {
        let text = text.as_deref().unwrap_or_default();
        // Only if the number reads back as the same text.
        match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(whole), _) if whole.to_string() == text => s.serialize_i64(whole),
            (_, Ok(number)) if number.is_finite() && format!("{number:?}") == text => s.serialize_f64(number),
            _ => s.serialize_str(text),
        }
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
        Ok(Some(match Raw::deserialize(d)? {
            Raw::Whole(whole) => whole.to_string(),
            Raw::Number(number) => format!("{number:?}"),
            Raw::Text(text) => text,
        }))
    }
}

/// Two numbers, and not the first two of more.
mod pair {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    #[allow(clippy::ref_option, reason = "serde calls it with the field")]
    pub fn serialize<S: Serializer>(pair: &Option<[f64; 2]>, s: S) -> Result<S::Ok, S::Error> {
        pair.unwrap_or_default().serialize(s)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<[f64; 2]>, D::Error> {
        let numbers = Vec::<f64>::deserialize(d)?;
        let wrong = |n: Vec<f64>| D::Error::custom(format!("expected two numbers, and there are {}", n.len()));
        numbers.try_into().map(Some).map_err(wrong)
    }
}

/// A seed: a number, or text where it is beyond the whole numbers that TOML has.
mod seed {
    use serde::{Deserializer, Serializer, de::Error};

    #[allow(clippy::ref_option, reason = "serde calls it with the field")]
    pub fn serialize<S: Serializer>(seed: &Option<u64>, s: S) -> Result<S::Ok, S::Error> {
        let seed = seed.unwrap_or_default();
        match i64::try_from(seed) {
            Ok(number) => s.serialize_i64(number),
            Err(_) => s.serialize_str(&seed.to_string()),
        }
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
        let text = super::text::deserialize(d)?.unwrap_or_default();
        let wrong = || D::Error::custom(format!("a seed is a whole number from 0 to {}, not {text}", u64::MAX));
        text.parse().map(Some).map_err(|_| wrong())
    }
}
