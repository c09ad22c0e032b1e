//! The Gaussian posterior with a full covariance, by its Cholesky factor T (Kingma and Welling 2019, arXiv:1906.02691,
//! section 2.5.1).
//!
//! ```text
//! η = [μ | v | l]  (B, 2L + L(L−1)/2)      T = diag e^{v/2} + l below it, row by row      z = μ + T ε  (B·k, L)
//! dμ += dz      dv_i += ½ dz_i ε_i e^{v_i/2}      dT_ij += dz_i ε_j
//!
//! KL_i = ½ (μ_i² + Σ_{j<i} T_ij² + e^{v_i} − 1 − v_i)      dμ_i += w_i μ_i      dv_i += w_i ½ (e^{v_i} − 1)      dT_ij += w_i T_ij
//!
//! log q(z|η) = −½ Σ (log 2π + v + ε²)      a = T⁻ᵀ ε = −∂ log q/∂z
//! through z, weight p:      dμ −= p a      dv_i −= ½ p a_i ε_i e^{v_i/2}             dT_ij −= p a_i ε_j
//! at a fixed z, weight s:   dμ += s a      dv_i += ½ s (a_i ε_i e^{v_i/2} − 1)       dT_ij += s a_i ε_j
//! ```
//!
//! KL_i is the chain rule's part of latent i, E KL(q(z_i | z_1 … z_{i−1}) ‖ N(0, 1)), so each is at least 0 and they sum to the
//! KL. A free l and the logarithm of the diagonal reach every covariance once; log det T is ½ Σ v whatever l is; and with
//! l = 0 it is the diagonal Gaussian, whose kernels it uses, to the bit. e^v is the variance of z_i given the latents before
//! it: bounds on v are bounds on that.

use super::{DiagonalGaussian, LOG_TAU, Posterior, Prior, StandardNormal, samples_per_row};
use crate::tensor::{Isa, Mat, MatMut, Real};

/// `q(z | η) = N(μ, T Tᵀ)`, where η is [mean μ | log of the squared diagonal v | what is below the diagonal].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FullGaussian {
    latent: usize,
    diagonal: DiagonalGaussian,
}

impl FullGaussian {
    /// For `latent` columns of z.
    pub fn new(latent: usize) -> Self {
        FullGaussian { latent, diagonal: DiagonalGaussian::new(latent) }
    }
    /// The elements below a triangle's diagonal: `L(L−1)/2`; `usize::MAX` if there are too many to count.
    pub fn below(latent: usize) -> usize {
        if latent.is_multiple_of(2) {
            (latent / 2).saturating_mul(latent.saturating_sub(1))
        } else {
            latent.saturating_mul(latent / 2)
        }
    }
    /// Where row `i` of l begins in a row of η.
    fn row(&self, i: usize) -> usize {
        2 * self.latent + Self::below(i)
    }
    fn base<'a, F>(&self, eta: Mat<'a, F>) -> Mat<'a, F> {
        eta.columns(0, 2 * self.latent)
    }
    fn base_mut<'a, F>(&self, eta: MatMut<'a, F>) -> MatMut<'a, F> {
        eta.columns(0, 2 * self.latent)
    }
    /// T_i0 … T_i,i−1 of one row of η.
    fn left<'a, F>(&self, eta: &'a [F], i: usize) -> &'a [F] {
        &eta[self.row(i)..][..i]
    }

    /// `kl[r, i]` = KL_i of row r, in nats; (n, L).
    pub fn kl<F: Real>(&self, isa: Isa, prior: &StandardNormal, eta: Mat<F>, mut kl: MatMut<F>) {
        prior.kl(isa, self.base(eta), kl.reborrow());
        let half = F::from_f64(0.5);
        for r in 0..eta.rows() {
            for (i, kl) in kl.row(r).iter_mut().enumerate() {
                *kl += half * self.left(eta.row(r), i).iter().map(|&t| t * t).sum::<F>();
            }
        }
    }
    /// Adds `weights[r, i] · ∂ kl[r, i] / ∂η_r` to `deta`.
    pub fn kl_grad<F: Real>(
        &self,
        isa: Isa,
        prior: &StandardNormal,
        eta: Mat<F>,
        weights: Mat<F>,
        mut deta: MatMut<F>,
    ) {
        prior.kl_grad(isa, self.base(eta), weights, self.base_mut(deta.reborrow()));
        for r in 0..eta.rows() {
            for (i, &weight) in weights.row(r).iter().enumerate() {
                let to = &mut deta.row(r)[self.row(i)..][..i];
                to.iter_mut().zip(self.left(eta.row(r), i)).for_each(|(dt, &t)| *dt += weight * t);
            }
        }
    }
    /// `out[r] = log p(z_r) − log q(z_r | η)` in nats, for z = T(ε; η): as
    /// [of the diagonal](DiagonalGaussian::log_ratio), for log q is the same function of v and ε.
    pub fn log_ratio<F: Real>(&self, prior: &StandardNormal, eta: Mat<F>, eps: Mat<F>, z: Mat<F>, out: &mut [f64]) {
        self.diagonal.log_ratio(prior, self.base(eta), eps, z, out);
    }
    /// The log-variance of each latent by itself, log (e^{v_i} + Σ_{j<i} T_ij²), of one row of η; (L).
    pub fn log_variances<F: Real>(&self, eta: &[F], out: &mut [F]) {
        for (i, out) in out.iter_mut().enumerate() {
            let v = eta[self.latent + i].to_f64();
            let squares: f64 = self.left(eta, i).iter().map(|t| t.to_f64() * t.to_f64()).sum();
            *out = F::from_f64(v + (squares * (-v).exp()).ln_1p());
        }
    }
}

