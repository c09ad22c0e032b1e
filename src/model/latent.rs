//! Objectives of sampled terms: log p(z) and log q(z|x) of each draw, and their way back to the posterior's parameters.
//!
//! ```text
//! dz = path · (decoder's dz + log_pz · ∂ log p(z)/∂z)          dη = ∂T(dz) + (path · log_qz) ∂ log q through z + score · ∂ log q at z
//! ```

use super::{Block, StackedPrior, Vae};
use crate::density::{Components, Posterior, Prior};
use crate::estimator::Estimator;
use crate::tensor::profile::{Stage, lap};
use crate::tensor::{Isa, Params, Real};

impl Vae {
    /// The forward half of the rows pass, with the terms that an estimator asks for. `table` are the components of a
    /// mixture prior, whose terms are sampled in any case.
    pub fn forward_for<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        b: &mut Block<F>,
        estimator: &dyn Estimator<F>,
        table: Option<&Components<F>>,
    ) {
        match estimator.sampled() {
            true => self.forward_sampled(isa, p, b, table),
            false => self.forward_any(isa, p, b, table),
        }
    }
    /// The forward half with the KL in closed form, or sampled where there is none.
    pub(crate) fn forward_any<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        b: &mut Block<F>,
        table: Option<&Components<F>>,
    ) {
        match self.config().closed_form() {
            true => self.forward(isa, p, b),
            false => self.forward_sampled(isa, p, b, table),
        }
    }
    fn forward_sampled<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>, table: Option<&Components<F>>) {
        self.encode(isa, p, b);
        self.sample(isa, b);
        self.log_densities(isa, p, b, table);
        if self.config().closed_form() {
            self.kl(isa, b);
        } else {
            // The mean over samples of log q − log p.
            let (n, k, terms) = (b.rows, b.samples, &mut b.terms);
            let mut kl = terms.kl.rows_mut(n);
            for r in 0..n {
                let each = (r * k..(r + 1) * k).map(|i| terms.log_qz[i].to_f64() - terms.log_pz[i].to_f64());
                kl.row(r)[0] = F::from_f64(each.sum::<f64>() / k as f64);
            }
        }
        lap(Stage::Latent, None);
        self.decode(isa, p, b);
    }
    /// log p(z) and log q(z|x) of each sample, from `eta`, `eps` and `z`.
    pub(crate) fn log_densities<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        b: &mut Block<F>,
        table: Option<&Components<F>>,
    ) {
        let (n, many) = (b.rows, b.many());
        let (z, log_pz) = (b.z.rows(many), &mut b.terms.log_pz[..many]);
        match (table, &self.flow_prior) {
            (Some(table), _) => table.log_prob(z, b.shares.rows_mut(many), log_pz),
            (None, Some(flow)) => flow.log_prob(isa, p, z, log_pz, &mut b.flow_prior),
            (None, None) => match &self.stacked_prior {
                Some(stacked) => stacked.log_prob(isa, p, z, log_pz, &mut b.levels),
                None => self.prior.log_prob(isa, z, log_pz),
            },
        }
        self.posterior.log_prob_of(b.eta.rows(n), b.eps.rows(many), &mut b.terms.log_qz[..many]);
    }
    /// The KL of each row without a draw: in closed form, its upper bound of a [mixture](Components::kl_bound), or its
    /// estimate of a [flow](super::FlowPrior) or of [more stochastic layers](super::StackedPrior), which spends the latents of
    /// the block.
    pub(crate) fn kl_for<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>, table: Option<&Components<F>>) {
        if let Some(flow) = &self.flow_prior {
            return self.kl_at_points(isa, p, b, flow.points());
        }
        if let Some(stacked) = &self.stacked_prior {
            return self.kl_at_points(isa, p, b, stacked.points());
        }
        let Some(table) = table else { return self.kl(isa, b) };
        for r in 0..b.rows {
            let (mean, log_variance) = b.eta.rows(b.rows).row(r).split_at(self.config().latent);
            b.terms.kl.rows_mut(b.rows).row(r)[0] = F::from_f64(table.kl_bound(mean, log_variance));
        }
        lap(Stage::Latent, None);
    }

    /// From `dz`, which the decoder left with the weights of its own parameters, to the posterior's.
    pub(super) fn sampled_latent_grad<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        b: &mut Block<F>,
        table: Option<&Components<F>>,
    ) {
        let (n, many) = (b.rows, b.many());
        if let Some(flow) = &self.flow_prior {
            // Like the decoder: it goes back with the weights of its own parameters, and the path is still to come.
            flow.log_prob_grad(isa, p, &b.weights.log_pz[..many], b.dz.rows_mut(many), &mut b.flow_prior);
        }
        if let Some(stacked) = &self.stacked_prior {
            let (w, z, dz) = (&b.weights, b.z.rows(many), b.dz.rows_mut(many));
            stacked.decoders_grad(isa, p, &w.log_pz[..many], &w.path, z, dz, &mut b.levels);
        }
        let (w, mut dz) = (&mut b.weights, b.dz.rows_mut(many));
        for i in 0..many {
            let path = w.path[i];
            dz.row(i).iter_mut().for_each(|dz| *dz = path * *dz);
            w.log_qz[i] = path * w.log_qz[i];
            // From here on the prior's weight through z: its own parameters still want the other.
            w.path[i] = path * w.log_pz[i];
        }
        let z = b.z.rows(many);
        match (table, &self.flow_prior) {
            (Some(table), _) => table.log_prob_grad(z, b.shares.rows(many), &w.path, dz),
            (None, Some(_)) => {}
            (None, None) => match &self.stacked_prior {
                Some(stacked) => {
                    StackedPrior::assert_plain(&w.score[..many], &w.log_qz);
                    stacked.encoders_grad(isa, p, &w.path[..many], z, dz, &mut b.levels);
                }
                None => self.prior.log_prob_grad(isa, z, &w.path, dz),
            },
        }
        let (eta, eps) = (b.eta.rows(n), b.eps.rows(many));
        let mut d_eta = b.d_eta.rows_mut(n);
        (0..n).for_each(|r| d_eta.row(r).fill(F::ZERO));
        self.posterior.sample_grad(isa, eta, eps, b.dz.rows(many), d_eta.reborrow());
        self.posterior.log_prob_of_grad(eta, eps, &w.log_qz, &w.score, d_eta);
    }
}
