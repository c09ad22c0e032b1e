//! Stochastic layers between z and the data. Here z is the highest of all, so every prior and every posterior of it stay what they are.
//!
//! ```text
//! z = z_L ~ q(z|x)      z_l ~ q(z_l|x, z_{l+1}) = N(μ, e^v)      p(z_l|z_{l+1}) = N(m, e^s),  [m | s] a network's of z_{l+1}
//!
//! hvae     [μ | v] a network's of [h_l(x) | z_{l+1}]             p(x|z_1 … z_L)       (Tomczak and Welling 2018, arXiv:1705.07120, section 4)
//! ladder   N(μ, e^v) ∝ N(μ̂, e^v̂) N(m, e^s), [μ̂ | v̂] of d_l      p(x|z_1)             (Sønderby et al. 2016, arXiv:1602.02282, eq. 11–20)
//!
//! log p(z_1 … z_L) = log p(z_L) + Σ_l log p(z_l|z_{l+1})         log q(z_1 … z_L|x) = log q(z_L|x) + Σ_l log q(z_l|x, z_{l+1})
//! ```
//!
//! These sums take the places of log p(z) and log q(z|x), so ELBO, IWAE and their relatives are bounds of the whole hierarchy, and the
//! importance-sampled likelihood runs over all levels. A ladder's d_1 is the encoder's last hidden layer; two further ones lead to each
//! d_{l+1}, and from the last of them to q(z|x).
//!
//! With the weights w_p of log p and w_q of log q, the way back is
//!
//! ```text
//! decoder   d[z_1 …]                            d[m|s] = w_p ∂ log p         dz_l += w_p ∂ log p      dz_{l+1} += p's network's dx
//! path      dz_l = path · dz_l                  from the lowest level to z:
//! draws     d[μ|v] = ∂T(dz_l) + w_q ∂ log q     dz_{l+1} += q's network's dx; of a ladder through the product to [μ̂|v̂] and [m|s]
//! ```
//!
//! First all that belongs to the generative network, with the weights of its parameters, then all draws. A ladder's p has a part
//! in its q, so there both have one weight: it has no PIWAE. Gradients are plain ones: what sticking the landing leaves out of q(z_l|x,
//! z_{l+1}) is its derivative by the encoder at a fixed z_l, but not that by z_{l+1}.
//!
//! The log-variances of p and q, and of a ladder's evidence, are kept between the bounds of the configuration, or −6 and 2, where none are
//! given: those of the two-level model's authors (`Hardtanh(−6, 2)`). Else an outlying z_{l+1} can make s as small as it likes, and
//! (z_l − m)² e^{−s} as large.
//!
//! Without draws a row's KL is the quadrature of [the flow prior](super::FlowPrior), by points in the latents of all levels.

mod level;
mod shape;

use super::block::encoder_input;
use super::flow_prior::points;
use super::vae::Chained;
use super::{Block, Draw, PriorTable, Stats, Vae, VaeConfig};
use crate::density::LowerKind;
use crate::layer::{Gradient, Layer, Sides};
use crate::tensor::profile::{Stage, lap};
use crate::tensor::{Buffer, Isa, Layout, Mat, MatMut, Params, Real, Slot};
use level::{LevelBlock, Nets};
use rand_chacha::ChaCha8Rng;
pub(super) use shape::{climb, side_by_side};
use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

/// Noise of a level below z is that of a number from here on; the numbers before are those of a prior with levels of its own.
const FIRST_NOISE: usize = 16;

/// The log-variances' bounds where none are given.
const BOUNDS: [f64; 2] = [-6.0, 2.0];

/// Between which numbers the levels' log-variances lie.
fn bounds(config: &VaeConfig) -> [f64; 2] {
    config.log_variance.unwrap_or(BOUNDS)
}

/// The levels below z.
#[derive(Clone, Debug)]
pub struct Lower {
    /// From z down.
    levels: Vec<Nets>,
    ladder: bool,
    /// Latents of z, and of the levels of its prior.
    above: usize,
    /// (16, latents of all levels), made when they are first asked for.
    points: Arc<OnceLock<Vec<f64>>>,
}

/// What a block keeps of them.
#[derive(Clone, Debug)]
pub(super) struct Below<F> {
    levels: Vec<LevelBlock<F>>,
    /// What the decoder sees of a two-level model, [z | z_{L−1} | … | z_1], and the derivative by it.
    joined: Buffer<F>,
    d_joined: Buffer<F>,
    /// All that a ladder's encoder says, [η | evidence from z down], (n, E + 2M + …), and the derivative by it.
    up: Buffer<F>,
    d_up: Buffer<F>,
}

