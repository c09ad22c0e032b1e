//! The Gaussian likelihood with a diagonal covariance.
//!
//! ```text
//! log p(x|μ, v) = −½ Σ (log 2π + v + d² e⁻ᵛ),  d = x − μ        (B, D) each → (B)
//! ∂/∂μ = d e⁻ᵛ        ∂/∂v = ½ (d² e⁻ᵛ − 1)
//! ```
//!
//! The constant −½ log 2π is always included, so that values under different variances can be compared.
//!
//! Where d² e⁻ᵛ is finite the value is within (D/16 + 16) u ½ Σ (log 2π + |v| + d² e⁻ᵛ) of the exact one, for u = 2⁻²⁴ (f32)
//! or 2⁻⁵³, and derivatives are within 8u of their terms. Where e⁻ᵛ overflows, at v < −88 in f32, no value is finite.

use super::{Domain, LOG_TAU, Likelihood, samples_per_row};
use crate::layer::{Cache, Gradient, Init};
use crate::tensor::{Buffer, Isa, Layout, Mat, MatMut, Params, Real, Slot};
use elbo_kernels::{Element, block, sweep};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Where a Gaussian's variance comes from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Variance {
    /// 1: half the squared error, and a constant.
    Unit,
    /// This one, σ² (not σ).
    Given(f64),
    /// One learned log-variance for all columns, initially 0 (the σ-VAE of Rybkin et al., 2021).
    Learned,
    /// One log-variance for all columns that is kept at its closed-form optimum, the logarithm of the mean squared error:
    /// the optimal σ-VAE (Rybkin et al., 2021). After a step the variance is that of the step's batch, so a step
    /// uses the error of the batch before it; an epoch's last batch, if it is shorter, takes a gradient's step instead. At
    /// least e⁻¹², the authors' bound.
    Optimal,
    /// A learned log-variance for each column, initially 0.
    LearnedPerDimension,
    /// The decoder's: η is [mean | log-variance], (B, 2D).
    Predicted,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum LogVariance {
    Fixed(f64),
    Shared(Slot),
    PerDimension(Slot),
    Predicted,
}

/// `x_d ~ N(μ_d, e^{v_d})`, with the means μ in η.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Gaussian {
    cols: usize,
    log_variance: LogVariance,
    optimal: bool,
}

/// The least log-variance of an optimal one.
const LEAST_OPTIMAL: f64 = -12.0;

impl Gaussian {
    /// For rows of `cols` columns. A learned variance adds the vector `log_variance` to the layout, of 1 or `cols`
    /// elements. Panics when a given variance is [out of range](Self::accepts).
    pub fn new(layout: &mut Layout, cols: usize, variance: Variance) -> Self {
        let mut slot = |len| layout.vector("log_variance", len, Init::Constant(0.0));
        let log_variance = match variance {
            Variance::Unit => LogVariance::Fixed(0.0),
            Variance::Given(variance) => {
                assert!(Self::accepts(variance), "a Gaussian of variance {variance}");
                LogVariance::Fixed(variance.ln())
            }
            Variance::Learned | Variance::Optimal => LogVariance::Shared(slot(1)),
            Variance::LearnedPerDimension => LogVariance::PerDimension(slot(cols)),
            Variance::Predicted => LogVariance::Predicted,
        };
        Gaussian { cols, log_variance, optimal: variance == Variance::Optimal }
    }
    /// Whether a number can be a given variance: positive, and neither it nor its inverse too large or small for f32.
    pub fn accepts(variance: f64) -> bool {
        (1e-30..=1e30).contains(&variance)
    }
    /// The slot of a learned log-variance.
    pub fn log_variance(&self) -> Option<Slot> {
        match self.log_variance {
            LogVariance::Shared(slot) | LogVariance::PerDimension(slot) => Some(slot),
            LogVariance::Fixed(_) | LogVariance::Predicted => None,
        }
    }
    /// Log-variance and variance⁻¹ where all columns share them.
    fn shared<F: Real>(&self, p: &Params<F>) -> Option<(f64, f64)> {
        let v = match self.log_variance {
            LogVariance::Fixed(v) => v,
            LogVariance::Shared(slot) => Element::to_f64(p.slot(&slot)[0]),
            LogVariance::PerDimension(_) | LogVariance::Predicted => return None,
        };
        Some((v, (-v).exp()))
    }
    /// A row's mean and log-variances, where each column has its own.
    fn split<'a, F: Real>(&self, p: &'a Params<F>, eta: &'a [F]) -> (&'a [F], &'a [F]) {
        match self.log_variance {
            LogVariance::PerDimension(slot) => (eta, &p.slot(&slot)[..self.cols]),
            _ => eta.split_at(self.cols),
        }
    }
    /// A row's value from its squared error, where all columns share a log-variance.
    fn value<F: Real>(&self, squared: F, log_variance: f64, precision: f64) -> F {
        let constant = self.cols as f64 * (LOG_TAU + log_variance);
        F::from_f64(-0.5 * (constant + Element::to_f64(squared) * precision))
    }
}

