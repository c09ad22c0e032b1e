//! Objectives of sampled terms: log p(z) and log q(z|x) of each draw, and their way back to the posterior's parameters.
//!
//! ```text
//! dz = path · (decoder's dz + log_pz · ∂ log p(z)/∂z)          dη = ∂T(dz) + (path · log_qz) ∂ log q through z + score · ∂ log q at z
//! ```

use super::{Block, ModelPrior, PriorTable, Vae};
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
        table: Option<&PriorTable<F>>,
    ) {
        self.encode(isa, p, b);
        self.forward_encoded(isa, p, b, estimator.sampled(), table);
    }
    /// The forward half with the KL in closed form, or sampled where there is none.
    pub(crate) fn forward_any<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        b: &mut Block<F>,
        table: Option<&PriorTable<F>>,
    ) {
        self.encode(isa, p, b);
        self.forward_encoded(isa, p, b, false, table);
    }
    /// What comes after encoding, with sampled terms where they are asked for, or where the KL has no closed form.
    pub(super) fn forward_encoded<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        b: &mut Block<F>,
        sampled: bool,
        table: Option<&PriorTable<F>>,
    ) {
        self.forward_latents(isa, p, b, sampled, table);
        self.decode(isa, p, b);
    }
    /// The same as far as the latents and their terms.
    pub(super) fn forward_latents<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        b: &mut Block<F>,
        sampled: bool,
        table: Option<&PriorTable<F>>,
    ) {
        match sampled || !self.config().closed_form() {
            true => self.forward_sampled(isa, p, b, table),
            false => self.forward_closed(isa, p, b),
        }
    }
    fn forward_sampled<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>, table: Option<&PriorTable<F>>) {
        self.sample(isa, p, b);
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
            self.part_kl(b);
        }
        lap(Stage::Latent, None);
    }
    /// log p(z) and log q(z|x) of each sample, from `eta`, `eps` and `z`.
    pub(crate) fn log_densities<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        b: &mut Block<F>,
        table: Option<&PriorTable<F>>,
    ) {
        let (n, many) = (b.rows, b.many());
        self.prior.log_prob(isa, p, b, table);
        let log_qz = &mut b.terms.log_qz[..many];
        self.posterior.log_prob_of(b.eta.rows(n), b.eps.rows(many), &b.log_det, log_qz);
        self.log_densities_below(isa, p, b);
    }
    /// The KL of each row without a draw: in closed form, its upper bound of a [mixture](crate::density::Components::kl_bound), or its
    /// estimate of a [flow](super::FlowPrior) or of more stochastic layers, [above](super::StackedPrior) z or
    /// [below](super::Lower), which spends the latents of the block.
    pub(crate) fn kl_for<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>, table: Option<&PriorTable<F>>) {
        if self.kl_over_levels(isa, p, b, table) {
            return;
        }
        match &self.prior {
            ModelPrior::StandardNormal(_) | ModelPrior::Conditional(_) => self.kl(isa, b),
            ModelPrior::Mixture(_) => self.kl_bound(isa, b, PriorTable::of(table)),
            ModelPrior::Flow(flow) => self.kl_at_points(isa, p, b, None, flow.points()),
            ModelPrior::Stacked(stacked) => self.kl_at_points(isa, p, b, None, stacked.points()),
        }
    }
    fn kl_bound<F: Real>(&self, isa: Isa, b: &mut Block<F>, table: &PriorTable<F>) {
        let (n, latent) = (b.rows, self.config().latent);
        if let PriorTable::Exemplars(table) = table {
            table.log_prob(isa, b.eta.rows(n).columns(0, latent), b.shares.rows_mut(n), &mut b.terms.log_pz[..n]);
        }
        for r in 0..n {
            let (mean, log_variance) = b.eta.rows(n).row(r).split_at(latent);
            let bound = match table {
                PriorTable::Components(table) => table.kl_bound(mean, log_variance),
                PriorTable::Exemplars(table) => table.kl_bound(b.terms.log_pz[r].to_f64(), log_variance),
            };
            b.terms.kl.rows_mut(n).row(r)[0] = F::from_f64(bound);
        }
        lap(Stage::Latent, None);
    }

    /// From `dz`, which the decoder left with the weights of its own parameters, to the posterior's.
    pub(super) fn sampled_latent_grad<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        b: &mut Block<F>,
        table: Option<&PriorTable<F>>,
    ) {
        let (n, many) = (b.rows, b.many());
        self.prior.generative_grad(isa, p, b);
        self.prior_grad_below(isa, p, b);
        let (w, mut dz) = (&mut b.weights, b.dz.rows_mut(many));
        for i in 0..many {
            let path = w.path[i];
            dz.row(i).iter_mut().for_each(|dz| *dz = path * *dz);
            w.through[0][i] = path * w.log_pz[i];
            w.through[1][i] = path * w.log_qz[i];
        }
        self.prior.path_grad(isa, p, b, table);
        self.posterior_grad_below(isa, p, b);
        let (eta, eps) = (b.eta.rows(n), b.eps.rows(many));
        let mut d_eta = b.d_eta.rows_mut(n);
        (0..n).for_each(|r| d_eta.row(r).fill(F::ZERO));
        let (dz, weights) = (b.dz.rows_mut(many), [&b.weights.through[1][..], &b.weights.score[..]]);
        self.posterior.sampled_grad(isa, p, eta, eps, dz, weights, d_eta, &mut b.posterior);
    }
}
