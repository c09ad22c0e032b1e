//! How the learning rate changes.

use crate::error::{Error, Result};
use crate::nearest::unknown;
use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

/// The learning rate's factor by step; it reads and prints as `constant`, `step:10,0.5`, `cosine`, `warmup:500`,
/// `warmup-cosine:500` or `stages:3,0.72`.
///
/// ```
/// use elbo::optim::Schedule;
/// let halve: Schedule = "step:10,0.5".parse()?;
/// assert_eq!(halve, Schedule::Step { epochs: 10, gamma: 0.5 });
/// let (steps_per_epoch, total) = (100, 3000);
/// assert_eq!([0, 999, 1000, 2999].map(|step| halve.at(step, steps_per_epoch, total)), [1.0, 1.0, 0.5, 0.25]);
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Schedule {
    /// Always 1.
    #[default]
    Constant,
    /// Times `gamma` after every so many epochs (PyTorch's `StepLR`).
    Step {
        /// Epochs between two changes.
        epochs: u64,
        /// The factor of each change.
        gamma: f64,
    },
    /// Half a cosine from 1 at the first step towards 0 after the last (Loshchilov and Hutter, 2017, eq. 5, without
    /// restarts), by step and not by epoch.
    Cosine,
    /// Rising linearly over the first `steps` steps, from 1/steps, then 1 (Goyal et al., 2017).
    Warmup {
        /// Steps until 1 is reached.
        steps: u64,
    },
    /// The same rise, then half a cosine over the steps that are left.
    WarmupCosine {
        /// Steps until 1 is reached.
        steps: u64,
    },
    /// Stages that grow: stage i, from 0, lasts `base`ⁱ epochs at `gamma`ⁱ (Burda, Grosse and Salakhutdinov 2016, section 5,
    /// with base 3 and γ = 10^(−1/7)).
    Stages {
        /// How many times longer each stage is.
        base: u64,
        /// The factor from stage to stage.
        gamma: f64,
    },
}

/// The names, as errors list them.
const NAMES: [&str; 6] =
    ["constant", "step:EPOCHS,GAMMA", "cosine", "warmup:STEPS", "warmup-cosine:STEPS", "stages:BASE,GAMMA"];

/// ½ (1 + cos π done/of), 0 at and past the end.
fn cosine(done: u64, of: u64) -> f64 {
    if done < of { 0.5 * (1.0 + (PI * done as f64 / of as f64).cos()) } else { 0.0 }
}

impl Schedule {
    /// The factor at a step, counted from 0, of a run of `total` steps with `steps_per_epoch` in each epoch.
    pub fn at(self, step: u64, steps_per_epoch: u64, total: u64) -> f64 {
        let rising = |steps: u64| (step + 1) as f64 / steps as f64;
        match self {
            Schedule::Constant => 1.0,
            Schedule::Step { epochs, gamma } => {
                let changes = step / steps_per_epoch.max(1) / epochs.max(1);
                gamma.powi(changes.min(i32::MAX as u64) as i32)
            }
            Schedule::Cosine => cosine(step, total),
            Schedule::Warmup { steps } | Schedule::WarmupCosine { steps } if step < steps => rising(steps),
            Schedule::Warmup { .. } => 1.0,
            Schedule::WarmupCosine { steps } => cosine(step - steps, total.saturating_sub(steps)),
            Schedule::Stages { base, gamma } => {
                let (mut left, mut length, mut stage) = (step / steps_per_epoch.max(1), 1u64, 0);
                // Stages of one epoch each need no search, and would make it a long one.
                if base <= 1 {
                    return gamma.powi(left.min(i32::MAX as u64) as i32);
                }
                while left >= length {
                    left -= length;
                    length = length.saturating_mul(base);
                    stage += 1;
                }
                gamma.powi(stage)
            }
        }
    }
    /// The schedule for a run of `total` steps, and a warning where it had to be changed: a warm-up longer than the
    /// run is cut to the run.
    ///
    /// # Errors
    /// Numbers that make no sense: periods of 0, a factor that is not positive.
    pub fn check(self, total: u64) -> Result<(Self, Option<String>)> {
        let cut = |steps: u64| {
            (steps > total && total > 0).then(|| {
                format!(
                    "the learning rate's warm-up of {steps} steps is longer than the run of {total}; it is cut to {total}"
                )
            })
        };
        match self {
            Schedule::Step { epochs: 0, .. } => {
                Err(Error::input("a step schedule changes after at least 1 epoch, not 0"))
            }
            Schedule::Stages { base: 0, .. } => Err(Error::input("stages are at least 1 time longer each, not 0")),
            Schedule::Step { gamma, .. } | Schedule::Stages { gamma, .. } if !(gamma.is_finite() && gamma > 0.0) => {
                Err(Error::input(format!("a schedule's factor must be a positive number, not {gamma}")))
            }
            Schedule::Warmup { steps: 0 } | Schedule::WarmupCosine { steps: 0 } => {
                Err(Error::input("a warm-up has at least 1 step, not 0"))
            }
            Schedule::Warmup { steps } => Ok((Schedule::Warmup { steps: steps.min(total.max(1)) }, cut(steps))),
            Schedule::WarmupCosine { steps } => {
                Ok((Schedule::WarmupCosine { steps: steps.min(total.max(1)) }, cut(steps)))
            }
            Schedule::Constant | Schedule::Step { .. } | Schedule::Cosine | Schedule::Stages { .. } => Ok((self, None)),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Constant => write!(f, "constant"),
            Schedule::Step { epochs, gamma } => write!(f, "step:{epochs},{gamma}"),
            Schedule::Cosine => write!(f, "cosine"),
            Schedule::Warmup { steps } => write!(f, "warmup:{steps}"),
            Schedule::WarmupCosine { steps } => write!(f, "warmup-cosine:{steps}"),
            Schedule::Stages { base, gamma } => write!(f, "stages:{base},{gamma}"),
        }
    }
}

impl FromStr for Schedule {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (name, numbers) = text.split_once(':').map_or((text, None), |(name, numbers)| (name, Some(numbers)));
        let bad =
            |example: &str| Error::input(format!("`{text}` is no schedule")).hint(format!("{example}, for example"));
        let steps = |example: &str| numbers.and_then(|n| n.parse().ok()).ok_or_else(|| bad(example));
        let pair = |example: &str| {
            let pair = numbers.and_then(|n| n.split_once(','));
            let parsed = pair.and_then(|(whole, real)| whole.parse().ok().zip(real.trim().parse().ok()));
            parsed.ok_or_else(|| bad(example))
        };
        let schedule = match (name, numbers) {
            ("constant", None) => Schedule::Constant,
            ("cosine", None) => Schedule::Cosine,
            ("step", _) => {
                let (epochs, gamma) = pair("step:10,0.5")?;
                Schedule::Step { epochs, gamma }
            }
            ("stages", _) => {
                let (base, gamma) = pair("stages:3,0.72")?;
                Schedule::Stages { base, gamma }
            }
            ("warmup", _) => Schedule::Warmup { steps: steps("warmup:500")? },
            ("warmup-cosine", _) => Schedule::WarmupCosine { steps: steps("warmup-cosine:500")? },
            _ => return Err(unknown("schedule", text, &NAMES)),
        };
        schedule.check(u64::MAX)?;
        Ok(schedule)
    }
}