impl<F: Real> Likelihood<F> for Gaussian {
    fn cols(&self) -> usize {
        self.cols
    }
    fn eta_cols(&self) -> usize {
        if self.log_variance == LogVariance::Predicted { 2 * self.cols } else { self.cols }
    }
    fn domain(&self) -> Domain {
        Domain::Real
    }
    /// For a learned log-variance, its gradient by row: (rows, 1) or (rows, D).
    fn cache(&self, rows: usize) -> Cache<F> {
        let buffers = self.log_variance().map(|slot| Buffer::new(rows, slot.cols()));
        Cache { buffers: buffers.into_iter().collect(), children: vec![] }
    }
    fn log_prob(&self, isa: Isa, p: &Params<F>, x: Mat<F>, eta: Mat<F>, out: &mut [F]) {
        let (k, shared) = (samples_per_row(x.rows(), eta.rows()), self.shared(p));
        for (r, out) in out[..eta.rows()].iter_mut().enumerate() {
            let (x, eta) = (x.row(r / k), eta.row(r));
            *out = match shared {
                Some((v, precision)) => self.value(sweep::squared_error(isa, x, eta), v, precision),
                None => {
                    let (mean, v) = self.split(p, eta);
                    sweep::gaussian_log_prob(isa, x, mean, v)
                }
            };
        }
    }
    fn log_prob_grad(
        &self,
        isa: Isa,
        p: &Params<F>,
        x: Mat<F>,
        mut eta: MatMut<F>,
        weights: &[F],
        out: &mut [F],
        cache: &mut Cache<F>,
    ) {
        let (rows, k, shared) = (eta.rows(), samples_per_row(x.rows(), eta.rows()), self.shared(p));
        // (rows, 1) or (rows, D), where the log-variance is learned
        let mut dv = cache.buffers.first_mut().map(|b| b.rows_mut(rows));
        let (weights, out) = (&weights[..rows], &mut out[..rows]);
        if let Some((v, precision)) = shared {
            block::squared_error_grad(isa, x, eta, weights, F::from_f64(precision), out);
            for (r, (out, &w)) in out.iter_mut().zip(weights).enumerate() {
                if let Some(dv) = &mut dv {
                    let excess = Element::to_f64(*out) * precision - self.cols as f64;
                    dv.row(r)[0] = w * F::from_f64(0.5 * excess);
                }
                *out = self.value(*out, v, precision);
            }
            return;
        }
        for (r, out) in out.iter_mut().enumerate() {
            let (x, eta, w) = (x.row(r / k), eta.row(r), weights[r]);
            *out = match (self.log_variance, &mut dv) {
                (LogVariance::PerDimension(slot), Some(dv)) => {
                    // The sweep replaces log-variances by their derivatives, so it gets a copy.
                    dv.row(r).copy_from_slice(&p.slot(&slot)[..self.cols]);
                    sweep::gaussian_log_prob_grad(isa, x, eta, dv.row(r), w)
                }
                _ => {
                    let (mean, v) = eta.split_at_mut(self.cols);
                    sweep::gaussian_log_prob_grad(isa, x, mean, v, w)
                }
            };
        }
    }
    fn gradient<'a>(&self, slot: Slot, rows: usize, cache: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        (self.log_variance() == Some(slot)).then(|| Gradient::Sum(cache.buffers[0].rows(rows)))
    }
    /// From −log p = ½ D (log 2π + v + mean d² · e⁻ᵛ).
    fn optimum(&self, p: &Params<F>, reconstruction: f64) -> Option<(Slot, F)> {
        let (true, LogVariance::Shared(slot)) = (self.optimal, self.log_variance) else { return None };
        let v = Element::to_f64(p.slot(&slot)[0]);
        let ratio = 2.0 * reconstruction / self.cols as f64 - LOG_TAU - v;
        // A much smaller ratio would be rounding's: the next batches go on from there.
        Some((slot, F::from_f64((v + ratio.max(1e-3).ln()).max(LEAST_OPTIMAL))))
    }
    fn mean(&self, _: Isa, _: &Params<F>, eta: Mat<F>, mut out: MatMut<F>) {
        for r in 0..eta.rows() {
            out.row(r).copy_from_slice(&eta.row(r)[..self.cols]);
        }
    }
    fn sample(&self, p: &Params<F>, eta: &[F], rng: &mut ChaCha8Rng, out: &mut [F]) {
        let shared = self.shared(p).map(|(v, _)| v);
        for (d, x) in out.iter_mut().enumerate() {
            let v = shared.unwrap_or_else(|| Element::to_f64(self.split(p, eta).1[d]));
            let noise: f64 = rng.sample(StandardNormal);
            *x = F::from_f64(Element::to_f64(eta[d]) + (0.5 * v).exp() * noise);
        }
    }
}
