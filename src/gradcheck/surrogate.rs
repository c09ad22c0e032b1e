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
        let (isa, vae, mut sides) = (Isa::default(), self.vae, Sides::default());
        vae.encode(isa, p, &mut self.moving);
        vae.sample(isa, p, &mut self.moving);
        vae.decode(isa, &self.params, &mut self.moving);
        vae.log_px(isa, &self.params, &mut self.moving);
        vae.decode(isa, p, &mut self.fixed);
        vae.log_px(isa, p, &mut self.fixed);
        let [moving, fixed] = [&self.moving, &self.fixed].map(|b| &b.terms.log_px);
        let w = &self.weights;
        let mut sum = through(moving, &w.log_px, w) + direct(fixed, &w.log_px);
        sum += self.prior(p, &mut sides);
        sum += self.posterior(p);
        vae.kinks(&self.moving, &mut sides);
        vae.kinks(&self.fixed, &mut sides);
        self.components.iter().for_each(|b| vae.kinks(b, &mut sides));
        (sum, sides)
    }

    /// Of log p(z), and of log p of the levels below it.
    fn prior(&mut self, p: &Params<f64>, sides: &mut Sides) -> f64 {
        let (isa, vae, w) = (Isa::default(), self.vae, &self.weights);
        let (fixed, moving, out) = (&mut self.fixed, &mut self.moving, &mut self.log_prob);
        let many = fixed.many();
        let mut sum = 0.0;
        match vae.prior() {
            ModelPrior::StandardNormal(normal) => {
                normal.log_prob(isa, moving.z.rows(many), out);
                sum += through(out, &w.log_pz, w);
            }
            ModelPrior::Mixture(_) => {
                let (Some(table), Some(here)) = (&self.table, &mut self.here) else {
                    unreachable!("a step encodes a mixture's components")
                };
                vae.encode_components(isa, p, Par::Sequential, &mut self.components, Some(here));
                let others = (self.others.as_slice(), moving.samples);
                table.log_prob(isa, moving.z.rows(many), others, self.shares.rows_mut(many), out);
                sum += through(out, &w.log_pz, w);
                here.log_prob(isa, fixed.z.rows(many), others, self.shares.rows_mut(many), out);
                sum += direct(out, &w.log_pz);
            }
            // What these say of log p(z) has that of the levels below it in it, or there are none.
            ModelPrior::Flow(_) => {
                vae.log_densities(isa, &self.params, moving, None);
                sum += through(&moving.terms.log_pz, &w.log_pz, w);
                vae.log_densities(isa, p, fixed, None);
                return sum + direct(&fixed.terms.log_pz, &w.log_pz);
            }
            ModelPrior::Conditional(conditional) => {
                conditional.log_prob(moving.z.rows(many), fixed.rho(), out);
                sum += through(out, &w.log_pz, w);
                conditional.log_prob(fixed.z.rows(many), moving.rho(), out);
                return sum + direct(out, &w.log_pz);
            }
            ModelPrior::Stacked(_) => {
                // The moving latents of all levels, and what both networks at the point say of them.
                vae.log_densities(isa, p, moving, None);
                let [log_p, log_q] = vae.log_densities_of_levels(isa, &self.params, moving, &mut self.levels);
                vae.kinks(&self.levels, sides);
                sum += through(&log_p, &w.log_pz, w) - through(&log_q, &w.log_pz, w);
                let [log_p, log_q] = vae.log_densities_of_levels(isa, p, fixed, &mut self.levels);
                vae.kinks(&self.levels, sides);
                // What is left out of the score of q(z|x) is left out of theirs.
                let score = |i: usize| w.score[i] - w.path[i] * (w.log_qz[i] + w.log_pz[i]);
                let score: Vec<f64> = (0..many).map(score).collect();
                sum += direct(&log_p, &w.log_pz) + direct(&log_q, &score);
            }
        }
        // Networks of the generative one, like the decoder.
        vae.log_p_below(isa, &self.params, moving, out);
        sum += through(out, &w.log_pz, w);
        vae.log_p_below(isa, p, fixed, out);
        sum + direct(out, &w.log_pz)
    }

    /// Of log q(z|x), and of log q of the levels below it.
    fn posterior(&mut self, p: &Params<f64>) -> f64 {
        let (isa, vae, w) = (Isa::default(), self.vae, &self.weights);
        let (fixed, moving, out) = (&mut self.fixed, &mut self.moving, &mut self.log_prob);
        if vae.lower().is_some() {
            // Both ways at once, which of levels below z have one weight.
            vae.log_densities(isa, p, moving, self.table.as_ref());
            return direct(&moving.terms.log_qz, &w.score);
        }
        let (n, many) = (fixed.rows, fixed.many());
        vae.posterior().log_prob(isa, &self.params, moving.z.rows(many), fixed.eta.rows(n), out);
        let sum = through(out, &w.log_qz, w);
        vae.posterior().log_prob(isa, p, fixed.z.rows(many), moving.eta.rows(n), out);
        sum + direct(out, &w.score)
    }
}

/// What a term says through the latents, its weights on the path.
fn through(term: &[f64], weights: &[f64], of: &Weights<f64>) -> f64 {
    term.iter().zip(weights).zip(&of.path).map(|((term, weight), path)| path * weight * term).sum()
}

/// What it says at latents that stay.
fn direct(term: &[f64], weights: &[f64]) -> f64 {
    term.iter().zip(weights).map(|(t, w)| t * w).sum()
}
