//! The memory of one block of rows: all that a pass through the network writes.

use super::condition::{Given, seen};
use super::coupled::Pull;
use super::lower::Below;
use super::{Corruption, Draw, LevelCache, Vae};
use crate::density::LeaveOut;
use crate::estimator::{Terms, Weights};
use crate::layer::Cache;
use crate::tensor::{Buffer, Input, Isa, Mat, PairBuffer, Precision, Real, Slot};

/// What one block of rows needs on its way through a [`Vae`] and back: n rows, k samples each.
#[derive(Clone, Debug)]
pub struct Block<F> {
    /// Rows in use, at most the capacity.
    pub rows: usize,
    /// Samples of z per row.
    pub samples: usize,
    /// The examples, (n, D).
    pub x: Input<F>,
    /// What the encoder sees of them, if that is something else.
    pub(super) seen: Option<Input<F>>,
    /// Of a conditional model, the rows' conditions.
    pub(super) given: Option<Given<F>>,
    /// The posterior's parameters, (n, E), and their gradient: means, log-variances, and what else it takes.
    pub eta: Buffer<F>,
    pub(super) d_eta: Buffer<F>,
    /// Standard noise, (n·k, L).
    pub eps: Buffer<F>,
    /// Latents, (n·k, L), and their gradient.
    pub z: Buffer<F>,
    pub(super) dz: Buffer<F>,
    /// What a flow left of its draws: its log-determinants, (n·k), and its memory.
    pub(super) log_det: Vec<f64>,
    pub(super) posterior: Cache<F>,
    /// The likelihood's parameters, (n·k, E); a backward pass overwrites them with their gradient.
    pub out: Buffer<F>,
    /// Of a block of components of a mixture prior, which has no samples: the first of them.
    pub(super) first: usize,
    /// Each component's share in `log p(z)` of a mixture prior, (n·k, C).
    pub(super) shares: Buffer<F>,
    /// Of which exemplars each row's prior is, (n); of all, if it does not say.
    pub(super) others: Vec<LeaveOut>,
    /// Of a block of components, the derivatives of the mixture's parameters by row.
    pub(super) d_prior: Vec<Buffer<F>>,
    /// Of a flow prior, (n·k, L).
    pub(super) flow_prior: Cache<F>,
    /// Of a prior of more stochastic layers, its levels.
    pub(super) levels: Vec<LevelCache<F>>,
    /// Of stochastic layers below z.
    pub(super) below: Option<Below<F>>,
    /// What a penalty of the batch says of this block.
    pub(super) pull: Pull,
    /// What the estimator sees of this block.
    pub terms: Terms<F>,
    pub(super) weights: Weights<F>,
    pub(super) encoder: Cache<F>,
    pub(super) decoder: Cache<F>,
    pub(super) likelihood: Cache<F>,
    /// Stands for the decoder's output once its gradient has taken its place: its last layer is linear and never
    /// looks at it.
    pub(super) spent: Buffer<F>,
    /// In bf16, what the weights pass multiplies, by parameter: X and dY.
    pub(super) rounded: Vec<(PairBuffer, PairBuffer)>,
    /// Whether to look for zeros in the examples. In bf16, the pairs look for their own.
    skips: bool,
}

/// Rows of a block for which it pays to look for zeros.
const LEAST_ROWS: usize = 8;