impl Lower {
    /// Adds the levels' networks to the layout; nothing where there is no level below z.
    pub(super) fn new(config: &VaeConfig, layout: &mut Layout) -> Option<Self> {
        let levels = config.lower.levels()?;
        let above = [config.latent].into_iter().chain(levels.iter().map(|level| level.latent));
        let nets = |(l, (above, level))| Nets::new(config, layout, l, above, level);
        let of_prior = config.prior.levels().map_or(0, |levels| levels.iter().map(|level| level.latent).sum());
        Some(Lower {
            levels: above.zip(levels.iter()).enumerate().map(nets).collect(),
            ladder: matches!(config.lower, LowerKind::Ladder(_)),
            above: config.latent + of_prior,
            points: Arc::default(),
        })
    }
    /// How many levels there are.
    pub fn levels(&self) -> usize {
        self.levels.len()
    }
    /// Memory for a block of `n` rows and `many` samples, of an encoder with E columns.
    pub(super) fn block<F: Real>(&self, n: usize, many: usize, latent: usize, eta: usize) -> Below<F> {
        let all = latent + self.levels.iter().map(Nets::latent).sum::<usize>();
        let said = eta + self.levels.iter().map(Nets::said).sum::<usize>();
        let (joined, up) = if self.ladder { ((0, 0), (n, said)) } else { ((many, all), (0, 0)) };
        let buffer = |(rows, columns)| Buffer::new(rows, columns);
        Below {
            levels: self.levels.iter().map(|nets| nets.block(n, many)).collect(),
            joined: buffer(joined),
            d_joined: buffer(joined),
            up: buffer(up),
            d_up: buffer(up),
        }
    }
    /// The points of the quadrature, (16, latents of all levels).
    pub(super) fn points(&self) -> &[f64] {
        self.points.get_or_init(|| points(self.above + self.levels.iter().map(Nets::latent).sum::<usize>()))
    }
    /// Calls `f` with each level's networks, the latents above it and its memory, from z down.
    fn down<F: Real>(
        &self,
        z: Mat<F>,
        levels: &mut [LevelBlock<F>],
        mut f: impl FnMut(&Nets, Mat<F>, &mut LevelBlock<F>),
    ) {
        for (l, nets) in self.levels.iter().enumerate() {
            let (above, here) = levels.split_at_mut(l);
            f(nets, above.last().map_or(z, |above| above.z.rows(z.rows())), &mut here[0]);
        }
    }
    /// The same from the lowest level up, with the derivative by the latents above.
    fn up<F: Real>(
        &self,
        z: Mat<F>,
        mut dz: MatMut<F>,
        levels: &mut [LevelBlock<F>],
        mut f: impl FnMut(&Nets, (Mat<F>, MatMut<F>), &mut LevelBlock<F>),
    ) {
        let many = z.rows();
        for (l, nets) in self.levels.iter().enumerate().rev() {
            let (above, here) = levels.split_at_mut(l);
            let above = match above.last_mut() {
                None => (z, dz.reborrow()),
                Some(above) => (above.z.rows(many), above.dz.rows_mut(many)),
            };
            f(nets, above, &mut here[0]);
        }
    }
}

impl<F: Real> Below<F> {
    /// The noise of each level, from z down.
    pub fn eps(&mut self) -> impl Iterator<Item = &mut Buffer<F>> {
        self.levels.iter_mut().map(|level| &mut level.eps)
    }
    /// What the decoder sees.
    pub fn seen(&self, many: usize) -> Mat<'_, F> {
        match self.levels.last() {
            Some(lowest) if self.joined.cols() == 0 => lowest.z.rows(many),
            _ => self.joined.rows(many),
        }
    }
}

impl<F: Real> Block<F> {
    /// Draws the noise of the levels below z, times `temperature`; as [`draw`](Self::draw).
    pub(super) fn draw_below(&mut self, draw: &Draw, first: usize, sample: usize, temperature: f64) {
        let (rows, samples) = (self.rows, self.samples);
        for (l, eps) in self.below.iter_mut().flat_map(Below::eps).enumerate() {
            draw.fill_level(FIRST_NOISE + l, first, sample, samples, rows, eps);
            if temperature != 1.0 {
                let scale = |e: &mut F| *e = F::from_f64(temperature * e.to_f64());
                (0..rows * samples).for_each(|i| eps.rows_mut(rows * samples).row(i).iter_mut().for_each(scale));
            }
        }
    }
    /// No noise at the levels below z.
    pub(super) fn rest_below(&mut self) {
        let many = self.many();
        for eps in self.below.iter_mut().flat_map(Below::eps) {
            (0..many).for_each(|i| eps.rows_mut(many).row(i).fill(F::ZERO));
        }
    }
}