impl<F: Real> Posterior<F> for FullGaussian {
    fn latent(&self) -> usize {
        self.latent
    }
    fn eta_cols(&self) -> usize {
        self.row(self.latent)
    }
    fn sample(&self, isa: Isa, eta: Mat<F>, eps: Mat<F>, mut z: MatMut<F>) {
        self.diagonal.sample(isa, self.base(eta), eps, z.reborrow());
        let k = samples_per_row(eta.rows(), eps.rows());
        for r in 0..eps.rows() {
            let eps = eps.row(r);
            for (i, z) in z.row(r).iter_mut().enumerate() {
                *z += self.left(eta.row(r / k), i).iter().zip(eps).map(|(&t, &e)| t * e).sum::<F>();
            }
        }
    }
    fn sample_grad(&self, isa: Isa, eta: Mat<F>, eps: Mat<F>, dz: Mat<F>, mut deta: MatMut<F>) {
        self.diagonal.sample_grad(isa, self.base(eta), eps, dz, self.base_mut(deta.reborrow()));
        let k = samples_per_row(eta.rows(), eps.rows());
        for r in 0..eps.rows() {
            for (i, &dz) in dz.row(r).iter().enumerate() {
                let to = &mut deta.row(r / k)[self.row(i)..][..i];
                to.iter_mut().zip(eps.row(r)).for_each(|(dt, &e)| *dt += dz * e);
            }
        }
    }
    fn mean(&self, eta: Mat<F>, out: MatMut<F>) {
        self.diagonal.mean(eta, out);
    }
    /// Solves T ε = z − μ, in f64 and in memory of its own.
    fn log_prob(&self, _: Isa, z: Mat<F>, eta: Mat<F>, out: &mut [F]) {
        let k = samples_per_row(eta.rows(), z.rows());
        let mut eps = vec![0.0; self.latent];
        for (r, out) in out[..z.rows()].iter_mut().enumerate() {
            let (eta, mut sum) = (eta.row(r / k), 0.0);
            for i in 0..self.latent {
                let known: f64 = self.left(eta, i).iter().zip(&eps).map(|(t, e)| t.to_f64() * e).sum();
                let v = eta[self.latent + i].to_f64();
                eps[i] = (z.row(r)[i].to_f64() - eta[i].to_f64() - known) * (-0.5 * v).exp();
                sum += LOG_TAU + v + eps[i] * eps[i];
            }
            *out = F::from_f64(-0.5 * sum);
        }
    }
    fn log_prob_of(&self, eta: Mat<F>, eps: Mat<F>, out: &mut [F]) {
        self.diagonal.log_prob_of(self.base(eta), eps, out);
    }
    fn log_prob_of_grad(
        &self,
        eta: Mat<F>,
        eps: Mat<F>,
        path: &[F],
        score: &[F],
        mut work: MatMut<F>,
        mut deta: MatMut<F>,
    ) {
        let (k, latent) = (samples_per_row(eta.rows(), eps.rows()), self.latent);
        let half = F::from_f64(0.5);
        for r in 0..eps.rows() {
            let (eta, eps, deta) = (eta.row(r / k), eps.row(r), deta.row(r / k));
            let (excess, direct) = (score[r] - path[r], half * score[r]);
            deta[latent..2 * latent].iter_mut().for_each(|dv| *dv = *dv - direct);
            if excess == F::ZERO {
                continue;
            }
            // ε less what the a already known say of it.
            let rest = work.row(r);
            rest.copy_from_slice(eps);
            for i in (0..latent).rev() {
                let v = eta[latent + i].to_f64();
                let a = rest[i] * F::from_f64((-0.5 * v).exp());
                rest[..i].iter_mut().zip(self.left(eta, i)).for_each(|(rest, &t)| *rest = *rest - t * a);
                let scaled = excess * a;
                deta[i] += scaled;
                deta[latent + i] += half * scaled * eps[i] * F::from_f64((0.5 * v).exp());
                let to = &mut deta[self.row(i)..][..i];
                to.iter_mut().zip(eps).for_each(|(dt, &e)| *dt += scaled * e);
            }
        }
    }
}
