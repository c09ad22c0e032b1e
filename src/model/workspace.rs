//! All memory of a training step, and how a batch falls into blocks.

use super::exemplar::Retrieval;
use super::operands::BLOCKS_AT_ONCE;
use super::stats::Goal;
use super::{Block, Corruption, PriorTable, Stats, Vae, threads_used};
use crate::estimator::penalty::BatchLatents;
use crate::layer::{FEWEST_ROWS, Meeting};
use crate::tensor::{Exec, Par, Params, Precision, Real, Tiles};
use std::sync::Arc;

/// Rows of a block: enough to keep the arithmetic busy, few enough that a block's activations stay in cache.
const BLOCK_ROWS: usize = 64;

/// All memory of a training step, for batches up to a size; a step allocates nothing.
#[derive(Clone, Debug)]
pub struct Workspace<F> {
    /// The batch's, then those of a mixture prior's components.
    pub(super) blocks: Vec<Block<F>>,
    /// How many are the batch's.
    pub(super) data: usize,
    pub(super) table: Option<PriorTable<F>>,
    /// How exemplars are found, where the prior is made of them.
    pub(super) retrieval: Option<Box<Retrieval<F>>>,
    pub(super) corruption: Corruption,
    /// Where the rows of a batch meet on their way: at each batch normalization.
    pub(super) meetings: Vec<Meeting>,
    /// What a penalty of the batch sees.
    pub(super) latents: BatchLatents,
    pub(super) tiles: Arc<Tiles>,
    pub(super) precision: Precision,
    pub(super) par: Par,
    threads: usize,
    pub(super) stats: Stats,
    pub(super) mean_kl: Vec<f64>,
    /// Rows that a batch needs for a variance of its own.
    pub(super) fewest: usize,
}

/// Rows of a block with so many samples each: about as many rows of z as a block of one sample has, but no more blocks
/// than an update can be fused with.
fn block_rows(batch: usize, samples: usize) -> usize {
    if samples == 1 {
        return BLOCK_ROWS;
    }
    (BLOCK_ROWS / samples).max(batch.div_ceil(BLOCKS_AT_ONCE)).max(2)
}

/// How `rows` rows fall into at most `blocks` blocks: whole eights where there are enough rows, as evenly as can be. Every
/// block starts at an even row, so that bf16 pairs the same rows whatever the blocks.
pub(super) fn split(rows: usize, blocks: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let unit = if rows >= 8 * blocks { 8 } else { 2 };
    let units = rows.div_ceil(unit);
    (0..blocks).map(move |i| {
        let cut = |i: usize| (units * i / blocks * unit).min(rows);
        (cut(i), cut(i + 1) - cut(i))
    })
}

impl<F: Real> Workspace<F> {
    /// Memory for batches of up to `batch` rows with `samples` samples each, for the threads of `ex`, and for parameters
    /// like `params`: of their layout and precision. Panics when they are not the network's.
    pub fn new(vae: &Vae, params: &Params<F>, batch: usize, samples: usize, ex: &Exec) -> Self {
        assert!(params.layout() == vae.layout(), "the parameters are those of another network");
        let precision = params.precision();
        let flops = vae.step_flops(batch, samples);
        let threads = threads_used(flops, ex.threads(), ex.workers());
        let blocks = batch.div_ceil(block_rows(batch, samples));
        // Results may not depend on threads, nor blocks on them where results depend on blocks.
        let count =
            if ex.isa().is_foreign() { blocks } else { blocks.next_multiple_of(threads) }.clamp(1, batch.max(1));
        let most = split(batch, count).map(|(_, rows)| rows).max().unwrap_or(0);
        let capacity = if samples == 1 { most.next_multiple_of(8) } else { most };
        let blocks = (0..count).map(|_| Block::new(vae, capacity, samples));
        let components = vae.component_blocks(if ex.isa().is_foreign() { 1 } else { threads }).into_iter();
        Workspace {
            blocks: blocks.chain(components).map(|b| b.with_precision(vae, precision)).collect(),
            data: count,
            table: vae.component_table(),
            retrieval: None,
            corruption: Corruption::None,
            meetings: vae.meetings(),
            latents: BatchLatents::default(),
            tiles: Arc::clone(params.tiles()),
            precision,
            par: if threads == 1 { Par::Sequential } else { ex.par() },
            threads,
            stats: Stats::new(vae.kl_parts()),
            mean_kl: Vec::with_capacity(vae.config().latent),
            fewest: batch.clamp(2, FEWEST_ROWS),
        }
    }
    /// Multiplies zeros of the examples like any other number: slower where there are many, and the same sums.
    #[must_use]
    pub fn dense(mut self) -> Self {
        self.blocks.iter_mut().for_each(Block::dense);
        self
    }
    /// Lets the encoder see the examples corrupted, while the likelihood is of them as they are.
    #[must_use]
    pub fn corrupted(mut self, vae: &Vae, corruption: Corruption) -> Self {
        self.corruption = corruption;
        self.blocks[..self.data].iter_mut().for_each(|b| b.see(vae, corruption));
        self
    }
    /// The blocks that the last batch was cut into, and those of a mixture prior's components, which have no samples.
    pub fn blocks(&self) -> &[Block<F>] {
        &self.blocks
    }
    /// Those of the batch alone.
    pub(super) fn data(&self) -> &[Block<F>] {
        &self.blocks[..self.data]
    }
    /// The same, to be written.
    pub(super) fn data_mut(&mut self) -> &mut [Block<F>] {
        &mut self.blocks[..self.data]
    }
    /// How it runs, a mixture prior's blocks of components, and what they are gathered in.
    pub(super) fn components(&mut self) -> (Par, &mut [Block<F>], Option<&mut PriorTable<F>>) {
        (self.par, &mut self.blocks[self.data..], self.table.as_mut())
    }
    /// Adds blocks of components.
    pub(super) fn add_components(&mut self, vae: &Vae, blocks: impl Iterator<Item = Block<F>>) {
        let precision = self.precision;
        self.blocks.extend(blocks.map(|b| b.with_precision(vae, precision)));
    }
    /// The terms of the last batch.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
    /// The reconstruction of the last batch as the decoder's own parameters see it, in nats per row: −log p(x|z) of each sample
    /// with its weight in the objective. The mean over samples for the ELBO, and not for a bound that weighs them.
    pub fn weighted_reconstruction(&self) -> f64 {
        // One sum over all, which does not depend on how rows fall into blocks.
        let samples = self.data().iter().flat_map(|b| b.weights.log_px.iter().zip(&b.terms.log_px).take(b.many()));
        samples.fold(0.0, |sum, (w, x)| sum + w.to_f64() * x.to_f64())
    }
    /// Whether batches are few enough blocks for [`Vae::adam`]. Of larger ones, the update is a small part of a step.
    pub fn fuses(&self) -> bool {
        self.blocks.len() <= BLOCKS_AT_ONCE
    }
    /// Whether steps use the pool, or were found too small for it.
    pub fn par(&self) -> Par {
        self.par
    }
    /// The threads that a full batch is shared among.
    pub fn threads(&self) -> usize {
        self.threads
    }
    pub(super) fn sum_stats(&mut self, goal: Goal<'_, F>) {
        self.stats.clear();
        for b in &self.blocks[..self.data] {
            self.stats.add_block(b, goal);
        }
    }
    /// The batch's mean KL by latent, for estimators that couple rows.
    pub(super) fn mean_kl(&mut self) {
        self.sum_stats(None);
        let rows = self.stats.rows as f64;
        self.mean_kl.clear();
        self.mean_kl.extend(self.stats.kl.iter().map(|kl| kl / rows));
    }
}
