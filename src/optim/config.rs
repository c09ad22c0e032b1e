//! Which optimizer, with its hyper-parameters.

use crate::error::{Error, Result};
use crate::nearest::unknown;
use std::fmt;
use std::str::FromStr;

/// An optimizer's name; it reads and prints as `adam`, `adamw` or `sgd`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OptimizerKind {
    /// Adam (Kingma and Ba, 2015).
    #[default]
    Adam,
    /// Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
    AdamW,
    /// Stochastic gradient descent, with momentum if asked for.
    Sgd,
}

impl OptimizerKind {
    /// Every optimizer, with its name in configurations.
    pub const ALL: [(&'static str, OptimizerKind); 3] =
        [("adam", OptimizerKind::Adam), ("adamw", OptimizerKind::AdamW), ("sgd", OptimizerKind::Sgd)];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            OptimizerKind::Adam => "adam",
            OptimizerKind::AdamW => "adamw",
            OptimizerKind::Sgd => "sgd",
        }
    }
}

impl fmt::Display for OptimizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for OptimizerKind {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, kind)| *kind).ok_or_else(|| unknown("optimizer", text, &Self::ALL.map(|(name, _)| name)))
    }
}

/// An optimizer and its hyper-parameters, named and preset as PyTorch's. Each optimizer reads only its own.
///
/// ```
/// use elbo::optim::{OptimizerConfig, OptimizerKind};
/// let adam = OptimizerConfig::adam(1e-3, 1e-8);
/// assert_eq!(adam, OptimizerConfig::new(OptimizerKind::Adam));
/// let sgd = OptimizerConfig { momentum: 0.9, nesterov: true, ..OptimizerConfig::new(OptimizerKind::Sgd) };
/// sgd.check()?;
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct OptimizerConfig {
    /// Which optimizer.
    pub kind: OptimizerKind,
    /// The step size, before a [`Schedule`](super::Schedule) scales it.
    pub learning_rate: f64,
    /// Adam's decays of the mean of gradients and of squared gradients.
    pub betas: [f64; 2],
    /// Adam's ε, added to the root of the second moment after its bias is corrected.
    pub epsilon: f64,
    /// SGD's decay of the velocity; 0 keeps none.
    pub momentum: f64,
    /// Whether SGD looks ahead along its velocity (Sutskever et al., 2013).
    pub nesterov: bool,
    /// Weight decay: added to the gradient by Adam and SGD, decoupled in AdamW. As in PyTorch it applies to all
    /// parameters, biases and learned log-variances too.
    pub weight_decay: f64,
}

impl OptimizerConfig {
    /// PyTorch's defaults: learning rate 1e-3, β 0.9 and 0.999, ε 1e-8, no momentum; weight decay 0.01 for AdamW and
    /// none for the others.
    pub fn new(kind: OptimizerKind) -> Self {
        OptimizerConfig {
            kind,
            learning_rate: 1e-3,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            momentum: 0.0,
            nesterov: false,
            weight_decay: if kind == OptimizerKind::AdamW { 0.01 } else { 0.0 },
        }
    }
    /// Adam with this learning rate and ε.
    pub fn adam(learning_rate: f64, epsilon: f64) -> Self {
        OptimizerConfig { learning_rate, epsilon, ..Self::new(OptimizerKind::Adam) }
    }
    /// The step size, before a schedule scales it.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }
    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// A learning rate or ε that is not positive, a decay outside [0, 1), a negative weight decay, Nesterov's look
    /// ahead without momentum.
    pub fn check(&self) -> Result<()> {
        let require = |holds: bool, what: &str, value: f64, expected: &str| match holds {
            true => Ok(()),
            false => Err(Error::input(format!("{what} must be {expected}, not {value}"))),
        };
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let decay = |x: f64| (0.0..1.0).contains(&x);
        require(positive(self.learning_rate), "the learning rate", self.learning_rate, "a positive number")?;
        let weight_decay = self.weight_decay.is_finite() && self.weight_decay >= 0.0;
        require(weight_decay, "the weight decay", self.weight_decay, "a number from 0 up")?;
        match self.kind {
            OptimizerKind::Adam | OptimizerKind::AdamW => {
                // In f32 a smaller ε is 0, and 0/0 is what a parameter without gradient would get.
                let epsilon = self.epsilon.is_finite() && self.epsilon >= f64::from(f32::MIN_POSITIVE);
                require(epsilon, "Adam's epsilon", self.epsilon, "a positive number, at least 1.2e-38")?;
                for beta in self.betas {
                    require(decay(beta), "each of Adam's betas", beta, "in [0, 1)")?;
                }
            }
            OptimizerKind::Sgd => {
                require(decay(self.momentum), "the momentum", self.momentum, "in [0, 1)")?;
                require(!self.nesterov || self.momentum > 0.0, "Nesterov's momentum", self.momentum, "positive")?;
            }
        }
        Ok(())
    }
}
