//! The function whose gradient an estimator gives that leaves out, on purpose, a part of its value's.

use super::Value;
use crate::density::{LeaveOut, Prior};
use crate::estimator::{Batch, Estimator, Weights};
use crate::layer::Sides;
use crate::model::{Block, Draw, ModelPrior, PriorTable, Vae, Workspace};
use crate::tensor::{Buffer, Isa, Par, Params};

/// The surrogate of [`Estimator::surrogate`] around one point: the sampled terms there, and the weights that they get.
pub(super) struct Surrogate<'a> {
    vae: &'a Vae,
    /// The point.
    params: Params<f64>,
    weights: Weights<f64>,
    /// The terms at the point: its latents and posterior stay, its decoder follows the parameters.
    fixed: Block<f64>,
    /// The terms elsewhere, decoded by the point's own decoder.
    moving: Block<f64>,
    log_prob: Vec<f64>,
    /// For the networks of more stochastic layers, at latents that are given.
    levels: Block<f64>,
    /// A mixture prior's components: at the point, and where the parameters are.
    table: Option<PriorTable<f64>>,
    here: Option<PriorTable<f64>>,
    components: Vec<Block<f64>>,
    shares: Buffer<f64>,
    /// Of which exemplars each row's prior is.
    others: Vec<LeaveOut>,
}

impl<'a> Surrogate<'a> {
    /// Around `params`, with which `ws` has just been through a batch of these rows.
    #[allow(clippy::too_many_arguments, reason = "a step's inputs, once")]
    pub fn new(
        vae: &'a Vae,
        params: &Params<f64>,
        estimator: &dyn Estimator<f64>,
        beta: f64,
        rows: usize,
        fill: &(impl Fn(usize, &mut [f64]) + Sync),
        draw: &Draw,
        ws: &Workspace<f64>,
    ) -> Self {
        let (isa, samples) = (Isa::default(), estimator.samples());
        let mut fixed = Block::new(vae, rows, samples);
        fixed.rows = rows;
        fixed.load(isa, 0, fill);
        fixed.draw(draw, 0, 0);
        vae.leave_out(draw, 0, &mut fixed);
        let moving = fixed.clone();
        let (table, components, others) = ws.prior();
        fixed.take_exemplars(table, &others);
        vae.forward_for(isa, params, &mut fixed, estimator, table);
        vae.log_px(isa, params, &mut fixed);
        let mut weights = Weights::new(rows, samples, 0);
        estimator.weights(&Batch { rows, beta, mean_kl: &[] }, rows, &fixed.terms, &mut weights);
        Surrogate {
            vae,
            params: params.clone(),
            weights,
            levels: fixed.clone(),
            fixed,
            moving,
            log_prob: vec![0.0; rows * samples],
            here: table.cloned(),
            components: components.to_vec(),
            shares: Buffer::new(rows * samples, table.map_or(0, PriorTable::columns)),
            others,
            table: table.cloned(),
        }
    }

    pub fn value(&mut self, p: &Params<f64>) -> Value {
        let (isa, vae, w, mut sides) = (Isa::default(), self.vae, &self.weights, Sides::default());
        let (fixed, moving, out) = (&mut self.fixed, &mut self.moving, &mut self.log_prob);
        let (n, many) = (fixed.rows, fixed.many());
        let through = |term: &[f64], weights: &[f64]| -> f64 {
            term.iter().zip(weights).zip(&w.path).map(|((term, weight), path)| path * weight * term).sum()
        };
        let direct = |term: &[f64], weights: &[f64]| term.iter().zip(weights).map(|(t, w)| t * w).sum::<f64>();

        // log p of the levels below z, whose networks are of the generative one.
        let below = |fixed: &mut Block<f64>, moving: &mut Block<f64>, out: &mut [f64]| {
            vae.log_p_below(isa, &self.params, moving, out);
            let sum = through(out, &w.log_pz);
            vae.log_p_below(isa, p, fixed, out);
            sum + direct(out, &w.log_pz)
        };

        vae.encode(isa, p, moving);
        vae.sample(isa, p, moving);
        vae.decode(isa, &self.params, moving);
        vae.log_px(isa, &self.params, moving);
        vae.decode(isa, p, fixed);
        vae.log_px(isa, p, fixed);
        let mut sum = through(&moving.terms.log_px, &w.log_px) + direct(&fixed.terms.log_px, &w.log_px);
        match vae.prior() {
            ModelPrior::Mixture(_) => {
                let (Some(table), Some(here)) = (&self.table, &mut self.here) else {
                    unreachable!("a step encodes a mixture's components")
                };
                vae.encode_components(isa, p, Par::Sequential, &mut self.components, Some(here));
                let others = (self.others.as_slice(), moving.samples);
                table.log_prob(isa, moving.z.rows(many), others, self.shares.rows_mut(many), out);
                sum += through(out, &w.log_pz);
                here.log_prob(isa, fixed.z.rows(many), others, self.shares.rows_mut(many), out);
                sum += direct(out, &w.log_pz);
                sum += below(fixed, moving, out);
            }
            ModelPrior::Flow(_) => {
                vae.log_densities(isa, &self.params, moving, None);
                sum += through(&moving.terms.log_pz, &w.log_pz);
                vae.log_densities(isa, p, fixed, None);
                sum += direct(&fixed.terms.log_pz, &w.log_pz);
            }
            ModelPrior::Conditional(conditional) => {
                conditional.log_prob(moving.z.rows(many), fixed.rho(), out);
                sum += through(out, &w.log_pz);
                conditional.log_prob(fixed.z.rows(many), moving.rho(), out);
                sum += direct(out, &w.log_pz);
            }
            ModelPrior::Stacked(_) => {
                // The moving latents of all levels, and what both networks at the point say of them.
                vae.log_densities(isa, p, moving, None);
                let [log_p, log_q] = vae.log_densities_of_levels(isa, &self.params, moving, &mut self.levels);
                vae.kinks(&self.levels, &mut sides);
                sum += through(&log_p, &w.log_pz) - through(&log_q, &w.log_pz);
                let [log_p, log_q] = vae.log_densities_of_levels(isa, p, fixed, &mut self.levels);
                vae.kinks(&self.levels, &mut sides);
                // What is left out of the score of q(z|x) is left out of theirs.
                let score = |i: usize| w.score[i] - w.path[i] * (w.log_qz[i] + w.log_pz[i]);
                let score: Vec<f64> = (0..many).map(score).collect();
                sum += direct(&log_p, &w.log_pz) + direct(&log_q, &score);
                sum += below(fixed, moving, out);
            }
            ModelPrior::StandardNormal(normal) => {
                normal.log_prob(isa, moving.z.rows(many), out);
                sum += through(out, &w.log_pz);
                sum += below(fixed, moving, out);
            }
        }
        if vae.lower().is_none() {
            vae.posterior().log_prob(isa, &self.params, moving.z.rows(many), fixed.eta.rows(n), out);
            sum += through(out, &w.log_qz);
            vae.posterior().log_prob(isa, p, fixed.z.rows(many), moving.eta.rows(n), out);
            sum += direct(out, &w.score);
        } else {
            // Both ways at once, which of levels below z have one weight.
            vae.log_densities(isa, p, moving, self.table.as_ref());
            sum += direct(&moving.terms.log_qz, &w.score);
        }
        vae.kinks(moving, &mut sides);
        vae.kinks(fixed, &mut sides);
        self.components.iter().for_each(|b| vae.kinks(b, &mut sides));
        (sum, sides)
    }
}
