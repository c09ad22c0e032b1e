//! The Bernoulli likelihood, from logits.
//!
//! ```text
//! log p(x|o) = Σ x·o − softplus(o)        (B, D), (B, D) → (B)        ∂/∂o = x − σ(o)
//! ```
//!
//! For every finite o, with u = 2⁻²⁴ (f32) or 2⁻⁵³: the value is within (D/16 + 12) u Σ (|o| + 1) of the exact one, since
//! sixteen lanes sum D/16 columns each and the logarithms of 64 columns are one; a derivative is within 8u |w| max(x, σ(o))
//! and what is below the normal range: a tail keeps its digits.

use super::{Domain, Likelihood, samples_per_row};
use crate::layer::Cache;
use crate::tensor::{Isa, Mat, MatMut, Params, Real};
use elbo_kernels::activation::{self, Activation};
use elbo_kernels::{Element, sweep};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// `x_d ~ Bernoulli(σ(η_d))`, with one logit for each of D columns.
///
/// Grey values between 0 and 1 are allowed. For them the value is the negative cross-entropy between x and σ(η), not
/// the logarithm of a normalised density (Loaiza-Ganem and Cunningham, 2019); for x in {0, 1} the two are the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bernoulli {
    cols: usize,
}

impl Bernoulli {
    /// For rows of `cols` columns.
    pub fn new(cols: usize) -> Self {
        Bernoulli { cols }
    }
}

impl<F: Real> Likelihood<F> for Bernoulli {
    fn cols(&self) -> usize {
        self.cols
    }
    fn eta_cols(&self) -> usize {
        self.cols
    }
    fn domain(&self) -> Domain {
        Domain::Unit
    }
    fn cache(&self, _rows: usize) -> Cache<F> {
        Cache { buffers: vec![], children: vec![] }
    }
    fn log_prob(&self, isa: Isa, _: &Params<F>, x: Mat<F>, eta: Mat<F>, out: &mut [F]) {
        let k = samples_per_row(x.rows(), eta.rows());
        for (r, out) in out[..eta.rows()].iter_mut().enumerate() {
            *out = sweep::bernoulli_log_prob(isa, x.row(r / k), eta.row(r));
        }
    }
    fn log_prob_grad(
        &self,
        isa: Isa,
        _: &Params<F>,
        x: Mat<F>,
        mut eta: MatMut<F>,
        weights: &[F],
        out: &mut [F],
        _: &mut Cache<F>,
    ) {
        let k = samples_per_row(x.rows(), eta.rows());
        for (r, out) in out[..eta.rows()].iter_mut().enumerate() {
            *out = sweep::bernoulli_log_prob_grad(isa, x.row(r / k), eta.row(r), weights[r]);
        }
    }
    fn mean(&self, isa: Isa, _: &Params<F>, eta: Mat<F>, mut out: MatMut<F>) {
        for r in 0..eta.rows() {
            out.row(r).copy_from_slice(eta.row(r));
            activation::forward(isa, Activation::Sigmoid, out.row(r));
        }
    }
    fn sample(&self, _: &Params<F>, eta: &[F], rng: &mut ChaCha8Rng, out: &mut [F]) {
        for (x, &o) in out.iter_mut().zip(eta) {
            // u < σ(o) without a division: u (1 + e⁻ᵒ) < 1.
            let u: f64 = rng.random();
            *x = if u * (1.0 + (-Element::to_f64(o)).exp()) < 1.0 { F::ONE } else { F::ZERO };
        }
    }
}
