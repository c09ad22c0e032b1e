//! The terms of an objective, summed over rows.

use super::Block;
use crate::estimator::Estimator;
use crate::tensor::Real;

/// The objective whose row values are summed too, and the weight of its KL.
pub(super) type Goal<'e, F> = Option<(&'e dyn Estimator<F>, f64)>;

/// Sums over rows, in nats.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Stats {
    /// Rows.
    pub rows: u64,
    /// −log p(x|z), mean over samples, summed over rows.
    pub reconstruction: f64,
    /// The KL of each latent, summed over rows.
    pub kl: Vec<f64>,
    /// The estimate of the objective's [penalty](Estimator::penalty), without its weight, times the batch's rows.
    pub penalty: Option<f64>,
    /// The objective's [row values](Estimator::row_value) at its weight of the KL, where it has such.
    pub objective: Option<f64>,
    /// The same at weight 1, where that is another bound on −log p(x) than −ELBO.
    pub bound: Option<f64>,
}

impl Stats {
    /// Sums over no rows.
    pub fn new(latent: usize) -> Self {
        Stats { kl: vec![0.0; latent], ..Stats::default() }
    }
    /// Back to no rows.
    pub fn clear(&mut self) {
        (self.rows, self.reconstruction) = (0, 0.0);
        (self.penalty, self.objective, self.bound) = (None, None, None);
        self.kl.fill(0.0);
    }
    /// Adds another's rows.
    pub fn add(&mut self, other: &Stats) {
        self.rows += other.rows;
        self.reconstruction += other.reconstruction;
        self.kl.iter_mut().zip(&other.kl).for_each(|(sum, x)| *sum += x);
        add(&mut self.penalty, other.penalty);
        add(&mut self.objective, other.objective);
        add(&mut self.bound, other.bound);
    }
    /// Mean reconstruction, nats per example.
    pub fn mean_reconstruction(&self) -> f64 {
        self.reconstruction / self.rows as f64
    }
    /// Mean KL, nats per example.
    pub fn mean_kl(&self) -> f64 {
        self.kl.iter().sum::<f64>() / self.rows as f64
    }
    /// Mean −ELBO, nats per example: reconstruction + KL.
    pub fn neg_elbo(&self) -> f64 {
        self.mean_reconstruction() + self.mean_kl()
    }
    /// Mean bound on −log p(x) that the objective is, where that is not −ELBO; nats per example.
    pub fn neg_bound(&self) -> Option<f64> {
        self.bound.map(|sum| sum / self.rows as f64)
    }
    /// Mean estimate of the objective's penalty, without its weight.
    pub fn mean_penalty(&self) -> Option<f64> {
        self.penalty.map(|sum| sum / self.rows as f64)
    }
    /// The objective, nats per example: the mean of its row values, or what it makes of the mean terms. Its penalty, which is
    /// a batch's and not a row's, is in the value of what has been trained on, and not of what has been evaluated.
    pub fn value<F: Real>(&self, estimator: &dyn Estimator<F>, beta: f64) -> f64 {
        let rows = self.rows as f64;
        let kl = || self.kl.iter().map(|kl| kl / rows).collect::<Vec<f64>>();
        let of_terms = || estimator.objective(beta, self.mean_reconstruction(), &kl());
        let penalty = estimator.penalty().zip(self.mean_penalty()).map_or(0.0, |((p, _), mean)| p.weight * mean);
        self.objective.map_or_else(of_terms, |sum| sum / rows) + penalty
    }
    /// Adds the terms of a block, row by row, so that the sum does not depend on how rows fall into blocks.
    pub(crate) fn add_block<F: Real>(&mut self, b: &Block<F>, goal: Goal<'_, F>) {
        let (n, k) = (b.rows, b.samples as f64);
        self.rows += n as u64;
        for samples in b.terms.log_px[..b.many()].chunks_exact(b.samples) {
            self.reconstruction -= samples.iter().map(|x| x.to_f64()).sum::<f64>() / k;
        }
        for r in 0..n {
            for (sum, x) in self.kl.iter_mut().zip(b.terms.kl.rows(n).row(r)) {
                *sum += x.to_f64();
            }
        }
        let Some((estimator, beta)) = goal.filter(|(estimator, _)| estimator.sampled()) else { return };
        for r in 0..n {
            add(&mut self.objective, estimator.row_value(beta, r, &b.terms));
            if !estimator.is_elbo() {
                add(&mut self.bound, estimator.row_value(1.0, r, &b.terms));
            }
        }
    }
}

fn add(sum: &mut Option<f64>, x: Option<f64>) {
    *sum = match (*sum, x) {
        (Some(sum), Some(x)) => Some(sum + x),
        (sum, x) => sum.or(x),
    };
}
