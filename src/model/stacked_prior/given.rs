//! Both densities of latents that are given at all levels: what a checker makes the surrogate of other than plain gradients from.

use super::super::{Block, Vae};
use super::Posterior;
use crate::layer::Layer;
use crate::tensor::{Isa, Params, Real};
use elbo_kernels::sweep::{gaussian_log_prob, standard_normal_log_prob};

impl Vae {
    /// log p(z, z_1, …) = Σ_l log p(z_l|z_{l+1}) + log p(z_top) and Σ_l log q(z_{l+1}|z_l), in nats, (n·k) each, with these parameters,
    /// of the latents in `b`; `work` is another block like it, whose levels' networks go through them. Zeros of another prior.
    pub(crate) fn log_densities_of_levels<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        b: &Block<F>,
        work: &mut Block<F>,
    ) -> [Vec<F>; 2] {
        let (many, mut z) = (b.many(), b.z.rows(b.many()));
        let [mut log_p, mut log_q, mut of_level] = [(); 3].map(|()| vec![F::ZERO; many]);
        let levels = self.stacked_prior().map_or(&[][..], |prior| &prior.levels);
        for ((nets, given), c) in levels.iter().zip(&b.levels).zip(&mut work.levels) {
            let above = given.z.rows(many);
            nets.encoder.forward(isa, p, z, &mut c.eta, &mut c.encoder);
            nets.posterior.bound(c.eta.rows_mut(many));
            nets.posterior.log_prob(isa, above, c.eta.rows(many), &mut of_level);
            log_q.iter_mut().zip(&of_level).for_each(|(sum, &term)| *sum += term);
            nets.decoder.forward(isa, p, above, &mut c.out, &mut c.decoder);
            nets.likelihood.bound(c.out.rows_mut(many));
            for (r, log_p) in log_p.iter_mut().enumerate() {
                let (mean, log_variance) = c.out.rows(many).row(r).split_at(nets.below);
                *log_p += gaussian_log_prob(isa, z.row(r), mean, log_variance);
            }
            z = above;
        }
        if !levels.is_empty() {
            (0..many).for_each(|r| log_p[r] += standard_normal_log_prob(isa, z.row(r)));
        }
        [log_p, log_q]
    }
}