impl<F: Real> Block<F> {
    /// Memory for at most `capacity` rows of `samples` samples each.
    pub fn new(vae: &Vae, capacity: usize, samples: usize) -> Self {
        let (latent, eta) = (vae.config().latent, vae.posterior.eta_cols());
        let many = capacity * samples;
        let likelihood = F::likelihood(&*vae.likelihood);
        let components = if samples == 0 { capacity } else { 0 };
        let (parts, shares) = (vae.kl_parts(), vae.share_columns::<F>());
        Block {
            rows: 0,
            samples,
            x: Input::new(capacity, vae.config().inputs),
            seen: seen(vae, capacity),
            given: Given::new(vae, capacity, samples),
            eta: Buffer::new(capacity, eta),
            d_eta: Buffer::new(capacity, eta),
            eps: Buffer::new(many, latent),
            z: Buffer::new(many, latent),
            dz: Buffer::new(many, latent),
            log_det: vae.posterior.log_dets(many),
            posterior: vae.posterior.cache(many),
            out: Buffer::new(many, likelihood.eta_cols()),
            first: 0,
            shares: Buffer::new(if shares > 0 { many } else { 0 }, shares),
            others: Vec::new(),
            d_prior: vae.mixture().map_or_else(Vec::new, |mixture| mixture.grads(components)),
            flow_prior: vae.flow_prior().map_or_else(Cache::default, |prior| prior.cache(many)),
            levels: vae.stacked_prior().map_or_else(Vec::new, |prior| prior.cache(many)),
            below: vae.lower.as_ref().map(|lower| lower.block(capacity, many, latent, eta)),
            pull: Pull::default(),
            terms: Terms::new(capacity, samples, parts),
            weights: Weights::new(capacity, samples, parts),
            encoder: crate::layer::Layer::<F>::cache(&vae.encoder, capacity),
            decoder: crate::layer::Layer::<F>::cache(&vae.decoder, many),
            likelihood: likelihood.cache(many),
            spent: Buffer::default(),
            rounded: Vec::new(),
            skips: true,
        }
    }
    /// Prepares for a weights pass in `precision`.
    #[must_use]
    pub(super) fn with_precision(self, vae: &Vae, precision: Precision) -> Self {
        if precision == Precision::F32 {
            return self;
        }
        // A weight without a transpose multiplies the examples, which may hold many zeros; the pairs know of theirs.
        let of = |slot: Slot| if slot.has_transpose() { PairBuffer::default() } else { PairBuffer::filled() };
        let rounded = vae.layout().entries().iter().map(|e| (of(e.slot), PairBuffer::default())).collect();
        Block { rounded, skips: false, ..self }
    }
    /// Multiplies zeros of the examples like any other number.
    pub(super) fn dense(&mut self) {
        self.skips = false;
        self.rounded.iter_mut().for_each(|(x, _)| x.dense());
    }
    /// Writes the examples, [x | c] of a conditional model: row `r` by `fill(first + r, row)`.
    pub fn load(&mut self, isa: Isa, first: usize, fill: &impl Fn(usize, &mut [F])) {
        if self.given.is_some() {
            self.load_given(first, fill);
        } else {
            let mut x = self.x.rows_mut(self.rows);
            for r in 0..self.rows {
                fill(first + r, x.row(r));
            }
        }
        if self.skips && self.rows >= LEAST_ROWS {
            // Of a conditional model, x itself is multiplied by nothing.
            let input = if self.given.is_some() { self.seen.as_mut() } else { Some(&mut self.x) };
            input.into_iter().for_each(|input| input.find_zeros(isa, self.rows));
        }
    }
    /// Draws the noise of its latents, at every level; `first` is the batch's row that it begins with, and `sample` the first
    /// sample of each.
    pub(crate) fn draw(&mut self, draw: &Draw, first: usize, sample: usize) {
        let (rows, samples) = (self.rows, self.samples);
        let levels = self.levels.iter_mut().map(LevelCache::eps);
        for (level, eps) in [&mut self.eps].into_iter().chain(levels).enumerate() {
            draw.fill_level(level, first, sample, samples, rows, eps);
        }
        self.draw_below(draw, first, sample, 1.0);
    }
    /// Gives every row the noise `point`, the columns of all levels one after the other, times `sign`.
    pub(super) fn repeat_noise(&mut self, mut point: &[f64], sign: f64) {
        let many = self.many();
        let levels = self.levels.iter_mut().map(LevelCache::eps).chain(self.below.iter_mut().flat_map(Below::eps));
        for eps in [&mut self.eps].into_iter().chain(levels) {
            let (of_level, rest) = point.split_at(eps.cols());
            let mut eps = eps.rows_mut(many);
            for r in 0..many {
                eps.row(r).iter_mut().zip(of_level).for_each(|(eps, e)| *eps = F::from_f64(sign * e));
            }
            point = rest;
        }
    }
    /// The encoder's input, (n, D), or (n, D + C) of a conditional model.
    pub(super) fn seen(&self) -> Mat<'_, F> {
        encoder_input(&self.x, self.seen.as_ref(), self.rows)
    }
    /// Room for what the encoder sees of the examples, if they are corrupted.
    pub(super) fn see(&mut self, vae: &Vae, corruption: Corruption) {
        let seen = || Input::new(self.eta.capacity(), vae.config().inputs);
        // A conditional model's encoder always has an input of its own.
        if self.given.is_none() {
            self.seen = (corruption != Corruption::None).then(seen);
        }
    }
    /// Lets the encoder see the examples with their corruption; `first` is the batch's row that the block begins with.
    pub(super) fn corrupt(&mut self, isa: Isa, corruption: Corruption, draw: &Draw, first: usize) {
        let Some(seen) = self.seen.as_mut().filter(|_| corruption != Corruption::None) else { return };
        let (x, mut to) = (self.x.rows(self.rows), seen.rows_mut(self.rows));
        for r in 0..self.rows {
            // A condition behind it stays what it is.
            let to = &mut to.row(r)[..x.cols()];
            to.copy_from_slice(x.row(r));
            corruption.apply(draw, first + r, to);
        }
        if self.skips && self.rows >= LEAST_ROWS {
            seen.find_zeros(isa, self.rows);
        }
    }
    /// Rows of z in use: rows times samples.
    pub fn many(&self) -> usize {
        self.rows * self.samples
    }
}

/// [`Block::seen`] by its fields, for where others of the block are written: the examples, or what is seen of them in their place.
pub(super) fn encoder_input<'a, F: Real>(x: &'a Input<F>, seen: Option<&'a Input<F>>, rows: usize) -> Mat<'a, F> {
    seen.unwrap_or(x).rows(rows)
}
