//! A Gaussian prior whose mean and variance follow a condition (Sohn, Lee and Yan 2015, eq. 5): ρ = [μ | v] comes from a
//! network of c. With d = (μ_q − μ) e^{−v/2} and a = v_q − v, for η = [μ_q | v_q]:
//!
//! ```text
//! KL_j = ½ (d² + e^a − 1 − a)  (B, L)      dμ_q += w d e^{−v/2}      dv_q += ½ w (e^a − 1)
//!                                          dμ   −= w d e^{−v/2}      dv   −= ½ w (d² + e^a − 1)
//!
//! log p(z|ρ) = −½ Σ (log 2π + v + e²),  e = (z − μ) e^{−v/2}         (B·k, L) → (B·k)
//! ∂/∂z = −e e^{−v/2}      ∂/∂μ = e e^{−v/2}      ∂/∂v = ½ (e² − 1)
//! ```
//!
//! It is the standard normal's KL of (d, a), and so as exact near the prior. All is computed in f64, whatever the scalar.

use super::{LOG_TAU, samples_per_row};
use crate::tensor::{Mat, MatMut, Real};

/// `p(z | ρ) = N(μ, diag e^v)`, where ρ is [mean μ | log-variance v], (n, 2L). Latents may be n·k rows: row `r` belongs to
/// row `r / k` of ρ and η.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConditionalGaussian {
    latent: usize,
}

/// A latent's place under a mean and a log-variance: (x − μ) e^{−v/2}, and e^{−v/2}.
fn scaled<F: Real>(x: F, mean: F, v: F) -> (f64, f64) {
    let scale = (-0.5 * v.to_f64()).exp();
    ((x.to_f64() - mean.to_f64()) * scale, scale)
}

impl ConditionalGaussian {
    /// For `latent` columns of z.
    pub fn new(latent: usize) -> Self {
        ConditionalGaussian { latent }
    }
    /// `kl[r, j]` = the part of `KL(q(z | η_r) ‖ p(z | ρ_r))` that latent j contributes, in nats; (n, L).
    pub fn kl<F: Real>(&self, eta: Mat<F>, rho: Mat<F>, mut kl: MatMut<F>) {
        for r in 0..eta.rows() {
            let ((mean_q, v_q), (mean, v)) = (eta.row(r).split_at(self.latent), rho.row(r).split_at(self.latent));
            for (j, kl) in kl.row(r).iter_mut().enumerate() {
                let (d, _) = scaled(mean_q[j], mean[j], v[j]);
                let a = v_q[j].to_f64() - v[j].to_f64();
                *kl = F::from_f64(0.5 * (d * d + (a.exp_m1() - a)));
            }
        }
    }
    /// Adds `weights[r, j] · ∂ kl[r, j]` by η to `d_eta` and by ρ to `d_rho`.
    pub fn kl_grad<F: Real>(
        &self,
        eta: Mat<F>,
        rho: Mat<F>,
        weights: Mat<F>,
        mut d_eta: MatMut<F>,
        mut d_rho: MatMut<F>,
    ) {
        for r in 0..eta.rows() {
            let ((mean_q, v_q), (mean, v)) = (eta.row(r).split_at(self.latent), rho.row(r).split_at(self.latent));
            let (dmean_q, dv_q) = d_eta.row(r).split_at_mut(self.latent);
            let (dmean, dv) = d_rho.row(r).split_at_mut(self.latent);
            for (j, w) in weights.row(r).iter().map(|w| w.to_f64()).enumerate() {
                let (d, scale) = scaled(mean_q[j], mean[j], v[j]);
                let excess = (v_q[j].to_f64() - v[j].to_f64()).exp_m1();
                let by_mean = F::from_f64(w * d * scale);
                dmean_q[j] += by_mean;
                dmean[j] = dmean[j] - by_mean;
                dv_q[j] += F::from_f64(0.5 * w * excess);
                dv[j] = dv[j] - F::from_f64(0.5 * w * (d * d + excess));
            }
        }
    }
    /// `out[r] = log p(z_r | ρ)`, in nats.
    pub fn log_prob<F: Real>(&self, z: Mat<F>, rho: Mat<F>, out: &mut [F]) {
        let k = samples_per_row(rho.rows(), z.rows());
        for (r, out) in out[..z.rows()].iter_mut().enumerate() {
            *out = F::from_f64(self.log_prob_of_row(z.row(r), rho.row(r / k)));
        }
    }
    /// The same of one row, in f64.
    pub(crate) fn log_prob_of_row<F: Real>(&self, z: &[F], rho: &[F]) -> f64 {
        let (mean, v) = rho.split_at(self.latent);
        let each = z.iter().zip(mean).zip(v).map(|((&z, &mean), &v)| {
            let (e, _) = scaled(z, mean, v);
            LOG_TAU + v.to_f64() + e * e
        });
        -0.5 * each.sum::<f64>()
    }
    /// Adds to `dz` `through[r]` times the derivative of `log p(z_r | ρ)` by z, and to `d_rho` `own[r]` times that by ρ.
    pub fn log_prob_grad<F: Real>(
        &self,
        z: Mat<F>,
        rho: Mat<F>,
        (through, own): (&[F], &[F]),
        mut dz: MatMut<F>,
        mut d_rho: MatMut<F>,
    ) {
        let k = samples_per_row(rho.rows(), z.rows());
        for r in 0..z.rows() {
            let (mean, v) = rho.row(r / k).split_at(self.latent);
            let (dmean, dv) = d_rho.row(r / k).split_at_mut(self.latent);
            let (through, own) = (through[r].to_f64(), own[r].to_f64());
            for (j, (&z, dz)) in z.row(r).iter().zip(dz.row(r)).enumerate() {
                let (e, scale) = scaled(z, mean[j], v[j]);
                *dz += F::from_f64(-through * e * scale);
                dmean[j] += F::from_f64(own * e * scale);
                dv[j] += F::from_f64(0.5 * own * (e * e - 1.0));
            }
        }
    }
}
