//! The product of two diagonal Gaussians, normalised: how a ladder VAE corrects what it expects of a level by what the data say of
//! it (Sønderby, Raiko, Maaløe, Sønderby and Winther 2016, arXiv:1602.02282, eq. 17–19). Precisions add up, and means are weighted by
//! them. With evidence [μ̂ | v̂], expectation [m | s] and the evidence's share a = e^{−v̂} / (e^{−v̂} + e^{−s}) = 1 / (1 + e^{v̂−s}):
//!
//! ```text
//! μ = m + a (μ̂ − m)                                     v = v̂ + log a,  as e^{−v} = e^{−v̂} + e^{−s} = e^{−v̂} / a
//! da/dv̂ = −a (1−a) = −da/ds                              dv/dv̂ = a            dv/ds = 1 − a
//!
//! dμ̂ += a dμ          dv̂ += a dv − c        c = a (1−a) (μ̂ − m) dμ
//! dm += (1−a) dμ      ds += (1−a) dv + c
//! ```
//!
//! All is computed in f64, whatever the scalar: neither precision is ever formed, so none overflows.

use super::samples_per_row;
use crate::tensor::{Mat, MatMut, Real};

/// `N(μ, e^v) ∝ N(μ̂, e^v̂) N(m, e^s)`, of so many latents. The evidence may be of fewer rows than the expectation: row `r` of n·k rows
/// belongs to row `r / k` of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GaussianProduct {
    latent: usize,
}

/// A row's four numbers of latent j: μ̂ − m, and a, 1 − a and −log a.
fn shares<F: Real>(evidence: &[F], expected: &[F], j: usize, latent: usize) -> (f64, f64, f64, f64) {
    let off = evidence[j].to_f64() - expected[j].to_f64();
    let excess = evidence[latent + j].to_f64() - expected[latent + j].to_f64();
    // e^{−|x|} never overflows; log (1 + e^x) is max(x, 0) more than log (1 + e^{−|x|}).
    let small = (-excess.abs()).exp();
    let (larger, smaller) = (1.0 / (1.0 + small), small / (1.0 + small));
    let (a, rest) = if excess > 0.0 { (smaller, larger) } else { (larger, smaller) };
    (off, a, rest, excess.max(0.0) + small.ln_1p())
}

impl GaussianProduct {
    /// For `latent` columns of z.
    pub fn new(latent: usize) -> Self {
        GaussianProduct { latent }
    }
    /// [μ | v] to `out`, (n·k, 2L), from the `evidence`, (n, 2L), and what is `expected`, (n·k, 2L).
    pub fn forward<F: Real>(&self, evidence: Mat<F>, expected: Mat<F>, mut out: MatMut<F>) {
        let k = samples_per_row(evidence.rows(), expected.rows());
        for r in 0..expected.rows() {
            let (evidence, expected) = (evidence.row(r / k), expected.row(r));
            let (mean, v) = out.row(r).split_at_mut(self.latent);
            for (j, (mean, v)) in mean.iter_mut().zip(v).enumerate() {
                let (off, a, _, minus_log_a) = shares(evidence, expected, j, self.latent);
                *mean = F::from_f64(expected[j].to_f64() + a * off);
                *v = F::from_f64(evidence[self.latent + j].to_f64() - minus_log_a);
            }
        }
    }
    /// Adds to `d_evidence`, (n, 2L), and `d_expected`, (n·k, 2L), what the derivative by the product, `d`, (n·k, 2L), says of each.
    pub fn backward<F: Real>(
        &self,
        evidence: Mat<F>,
        expected: Mat<F>,
        d: Mat<F>,
        mut d_evidence: MatMut<F>,
        mut d_expected: MatMut<F>,
    ) {
        let (k, latent) = (samples_per_row(evidence.rows(), expected.rows()), self.latent);
        for r in 0..expected.rows() {
            let (d_mean, d_v) = d.row(r).split_at(latent);
            let (by_evidence, by_expected) = (d_evidence.row(r / k), d_expected.row(r));
            for (j, (d_mean, d_v)) in d_mean.iter().zip(d_v).enumerate() {
                let (off, a, rest, _) = shares(evidence.row(r / k), expected.row(r), j, latent);
                let (d_mean, d_v) = (d_mean.to_f64(), d_v.to_f64());
                let c = a * rest * off * d_mean;
                by_evidence[j] += F::from_f64(a * d_mean);
                by_evidence[latent + j] += F::from_f64(a * d_v - c);
                by_expected[j] += F::from_f64(rest * d_mean);
                by_expected[latent + j] += F::from_f64(rest * d_v + c);
            }
        }
    }
}
