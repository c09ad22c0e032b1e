//! Estimators: an objective as a scalar function of a few row terms, and its derivative by each of them.

mod beta;
mod elbo;
mod importance;

pub use beta::BetaSchedule;
pub use elbo::{Elbo, FreeBits};
pub use importance::{ImportanceBounds, LogSumExp};

use crate::tensor::{Buffer, Real};
use std::fmt::Debug;

/// What a forward pass leaves of one block of n rows and k samples each, in nats.
#[derive(Clone, Debug)]
pub struct Terms<F> {
    /// `log p(x | z)`, (n·k).
    pub log_px: Vec<F>,
    /// `KL(q(z|x) ‖ p(z))` by latent, (n, L).
    pub kl: Buffer<F>,
}

/// The derivative of the objective by each term of a block.
#[derive(Clone, Debug)]
pub struct Weights<F> {
    /// By `log p(x | z)`, (n·k).
    pub log_px: Vec<F>,
    /// By the KL of each latent, (n, L).
    pub kl: Buffer<F>,
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
    /// The weight of every `log p(x | z)`, if it is known before the terms are; the likelihood then computes its value
    /// and its gradient in one sweep.
    fn likelihood_weight(&self, batch: &Batch) -> Option<F>;
    /// The derivative of the batch's objective by each term of a block of `rows` rows.
    fn weights(&self, batch: &Batch, rows: usize, terms: &Terms<F>, weights: &mut Weights<F>);
    /// The objective of a batch from its mean reconstruction (−log p(x|z), nats) and its mean KL by latent.
    fn objective(&self, beta: f64, reconstruction: f64, mean_kl: &[f64]) -> f64;
}

/// An estimator for both scalars: what a gradient checker takes.
pub trait AnyEstimator: Estimator<f32> + Estimator<f64> {}
impl<E: Estimator<f32> + Estimator<f64>> AnyEstimator for E {}
