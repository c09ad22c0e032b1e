//! The Gaussian posterior with a diagonal covariance (Kingma and Welling, 2014, eq. 9–10).
//!
//! ```text
//! η = [μ | v]  (B, 2L)      z = μ + e^{v/2} ε  (B·k, L)      dμ += dz      dv += ½ dz ε e^{v/2}
//!
//! log q(z|η) = −½ Σ (log 2π + v + ε²)
//! through z, weight p:      ∂/∂z = −ε e^{−v/2}      dμ += −p ε e^{−v/2}       dv += −½ p ε²
//! at a fixed z, weight s:                           dμ +=  s ε e^{−v/2}       dv +=  ½ s (ε² − 1)
//! ```
//!
//! Where p = s, as in a plain gradient, nothing is left of ε: the derivatives are 0 and −½ s.

use super::{LOG_TAU, Posterior, Prior, StandardNormal, samples_per_row};
use crate::layer::Sides;
use crate::tensor::{Isa, Mat, MatMut, Real};
use elbo_kernels::{block, sweep};

/// `q(z | η) = N(μ, diag e^v)`, where η is [mean μ | log-variance v]. The log-variance is free unless it is given
/// [bounds](Self::bounded).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DiagonalGaussian {
    latent: usize,
    bounds: Option<[f64; 2]>,
}

impl DiagonalGaussian {
    /// For `latent` columns of z.
    pub fn new(latent: usize) -> Self {
        DiagonalGaussian { latent, bounds: None }
    }
    /// With log-variances kept between two numbers, whatever the encoder says: beyond them its derivative is 0 (the
    /// `Hardtanh(−6, 2)` of Tomczak and Welling 2018 and Norouzi, Fleet and Norouzi 2020).
    #[must_use]
    pub fn bounded(self, bounds: Option<[f64; 2]>) -> Self {
        DiagonalGaussian { bounds, ..self }
    }
    /// Whether its log-variances have bounds.
    pub fn is_bounded(&self) -> bool {
        self.bounds.is_some()
    }
    /// Puts the log-variances of `eta`, (n, 2L), between the bounds; what is not a number stays none.
    pub fn bound<F: Real>(&self, mut eta: MatMut<F>) {
        let Some([low, high]) = self.bounds.map(|bounds| bounds.map(F::from_f64)) else { return };
        for r in 0..eta.rows() {
            for v in &mut eta.row(r)[self.latent..] {
                *v = if *v < low { low } else { *v };
                *v = if *v > high { high } else { *v };
            }
        }
    }
    /// From the derivative by `eta`, as [`bound`](Self::bound) left it, to that by what it was before.
    pub fn bound_grad<F: Real>(&self, eta: Mat<F>, mut d_eta: MatMut<F>) {
        let Some([low, high]) = self.bounds.map(|bounds| bounds.map(F::from_f64)) else { return };
        for r in 0..eta.rows() {
            let (v, dv) = (&eta.row(r)[self.latent..], &mut d_eta.row(r)[self.latent..]);
            for (dv, &v) in dv.iter_mut().zip(v) {
                *dv = if v <= low || v >= high { F::ZERO } else { *dv };
            }
        }
    }
    /// Notes on which side of the bounds each log-variance is, for a gradient checker.
    pub fn kinks<F: Real>(&self, eta: Mat<F>, sides: &mut Sides) {
        let Some([low, high]) = self.bounds.map(|bounds| bounds.map(F::from_f64)) else { return };
        for v in (0..eta.rows()).flat_map(|r| &eta.row(r)[self.latent..]) {
            sides.sign(*v > low);
            sides.sign(*v < high);
        }
    }
    /// [`sample`](Posterior::sample) and the KL to the standard normal `prior`, in one sweep where there is one sample a row.
    pub fn sample_and_kl<F: Real>(
        &self,
        isa: Isa,
        prior: &StandardNormal,
        eta: Mat<F>,
        eps: Mat<F>,
        z: MatMut<F>,
        kl: MatMut<F>,
    ) {
        if samples_per_row(eta.rows(), eps.rows()) > 1 {
            self.sample(isa, eta, eps, z);
            return prior.kl(isa, eta, kl);
        }
        block::sample_and_kl(isa, eta, eps, z, kl);
    }
    /// `out[r] = log p(z_r) − log q(z_r | η)` in nats, for z = T(ε; η) and the standard normal `prior`: ½ Σ (v + ε² − z²).
    ///
    /// In f64, and from ε: of a z that was rounded, (z − μ)² e⁻ᵛ has lost digits where e^{v/2} is far below μ.
    pub fn log_ratio<F: Real>(&self, _: &StandardNormal, eta: Mat<F>, eps: Mat<F>, z: Mat<F>, out: &mut [f64]) {
        let k = samples_per_row(eta.rows(), eps.rows());
        for (r, out) in out[..eps.rows()].iter_mut().enumerate() {
            let (_, v) = eta.row(r / k).split_at(self.latent);
            let squares = |x: &[F]| x.iter().map(|x| x.to_f64() * x.to_f64()).sum::<f64>();
            let log_variances: f64 = v.iter().map(|v| v.to_f64()).sum();
            *out = 0.5 * (log_variances + squares(eps.row(r)) - squares(z.row(r)));
        }
    }
    /// The gradient of both into `deta`, which is replaced: [`sample_grad`](Posterior::sample_grad) of `dz`, and
    /// [`kl_grad`](Prior::kl_grad) by `weights`.
    #[allow(clippy::too_many_arguments, reason = "the arguments of both, once")]
    pub fn sample_and_kl_grad<F: Real>(
        &self,
        isa: Isa,
        prior: &StandardNormal,
        eta: Mat<F>,
        eps: Mat<F>,
        dz: Mat<F>,
        weights: Mat<F>,
        mut deta: MatMut<F>,
    ) {
        if samples_per_row(eta.rows(), eps.rows()) > 1 {
            (0..deta.rows()).for_each(|r| deta.row(r).fill(F::ZERO));
            self.sample_grad(isa, eta, eps, dz, deta.reborrow());
            return prior.kl_grad(isa, eta, weights, deta);
        }
        block::sample_and_kl_grad(isa, eta, eps, dz, weights, deta);
    }
}

