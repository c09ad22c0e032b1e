//! Estimators: an objective as a scalar function of a few row terms, and its derivative by each of them.

mod beta;
mod elbo;
mod importance;
mod kind;
pub(crate) mod penalty;
mod weighted;

pub use beta::BetaSchedule;
pub use elbo::{Elbo, FreeBits};
pub use importance::{ImportanceBounds, LogSumExp};
pub use kind::{Objective, ObjectiveKind, PathGradient};
pub use penalty::{Penalty, PenaltyKind};
pub use weighted::{Bound, Weighted};

use crate::tensor::{Buffer, Real};
use std::fmt::Debug;

/// What a forward pass leaves of one block of n rows and k samples each, in nats.
#[derive(Clone, Debug, Default)]
pub struct Terms<F> {
    /// `log p(x | z)`, (n·k).
    pub log_px: Vec<F>,
    /// `log p(z)`, (n·k); for [sampled](Estimator::sampled) objectives.
    pub log_pz: Vec<F>,
    /// `log q(z | x)`, (n·k); likewise.
    pub log_qz: Vec<F>,
    /// `KL(q(z|x) ‖ p(z))` by latent, (n, L).
    pub kl: Buffer<F>,
}

impl<F: Real> Terms<F> {
    /// Zeros: of at most `rows` rows with `samples` samples each, and a KL in so many parts.
    pub fn new(rows: usize, samples: usize, parts: usize) -> Self {
        let many = || vec![F::ZERO; rows * samples];
        Terms { log_px: many(), log_pz: many(), log_qz: many(), kl: Buffer::new(rows, parts) }
    }
    /// `log w = log p(x|z) + β (log p(z) − log q(z|x))` of sample `i`, in nats.
    pub fn log_weight(&self, beta: f64, i: usize) -> f64 {
        self.log_px[i].to_f64() + beta * (self.log_pz[i].to_f64() - self.log_qz[i].to_f64())
    }
}

/// The derivative of the objective by each term of a block. A sampled objective depends on the posterior in two ways,
/// through z = T(ε; η) and directly through log q(z|η), and gradient estimators weight them differently: `path` and
/// `score` tell them apart.
#[derive(Clone, Debug, Default)]
pub struct Weights<F> {
    /// By `log p(x | z)`, (n·k), as the decoder's own parameters see it.
    pub log_px: Vec<F>,
    /// By `log p(z)`, (n·k), as the prior's own parameters see it.
    pub log_pz: Vec<F>,
    /// By `log q(z | x)` through z alone, (n·k).
    pub log_qz: Vec<F>,
    /// What the three above are multiplied by on their way through z, (n·k): 1 where the gradient is the value's own.
    /// A sample whose weights above are 0 has no way through z.
    pub path: Vec<F>,
    /// By `log q(z | η)` at a fixed z, (n·k).
    pub score: Vec<F>,
    /// `path · log_pz` and `path · log_qz`, (n·k): by the latents, and not by parameters of the prior. The way back makes them.
    pub through: [Vec<F>; 2],
    /// By the KL of each latent, (n, L).
    pub kl: Buffer<F>,
}

impl<F: Real> Weights<F> {
    /// Zeros, of the shapes of [`Terms::new`].
    pub fn new(rows: usize, samples: usize, parts: usize) -> Self {
        let many = || vec![F::ZERO; rows * samples];
        Weights {
            log_px: many(),
            log_pz: many(),
            log_qz: many(),
            path: many(),
            score: many(),
            through: [many(), many()],
            kl: Buffer::new(rows, parts),
        }
    }
}

/// What an estimator may know of the whole batch.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Rows of the batch, over all blocks.
    pub rows: usize,
    /// The weight of the KL at this step.
    pub beta: f64,
    /// The KL of each latent, mean over the batch's rows; empty unless the estimator [couples
    /// rows](Estimator::couples_rows).
    pub mean_kl: &'a [f64],
}

/// An objective to be minimised, in nats per example: the batch's mean.
pub trait Estimator<F: Real>: Debug + Send + Sync {
    /// Samples of z per example (k).
    fn samples(&self) -> usize;
    /// Whether the weights of one row depend on other rows of the batch. The forward pass of every block then ends
    /// before the first backward pass starts.
    fn couples_rows(&self) -> bool {
        false
    }
    /// A penalty of the batch's latents that the objective has besides its terms, and the number of training rows that
    /// batches are drawn from. Its derivative is added to what comes from the terms; it is of one sample a row.
    fn penalty(&self) -> Option<(Penalty, usize)> {
        None
    }
    /// Whether it is a function of `log p(z)` and `log q(z|x)` of each sample, and not of the KL in closed form.
    fn sampled(&self) -> bool {
        false
    }
    /// Whether its gradient is, on purpose, not that of its value. A checker then compares with the surrogate
    ///
    /// ```text
    /// S = Σ log_px log p(x|z̄) + log_pz log p(z̄) + score log q(z̄|η) + path (log_px log p̄(x|z) + log_pz log p̄(z) + log_qz log q̄(z))
    /// ```
    ///
    /// whose weights, and whatever has a bar, are frozen.
    fn surrogate(&self) -> bool {
        false
    }
    /// Whether it is the ELBO, with a weight of the KL or not, however estimated.
    fn is_elbo(&self) -> bool {
        true
    }
    /// The value of one row of a block at a weight of the KL, in nats; of [sampled](Self::sampled) objectives, which are
    /// the mean of such values.
    fn row_value(&self, _beta: f64, _row: usize, _terms: &Terms<F>) -> Option<f64> {
        None
    }
    /// The weight of every `log p(x | z)`, if it is known before the terms are; the likelihood then computes its value
    /// and its gradient in one sweep.
    fn likelihood_weight(&self, batch: &Batch) -> Option<F>;
    /// The derivative of the batch's objective by each term of a block of `rows` rows.
    fn weights(&self, batch: &Batch, rows: usize, terms: &Terms<F>, weights: &mut Weights<F>);
    /// The objective of a batch from its mean reconstruction (−log p(x|z), nats) and its mean KL by latent. A
    /// [sampled](Self::sampled) objective is the mean of its row values instead, and this the β-ELBO of the same terms.
    fn objective(&self, beta: f64, reconstruction: f64, mean_kl: &[f64]) -> f64;
}

/// An estimator for both scalars: what a gradient checker takes.
pub trait AnyEstimator: Estimator<f32> + Estimator<f64> {}
impl<E: Estimator<f32> + Estimator<f64>> AnyEstimator for E {}
