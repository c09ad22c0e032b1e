//! Objectives of sampled terms: log p(z) and log q(z|x) of each draw, and their way back to the posterior's parameters.
//!
//! ```text
//! dz = path · (decoder's dz + log_pz · ∂ log p(z)/∂z)          dη = ∂T(dz) + (path · log_qz) ∂ log q through z + score · ∂ log q at z
//! ```

use super::{Block, Vae};
use crate::density::{Posterior, Prior};
use crate::estimator::Estimator;
use crate::tensor::profile::{Stage, lap};
use crate::tensor::{Isa, Params, Real};

impl Vae {
    /// The forward half of the rows pass, with the terms that an estimator asks for.
    pub fn forward_for<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>, estimator: &dyn Estimator<F>) {
        if !estimator.sampled() {
            return self.forward(isa, p, b);
        }
        self.encode(isa, p, b);
        self.sample(isa, b);
        self.kl(isa, b);
        let (n, many) = (b.rows, b.many());
        self.prior.log_prob(isa, b.z.rows(many), &mut b.terms.log_pz[..many]);
        self.posterior.log_prob_of(b.eta.rows(n), b.eps.rows(many), &mut b.terms.log_qz[..many]);
        lap(Stage::Latent, None);
        self.decode(isa, p, b);
    }

    /// From `dz`, which the decoder left with the weights of its own parameters, to the posterior's.
    pub(super) fn sampled_latent_grad<F: Real>(&self, isa: Isa, b: &mut Block<F>) {
        let (n, many) = (b.rows, b.many());
        let (w, mut dz) = (&mut b.weights, b.dz.rows_mut(many));
        for i in 0..many {
            let path = w.path[i];
            dz.row(i).iter_mut().for_each(|dz| *dz = path * *dz);
            w.log_pz[i] = path * w.log_pz[i];
            w.log_qz[i] = path * w.log_qz[i];
        }
        self.prior.log_prob_grad(isa, b.z.rows(many), &w.log_pz, dz);
        let (eta, eps) = (b.eta.rows(n), b.eps.rows(many));
        let mut d_eta = b.d_eta.rows_mut(n);
        (0..n).for_each(|r| d_eta.row(r).fill(F::ZERO));
        self.posterior.sample_grad(isa, eta, eps, b.dz.rows(many), d_eta.reborrow());
        self.posterior.log_prob_of_grad(eta, eps, &w.log_qz, &w.score, d_eta);
    }
}