impl<F: Real> Posterior<F> for DiagonalGaussian {
    fn latent(&self) -> usize {
        self.latent
    }
    fn eta_cols(&self) -> usize {
        2 * self.latent
    }
    fn sample(&self, isa: Isa, eta: Mat<F>, eps: Mat<F>, mut z: MatMut<F>) {
        let k = samples_per_row(eta.rows(), eps.rows());
        for r in 0..eps.rows() {
            let (mean, v) = eta.row(r / k).split_at(self.latent);
            sweep::reparameterize(isa, mean, v, eps.row(r), z.row(r));
        }
    }
    fn sample_grad(&self, isa: Isa, eta: Mat<F>, eps: Mat<F>, dz: Mat<F>, mut deta: MatMut<F>) {
        let k = samples_per_row(eta.rows(), eps.rows());
        for r in 0..eps.rows() {
            let (_, v) = eta.row(r / k).split_at(self.latent);
            let (dmean, dv) = deta.row(r / k).split_at_mut(self.latent);
            sweep::reparameterize_grad(isa, v, eps.row(r), dz.row(r), dmean, dv);
        }
    }
    fn mean(&self, eta: Mat<F>, mut out: MatMut<F>) {
        for r in 0..eta.rows() {
            out.row(r).copy_from_slice(&eta.row(r)[..self.latent]);
        }
    }
    fn log_prob(&self, isa: Isa, z: Mat<F>, eta: Mat<F>, out: &mut [F]) {
        let k = samples_per_row(eta.rows(), z.rows());
        for (r, out) in out[..z.rows()].iter_mut().enumerate() {
            let (mean, v) = eta.row(r / k).split_at(self.latent);
            *out = sweep::gaussian_log_prob(isa, z.row(r), mean, v);
        }
    }
    fn log_prob_of(&self, eta: Mat<F>, eps: Mat<F>, out: &mut [F]) {
        let k = samples_per_row(eta.rows(), eps.rows());
        let constant = self.latent as f64 * LOG_TAU;
        for (r, out) in out[..eps.rows()].iter_mut().enumerate() {
            let (_, v) = eta.row(r / k).split_at(self.latent);
            let squares: f64 = eps.row(r).iter().map(|e| e.to_f64() * e.to_f64()).sum();
            let log_variances: f64 = v.iter().map(|v| v.to_f64()).sum();
            *out = F::from_f64(-0.5 * (constant + log_variances + squares));
        }
    }
    fn log_prob_of_grad(&self, eta: Mat<F>, eps: Mat<F>, path: &[F], score: &[F], _: MatMut<F>, mut deta: MatMut<F>) {
        let k = samples_per_row(eta.rows(), eps.rows());
        let half = F::from_f64(0.5);
        for r in 0..eps.rows() {
            let (_, v) = eta.row(r / k).split_at(self.latent);
            let (dmean, dv) = deta.row(r / k).split_at_mut(self.latent);
            let (excess, direct) = (score[r] - path[r], half * score[r]);
            dv.iter_mut().for_each(|dv| *dv = *dv - direct);
            if excess == F::ZERO {
                continue;
            }
            for (((dmean, dv), &e), v) in dmean.iter_mut().zip(dv).zip(eps.row(r)).zip(v) {
                *dmean += excess * e * F::from_f64((-0.5 * v.to_f64()).exp());
                *dv += half * excess * e * e;
            }
        }
    }
}
