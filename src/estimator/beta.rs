//! The KL's weight by step.

use crate::error::{Error, Result};

/// β by step. Steps are counted from 0; a warm-up over n steps has weight β/n in the first and β from the n-th on.
///
/// ```
/// use elbo::estimator::BetaSchedule;
/// let beta = BetaSchedule::Linear { beta: 1.0, warmup: 4 };
/// assert_eq!([0, 1, 3, 9].map(|step| beta.at(step)), [0.25, 0.5, 1.0, 1.0]);
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum BetaSchedule {
    /// The same at every step (Higgins et al., 2017).
    Constant(f64),
    /// Rising linearly over the first `warmup` steps, then constant (Bowman et al., 2016; Sønderby et al., 2016).
    Linear {
        /// The final weight.
        beta: f64,
        /// Steps until it is reached.
        warmup: u64,
    },
    /// Cycles that rise linearly over a part of their steps and then stay (Fu et al., 2019, eq. 6–7, whose τ starts
    /// at 0 where ours starts at one step's share, so that a cycle can reach its weight even where `ratio` is 1).
    Cyclic {
        /// The weight at the end of each cycle.
        beta: f64,
        /// Steps of a cycle.
        period: u64,
        /// The rising part of a cycle, in (0, 1].
        ratio: f64,
    },
}

impl BetaSchedule {
    /// The weight at a step.
    pub fn at(self, step: u64) -> f64 {
        let ramp = |done: f64, of: f64| if done >= of { 1.0 } else { done / of };
        match self {
            BetaSchedule::Constant(beta) => beta,
            BetaSchedule::Linear { beta, warmup } => beta * ramp(step as f64 + 1.0, warmup as f64),
            BetaSchedule::Cyclic { beta, period, ratio } => {
                let done = step % period.max(1) + 1;
                beta * ramp(done as f64, ratio * period as f64)
            }
        }
    }
    /// The weight that it rises to.
    pub fn beta(self) -> f64 {
        match self {
            BetaSchedule::Constant(beta) | BetaSchedule::Linear { beta, .. } | BetaSchedule::Cyclic { beta, .. } => {
                beta
            }
        }
    }
    /// The schedule for a run of `total` steps, and a warning where it had to be changed: a run's last step must have
    /// the final weight, or the model would be trained for another objective than the one that was asked for. A
    /// warm-up longer than the run is cut to the run; cycles that would end on the rise are stretched or shortened so
    /// that a whole number of them fills the run.
    ///
    /// # Errors
    /// A weight that is negative or not finite, a period of 0, a ratio outside (0, 1].
    pub fn check(self, total: u64) -> Result<(Self, Option<String>)> {
        if !(self.beta().is_finite() && self.beta() >= 0.0) {
            return Err(Error::input(format!("beta must be a number from 0 up, not {}", self.beta())));
        }
        if let BetaSchedule::Cyclic { period, ratio, .. } = self {
            if period == 0 {
                return Err(Error::input("a cycle of beta needs at least 1 step, not 0"));
            }
            if !(ratio > 0.0 && ratio <= 1.0) {
                return Err(Error::input(format!(
                    "the rising part of a cycle of beta lies in (0, 1], and {ratio} does not"
                ))
                .hint("0.5 rises during the first half of each cycle"));
            }
        }
        let reached = |schedule: Self| total == 0 || schedule.at(total - 1) == schedule.beta();
        if reached(self) {
            return Ok((self, None));
        }
        Ok(match self {
            BetaSchedule::Constant(_) => (self, None),
            BetaSchedule::Linear { beta, warmup } => {
                let warning = format!(
                    "the warm-up of {warmup} steps is longer than the run of {total}; it is cut to {total}, or beta \
                     would never reach {beta}"
                );
                (BetaSchedule::Linear { beta, warmup: total }, Some(warning))
            }
            BetaSchedule::Cyclic { beta, period, ratio } => {
                let fitted = fit_cycles(beta, period, ratio, total, reached);
                let warning = format!(
                    "a run of {total} steps would end while beta rises, at {}; cycles of {period} steps become \
                     cycles of {}, so that it ends at {beta}",
                    self.at(total - 1),
                    fitted.1
                );
                (fitted.0, Some(warning))
            }
        })
    }
}

/// The period nearest to a whole number of cycles in `total` steps whose last step has the full weight. One cycle of
/// the whole run always has.
fn fit_cycles(
    beta: f64,
    period: u64,
    ratio: f64,
    total: u64,
    reached: impl Fn(BetaSchedule) -> bool,
) -> (BetaSchedule, u64) {
    let wanted = ((total as f64 / period as f64).round() as u64).max(1);
    let mut cycles = (1..=wanted).rev().map(|n| total.div_ceil(n));
    let of = |period| BetaSchedule::Cyclic { beta, period, ratio };
    let period = cycles.find(|&period| reached(of(period))).unwrap_or(total);
    (of(period), period)
}