impl Vae {
    /// The levels below z, if there are any.
    pub fn lower(&self) -> Option<&Lower> {
        self.lower.as_ref()
    }
    /// The KL of z, then of each level below it, mean over the rows of some sums, in nats; nothing without levels below z.
    pub fn kl_by_level(&self, stats: &Stats) -> Vec<f64> {
        let of_levels = self.lower.as_ref().map_or(&[][..], |_| &stats.kl);
        of_levels.iter().map(|kl| kl / stats.rows as f64).collect()
    }
    /// x to what a ladder's encoder says, η and the evidence of every level below z. False of other models, where that is η alone.
    pub(super) fn encoder_forward_below<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) -> bool {
        let Some(below) = b.below.as_mut().filter(|below| below.up.cols() > 0) else { return false };
        let (n, x) = (b.rows, encoder_input(&b.x, b.seen.as_ref(), b.rows));
        self.encoder.forward(isa, p, x, &mut below.up, &mut b.encoder);
        let said = [&mut b.eta].into_iter().chain(below.levels.iter_mut().map(|level| &mut level.said));
        let mut at = 0;
        for to in said {
            let (from, columns) = (below.up.rows(n).columns(at, to.cols()), to.cols());
            (0..n).for_each(|r| to.rows_mut(n).row(r).copy_from_slice(from.row(r)));
            at += columns;
        }
        let lower = self.lower.iter().flat_map(|lower| &lower.levels);
        lower.zip(&mut below.levels).for_each(|(nets, level)| nets.bound_evidence(n, level));
        true
    }
    /// The way back of it.
    pub(super) fn encoder_backward_below<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        b: &mut Block<F>,
        to_inputs: bool,
    ) -> bool {
        let Some(below) = b.below.as_mut().filter(|below| below.up.cols() > 0) else { return false };
        let (n, x) = (b.rows, encoder_input(&b.x, b.seen.as_ref(), b.rows));
        let said = [&b.d_eta].into_iter().chain(below.levels.iter().map(|level| &level.d_said));
        let mut at = 0;
        for from in said {
            let mut to = below.d_up.rows_mut(n).columns(at, from.cols());
            (0..n).for_each(|r| to.row(r).copy_from_slice(from.rows(n).row(r)));
            at += from.cols();
        }
        let dx = b.d_prior.first_mut().filter(|_| to_inputs);
        self.encoder.backward_rows(isa, p, x, &below.up, &mut below.d_up, dx, &mut b.encoder);
        true
    }
    /// What the levels of a two-level model look at x by; of components nobody looks.
    pub(super) fn look<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        let (Some(lower), Some(below)) = (&self.lower, &mut b.below) else { return };
        let x = encoder_input(&b.x, b.seen.as_ref(), b.rows);
        lower.levels.iter().zip(&mut below.levels).for_each(|(nets, level)| nets.look(isa, p, x, level));
    }
    /// The way back of it.
    pub(super) fn look_grad<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        let (Some(lower), Some(below)) = (&self.lower, &mut b.below) else { return };
        let x = encoder_input(&b.x, b.seen.as_ref(), b.rows);
        lower.levels.iter().zip(&mut below.levels).for_each(|(nets, level)| nets.look_grad(isa, p, x, level));
    }
    /// The latents of every level below z by its posterior.
    pub(super) fn sample_below<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        let (Some(lower), Some(below)) = (&self.lower, &mut b.below) else { return };
        let (n, z) = (b.rows, b.z.rows(b.rows * b.samples));
        lower.down(z, &mut below.levels, |nets, above, level| nets.sample(isa, p, n, above, level));
        lap(Stage::Latent, None);
    }
    /// The same by p, from z alone.
    pub(super) fn descend<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        let (Some(lower), Some(below)) = (&self.lower, &mut b.below) else { return };
        let z = b.z.rows(b.rows * b.samples);
        lower.down(z, &mut below.levels, |nets, above, level| nets.descend(isa, p, above, level));
    }
    /// Puts each latent beside those of the levels below it, where the decoder sees all.
    pub(super) fn join_below<F: Real>(&self, b: &mut Block<F>) {
        let Some(Below { levels, joined, .. }) = b.below.as_mut().filter(|below| below.joined.cols() > 0) else {
            return;
        };
        let many = b.rows * b.samples;
        let mut at = 0;
        for z in [&b.z].into_iter().chain(levels.iter().map(|level| &level.z)) {
            let mut to = joined.rows_mut(many).columns(at, z.cols());
            (0..many).for_each(|i| to.row(i).copy_from_slice(z.rows(many).row(i)));
            at += z.cols();
        }
    }
    /// The decoder's half of the way back, to the derivative by the latents of every level; nothing without levels below z.
    pub(super) fn decoder_backward_below<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) -> bool {
        let Some(below) = &mut b.below else { return false };
        let many = b.rows * b.samples;
        if below.joined.cols() > 0 {
            let (x, dx) = (below.joined.rows(many), &mut below.d_joined);
            self.decoder.backward_rows(isa, p, x, &b.spent, &mut b.out, Some(dx), &mut b.decoder);
            let mut at = 0;
            for dz in [&mut b.dz].into_iter().chain(below.levels.iter_mut().map(|level| &mut level.dz)) {
                let from = below.d_joined.rows(many).columns(at, dz.cols());
                (0..many).for_each(|i| dz.rows_mut(many).row(i).copy_from_slice(from.row(i)));
                at += from.cols();
            }
        } else if let Some((lowest, higher)) = below.levels.split_last_mut() {
            let (x, dx) = (lowest.z.rows(many), Some(&mut lowest.dz));
            self.decoder.backward_rows(isa, p, x, &b.spent, &mut b.out, dx, &mut b.decoder);
            for dz in [&mut b.dz].into_iter().chain(higher.iter_mut().map(|level| &mut level.dz)) {
                (0..many).for_each(|i| dz.rows_mut(many).row(i).fill(F::ZERO));
            }
        }
        true
    }
    /// Adds the levels' log p(z_l|z_{l+1}) and log q(z_l|x, z_{l+1}) to log p(z) and log q(z|x).
    pub(super) fn log_densities_below<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        let (Some(lower), Some(below)) = (&self.lower, &mut b.below) else { return };
        let (many, terms) = (b.rows * b.samples, &mut b.terms);
        lower.down(b.z.rows(many), &mut below.levels, |nets, above, level| {
            nets.log_p(isa, p, above, &mut terms.log_pz, level);
            nets.log_q(many, &mut terms.log_qz, level);
        });
    }
    /// `out[i]` = Σ_l log p(z_l|z_{l+1}) of a block's samples, in nats; 0 without levels below z.
    pub(crate) fn log_p_below<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>, out: &mut [F]) {
        out.fill(F::ZERO);
        let (Some(lower), Some(below)) = (&self.lower, &mut b.below) else { return };
        let z = b.z.rows(b.rows * b.samples);
        lower.down(z, &mut below.levels, |nets, above, level| nets.log_p(isa, p, above, out, level));
    }
    /// Of the sampled KL of each row, which is the first of its parts, those of the levels below z to parts of their own.
    pub(super) fn part_kl<F: Real>(&self, b: &mut Block<F>) {
        let (Some(below), n, k) = (&b.below, b.rows, b.samples) else { return };
        let mut kl = b.terms.kl.rows_mut(n);
        for r in 0..n {
            let (of_z, parts) = kl.row(r).split_at_mut(1);
            for (part, level) in parts.iter_mut().zip(&below.levels) {
                let mean = -level.log_ratio[r * k..(r + 1) * k].iter().sum::<f64>() / k as f64;
                *part = F::from_f64(mean);
                of_z[0] = F::from_f64(of_z[0].to_f64() - mean);
            }
        }
    }
    /// The way back of each level's log p, with the weights of its own parameters.
    pub(super) fn prior_grad_below<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        let (Some(lower), Some(below)) = (&self.lower, &mut b.below) else { return };
        let (many, weights) = (b.rows * b.samples, &b.weights);
        lower.up(b.z.rows(many), b.dz.rows_mut(many), &mut below.levels, |nets, above, level| {
            nets.prior_grad(isa, p, &weights.log_pz[..many], above, level);
        });
        for level in &mut below.levels {
            let mut dz = level.dz.rows_mut(many);
            (0..many).for_each(|i| dz.row(i).iter_mut().for_each(|dz| *dz = weights.path[i] * *dz));
        }
        // Of a run that diverges it is no number, and others say so.
        let plain = |path: &F| *path == F::ONE || *path == F::ZERO || path.to_f64().is_nan();
        assert!(
            !lower.ladder || weights.path[..many].iter().all(plain),
            "a ladder's p is a part of its q, and has its weight"
        );
    }
    /// The way back of each level's draws and of log q, whose weights are on their path: adds to `dz`.
    pub(super) fn posterior_grad_below<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        let (Some(lower), Some(below)) = (&self.lower, &mut b.below) else { return };
        let (n, many, weights) = (b.rows, b.rows * b.samples, &b.weights);
        // Where numbers are none, a run has diverged, and others say so.
        let differ = |(score, through): (&F, &F)| score.partial_cmp(through).is_some_and(Ordering::is_ne);
        assert!(
            !weights.score[..many].iter().zip(&weights.through[1]).any(differ),
            "levels below z take plain gradients: log q has one weight, at a fixed z as through it"
        );
        lower.up(b.z.rows(many), b.dz.rows_mut(many), &mut below.levels, |nets, above, level| {
            nets.posterior_grad(isa, p, n, &weights.through[1][..many], above, level);
        });
    }
    /// The derivative by what the encoder says.
    pub(super) fn d_said<'a, F: Real>(&self, b: &'a Block<F>) -> Mat<'a, F> {
        let up = b.below.as_ref().filter(|below| below.up.cols() > 0);
        up.map_or_else(|| b.d_eta.rows(b.rows), |below| below.d_up.rows(b.rows))
    }
    /// What the gradient of a parameter of the levels is made from.
    pub(super) fn gradient_below<'a, F: Real>(&self, slot: Slot, b: &'a Block<F>) -> Option<Gradient<'a, F>> {
        let (lower, below, many) = (self.lower.as_ref()?, b.below.as_ref()?, b.many());
        // Components have no levels below them.
        let x = if b.samples == 0 { b.x.rows(0) } else { b.seen() };
        let above = [&b.z].into_iter().chain(below.levels.iter().map(|level| &level.z));
        let mut each = lower.levels.iter().zip(&below.levels).zip(above);
        each.find_map(|((nets, level), above)| nets.gradient(slot, x, above.rows(many), level))
    }
    /// As [`Layer::renew`], of a row's features.
    pub(super) fn renew_features<F: Real>(&self, row: usize, mut rng: Option<&mut ChaCha8Rng>, b: &mut Block<F>) {
        let (Some(lower), Some(below)) = (&self.lower, &mut b.below) else { return };
        let each = lower.levels.iter().zip(&mut below.levels);
        each.for_each(|(nets, level)| nets.renew_features(row, rng.as_deref_mut(), level));
    }
    /// As [`Layer::renew`], of a sample.
    pub(super) fn renew_below<F: Real>(&self, row: usize, mut rng: Option<&mut ChaCha8Rng>, b: &mut Block<F>) {
        let (Some(lower), Some(below)) = (&self.lower, &mut b.below) else { return };
        let each = lower.levels.iter().zip(&mut below.levels);
        each.for_each(|(nets, level)| nets.renew(row, rng.as_deref_mut(), level));
    }
    /// As [`Vae::kinks`].
    pub(super) fn kinks_below<F: Real>(&self, b: &Block<F>, sides: &mut Sides) {
        let (Some(lower), Some(below)) = (&self.lower, &b.below) else { return };
        if b.samples == 0 {
            return;
        }
        let each = lower.levels.iter().zip(&below.levels);
        each.for_each(|(nets, level)| nets.kinks(b.rows, b.many(), level, sides));
    }
    /// As [`Vae::stages`].
    pub(super) fn stages_below<'a, F: Real>(&self, b: &'a Block<F>) -> Chained<'a, F> {
        let (Some(lower), Some(below)) = (&self.lower, &b.below) else { return Vec::new() };
        let each = lower.levels.iter().zip(&below.levels).enumerate();
        each.flat_map(|(l, (nets, level))| nets.stages(l, (b.rows, b.many()), level)).collect()
    }
    /// As [`kl_at_points`](Self::kl_at_points), over the points of all levels; nothing without levels below z.
    pub(super) fn kl_over_levels<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        b: &mut Block<F>,
        table: Option<&PriorTable<F>>,
    ) -> bool {
        let Some(lower) = &self.lower else { return false };
        self.kl_at_points(isa, p, b, table, lower.points());
        true
    }
}
