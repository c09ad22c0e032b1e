//! The standard normal prior, and the KL of a diagonal Gaussian to it (Kingma and Welling, 2014, appendix B).
//!
//! ```text
//! KL_j = ½ (μ_j² + e^{v_j} − 1 − v_j)  (B, L)      dμ += w μ      dv += w ½ (e^v − 1)
//! ```
//!
//! Values and derivatives are within 20u of their size, u = 2⁻²⁴ (f32) or 2⁻⁵³, for every v below 88 (f32) or 709, however
//! near the prior or far below it; above, they are infinite.

use super::Prior;
use crate::tensor::{Isa, Mat, MatMut, Real};
use elbo_kernels::sweep;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// `p(z) = N(0, I)`. Its KL is from a [`DiagonalGaussian`](super::DiagonalGaussian): η is [mean | log-variance].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StandardNormal {
    latent: usize,
}

impl StandardNormal {
    /// For `latent` columns of z.
    pub fn new(latent: usize) -> Self {
        StandardNormal { latent }
    }
}

impl<F: Real> Prior<F> for StandardNormal {
    fn latent(&self) -> usize {
        self.latent
    }
    fn log_prob(&self, isa: Isa, z: Mat<F>, out: &mut [F]) {
        for (r, out) in out[..z.rows()].iter_mut().enumerate() {
            *out = sweep::standard_normal_log_prob(isa, z.row(r));
        }
    }
    fn log_prob_grad(&self, isa: Isa, z: Mat<F>, weights: &[F], mut dz: MatMut<F>) {
        for (r, &weight) in weights[..z.rows()].iter().enumerate() {
            sweep::standard_normal_log_prob_grad(isa, z.row(r), weight, dz.row(r));
        }
    }
    fn sample(&self, rng: &mut ChaCha8Rng, out: &mut [F]) {
        for z in out {
            *z = F::from_f64(rng.sample(rand_distr::StandardNormal));
        }
    }
    fn kl(&self, isa: Isa, eta: Mat<F>, mut kl: MatMut<F>) {
        for r in 0..eta.rows() {
            let (mean, v) = eta.row(r).split_at(self.latent);
            sweep::kl_standard_normal(isa, mean, v, kl.row(r));
        }
    }
    fn kl_grad(&self, isa: Isa, eta: Mat<F>, weights: Mat<F>, mut deta: MatMut<F>) {
        for r in 0..eta.rows() {
            let (mean, v) = eta.row(r).split_at(self.latent);
            let (dmean, dv) = deta.row(r).split_at_mut(self.latent);
            sweep::kl_standard_normal_grad(isa, mean, v, weights.row(r), dmean, dv);
        }
    }
}
