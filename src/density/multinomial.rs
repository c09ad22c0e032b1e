//! The multinomial likelihood over a row's counts, from logits (Liang et al., 2018, Mult-VAE, eq. 2, with its constant).
//!
//! ```text
//! log p(x|o) = ln N! − Σ ln x_d! + Σ x_d ln π_d,   π = softmax(o), N = Σ x_d        ∂/∂o_d = x_d − N π_d
//! ```
//!
//! The number of counts N is the row's own, and given: it is no part of what is modelled. Computed in f64 and rounded once, by
//! plain loops; finite for every o of magnitude 1e4.

use super::special::log_factorial;
use super::{Domain, Likelihood, samples_per_row};
use crate::layer::Cache;
use crate::tensor::{Isa, Mat, MatMut, Params, Real};
use elbo_kernels::Element;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::Binomial;

/// A row of D counts: each of its N falls into column d with probability softmax(η)_d.
///
/// η says nothing of N, so means and draws are of a number of trials that is given once: 1 makes the mean a share of the row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Multinomial {
    cols: usize,
    trials: u64,
}

impl Multinomial {
    /// For rows of `cols` columns, with means and draws of `trials` counts. Panics when those are
    /// [out of range](Self::accepts).
    pub fn new(cols: usize, trials: u64) -> Self {
        assert!(Self::accepts(trials), "a multinomial of {trials} trials");
        Multinomial { cols, trials }
    }
    /// Whether a number can be trials: from 1 to 2²⁴, so that every count is exact in f32.
    pub fn accepts(trials: u64) -> bool {
        (1..=1 << 24).contains(&trials)
    }
}

/// The largest logit, and Σ e^{o − max o}.
fn normaliser<F: Real>(logits: &[F]) -> (f64, f64) {
    let top = logits.iter().map(|&o| Element::to_f64(o)).fold(f64::NEG_INFINITY, f64::max);
    (top, logits.iter().map(|&o| (Element::to_f64(o) - top).exp()).sum())
}

/// log p(x | η) of a row, with its counts and the logits' [`normaliser`].
fn log_prob<F: Real>(x: &[F], logits: &[F]) -> (f64, f64, (f64, f64)) {
    let (top, sum) = normaliser(logits);
    let log = top + sum.ln();
    let (mut value, mut count) = (0.0, 0.0);
    for (&x, &o) in x.iter().zip(logits) {
        let x = Element::to_f64(x);
        value += x * (Element::to_f64(o) - log) - log_factorial(x);
        count += x;
    }
    (value + log_factorial(count), count, (top, sum))
}

impl<F: Real> Likelihood<F> for Multinomial {
    fn cols(&self) -> usize {
        self.cols
    }
    fn eta_cols(&self) -> usize {
        self.cols
    }
    fn domain(&self) -> Domain {
        Domain::Counts
    }
    fn cache(&self, _rows: usize) -> Cache<F> {
        Cache { buffers: vec![], children: vec![] }
    }
    fn log_prob(&self, _: Isa, _: &Params<F>, x: Mat<F>, eta: Mat<F>, out: &mut [F]) {
        let k = samples_per_row(x.rows(), eta.rows());
        for (r, out) in out[..eta.rows()].iter_mut().enumerate() {
            *out = F::from_f64(log_prob(x.row(r / k), eta.row(r)).0);
        }
    }
    fn log_prob_grad(
        &self,
        _: Isa,
        _: &Params<F>,
        x: Mat<F>,
        mut eta: MatMut<F>,
        weights: &[F],
        out: &mut [F],
        _: &mut Cache<F>,
    ) {
        let k = samples_per_row(x.rows(), eta.rows());
        for (r, out) in out[..eta.rows()].iter_mut().enumerate() {
            let (x, logits, w) = (x.row(r / k), eta.row(r), Element::to_f64(weights[r]));
            let (value, count, (top, sum)) = log_prob(x, logits);
            *out = F::from_f64(value);
            for (&x, o) in x.iter().zip(logits) {
                let share = (Element::to_f64(*o) - top).exp() / sum;
                *o = F::from_f64(w * (Element::to_f64(x) - count * share));
            }
        }
    }
    /// `trials · softmax(η)`.
    fn mean(&self, _: Isa, _: &Params<F>, eta: Mat<F>, mut out: MatMut<F>) {
        for r in 0..eta.rows() {
            let (top, sum) = normaliser(eta.row(r));
            for (mean, &o) in out.row(r).iter_mut().zip(eta.row(r)) {
                *mean = F::from_f64(self.trials as f64 * (Element::to_f64(o) - top).exp() / sum);
            }
        }
    }
    /// Column by column: of the counts that are left, a binomial part.
    fn sample(&self, _: &Params<F>, eta: &[F], rng: &mut ChaCha8Rng, out: &mut [F]) {
        let (top, mut rest) = normaliser(eta);
        let (mut left, last) = (self.trials, eta.len().saturating_sub(1));
        for (d, (x, &o)) in out.iter_mut().zip(eta).enumerate() {
            let share = (Element::to_f64(o) - top).exp();
            // What is left after rounding goes to the last column.
            let probability = if d == last || share >= rest { 1.0 } else { share / rest };
            let count = Binomial::new(left, probability).map_or(0, |binomial| rng.sample(binomial));
            *x = F::from_f64(count as f64);
            (left, rest) = (left - count, rest - share);
        }
    }
}
