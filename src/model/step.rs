//! A step in two passes. *Rows*: blocks of rows go through the whole network and back, each on one thread. *Weights*:
//! each thread makes tiles of the parameters' gradients from what the blocks left, and where nothing else needs the
//! gradient, updates the parameters with it on the spot.

use super::stats::Goal;
use super::{Block, Stats, Vae, threads_used};
use crate::estimator::{Batch, Estimator};
use crate::layer::Gradient;
use crate::tensor::profile::{Stage, lap, start};
use crate::tensor::{Buffer, Exec, Isa, Mat, Noise, Par, Params, Precision, Real, Slab, Slot, Stream, Tile, Tiles};
use elbo_kernels::LANES;
use elbo_kernels::gemm::{Accum, adam_tile, gradient_tile};
use elbo_kernels::half::Pair;
use elbo_kernels::panels::MAX_VECTORS;
use elbo_kernels::par::{Pieced, for_each_mut, for_each_piece};
use elbo_kernels::reduce::column_sums;
use elbo_kernels::update::{self, AdamStep};
use rand::Rng;
use rand_distr::StandardNormal;
use std::sync::Arc;

/// Rows of a block: enough to keep the arithmetic busy, few enough that a block's activations stay in cache.
const BLOCK_ROWS: usize = 64;
/// Blocks of rows that are summed into a tile in one go.
const BLOCKS_AT_ONCE: usize = 32;

/// Where a pass takes its noise from: the tuple that [`Noise::rng`] is a function of, but for row and sample.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// The run's noise.
    pub noise: Noise,
    /// What it is for.
    pub stream: Stream,
    /// The step.
    pub step: u64,
}

impl Draw {
    /// Fills `eps` with standard normal noise: row `r`, sample `k` of a batch whose first row is `first`. The same
    /// numbers in f32 and f64, but for rounding.
    pub fn fill<F: Real>(&self, first: usize, sample: usize, samples: usize, rows: usize, eps: &mut Buffer<F>) {
        let mut eps = eps.rows_mut(rows * samples);
        for r in 0..rows {
            for k in 0..samples {
                let mut rng = self.noise.rng(self.stream, self.step, (first + r) as u64, (sample + k) as u64);
                for e in eps.row(r * samples + k) {
                    *e = F::from_f64(rng.sample(StandardNormal));
                }
            }
        }
    }
}

/// All memory of a training step, for batches up to a size; a step allocates nothing.
#[derive(Clone, Debug)]
pub struct Workspace<F> {
    blocks: Vec<Block<F>>,
    tiles: Arc<Tiles>,
    precision: Precision,
    par: Par,
    threads: usize,
    stats: Stats,
    mean_kl: Vec<f64>,
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
fn split(rows: usize, blocks: usize) -> impl Iterator<Item = (usize, usize)> {
    let unit = if rows >= 8 * blocks { 8 } else { 2 };
    let units = rows.div_ceil(unit);
    (0..blocks).map(move |i| {
        let cut = |i: usize| (units * i / blocks * unit).min(rows);
        (cut(i), cut(i + 1) - cut(i))
    })
}

impl<F: Real> Workspace<F> {
    /// Memory for batches of up to `batch` rows with `samples` samples each, for the threads of `ex`, and for parameters
    /// like `params`: of their layout and precision.
    pub fn new(vae: &Vae, params: &Params<F>, batch: usize, samples: usize, ex: &Exec) -> Self {
        let precision = params.precision();
        let flops = vae.flops() * (batch * samples) as f64;
        let threads = threads_used(flops, ex.threads(), ex.workers());
        let blocks = batch.div_ceil(block_rows(batch, samples));
        // Results may not depend on threads, nor blocks on them where results depend on blocks.
        let count =
            if ex.isa().is_foreign() { blocks } else { blocks.next_multiple_of(threads) }.clamp(1, batch.max(1));
        let capacity = split(batch, count).map(|(_, rows)| rows).max().unwrap_or(0).next_multiple_of(8);
        Workspace {
            blocks: (0..count).map(|_| Block::new(vae, capacity, samples).with_precision(vae, precision)).collect(),
            tiles: Arc::clone(params.tiles()),
            precision,
            par: if threads == 1 { Par::Sequential } else { ex.par() },
            threads,
            stats: Stats::new(vae.config().latent),
            mean_kl: Vec::with_capacity(vae.config().latent),
        }
    }
    /// Multiplies zeros of the examples like any other number: slower where there are many, and the same sums.
    #[must_use]
    pub fn dense(mut self) -> Self {
        self.blocks.iter_mut().for_each(Block::dense);
        self
    }
    /// The blocks that the last batch was cut into.
    pub fn blocks(&self) -> &[Block<F>] {
        &self.blocks
    }
    /// The terms of the last batch.
    pub fn stats(&self) -> &Stats {
        &self.stats
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
}

impl Vae {
    /// The objective's terms over a batch of `rows` rows, and its gradient into `grads`, which is replaced: both passes.
    ///
    /// `fill(r, x)` writes row `r` of the batch; noise comes from `draw`. Call it inside [`Exec::install`].
    #[allow(clippy::too_many_arguments, reason = "a step's inputs and outputs, once")]
    pub fn loss_grad<'w, F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        rows: usize,
        fill: &(impl Fn(usize, &mut [F]) + Sync),
        draw: &Draw,
        estimator: &dyn Estimator<F>,
        beta: f64,
        ws: &'w mut Workspace<F>,
        grads: &mut Slab<F>,
    ) -> &'w Stats {
        self.rows_pass(isa, p, rows, fill, draw, estimator, beta, ws);
        self.weights_pass(isa, ws, grads);
        &ws.stats
    }

    /// The terms of a batch alone: as [`loss_grad`](Self::loss_grad), without gradients.
    pub fn loss<'w, F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        rows: usize,
        fill: &(impl Fn(usize, &mut [F]) + Sync),
        draw: &Draw,
        ws: &'w mut Workspace<F>,
    ) -> &'w Stats {
        self.each_block(rows, ws, |first, b| {
            load(isa, b, first, fill, draw);
            self.forward(isa, p, b);
            self.log_px(isa, p, b);
        });
        ws.sum_stats(None);
        &ws.stats
    }

    /// The terms of a batch and the objective's [value](Stats::value): as [`loss_grad`](Self::loss_grad), without
    /// gradients.
    #[allow(clippy::too_many_arguments, reason = "a step's inputs, once")]
    pub fn objective<'w, F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        rows: usize,
        fill: &(impl Fn(usize, &mut [F]) + Sync),
        draw: &Draw,
        estimator: &dyn Estimator<F>,
        beta: f64,
        ws: &'w mut Workspace<F>,
    ) -> &'w Stats {
        self.each_block(rows, ws, |first, b| {
            load(isa, b, first, fill, draw);
            self.forward_for(isa, p, b, estimator);
            self.log_px(isa, p, b);
        });
        ws.sum_stats(Some((estimator, beta)));
        &ws.stats
    }

    fn each_block<F: Real>(&self, rows: usize, ws: &mut Workspace<F>, f: impl Fn(usize, &mut Block<F>) + Sync) {
        let count = ws.blocks.len();
        for (b, (_, n)) in ws.blocks.iter_mut().zip(split(rows, count)) {
            b.rows = n;
        }
        for_each_mut(ws.par, &mut ws.blocks, |i, b| {
            start();
            let first = split(rows, count).nth(i).map_or(0, |(first, _)| first);
            f(first, b);
        });
    }

    /// The first pass: the objective's terms over a batch of `rows` rows, to [`Workspace::stats`], and all that the second
    /// pass needs. Arguments as for [`loss_grad`](Self::loss_grad).
    #[allow(clippy::too_many_arguments, reason = "a step's inputs, once")]
    pub fn rows_pass<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        rows: usize,
        fill: &(impl Fn(usize, &mut [F]) + Sync),
        draw: &Draw,
        estimator: &dyn Estimator<F>,
        beta: f64,
        ws: &mut Workspace<F>,
    ) {
        let alone = !estimator.couples_rows();
        let batch = Batch { rows, beta, mean_kl: &[] };
        self.each_block(rows, ws, |first, b| {
            load(isa, b, first, fill, draw);
            self.forward_for(isa, p, b, estimator);
            if alone {
                self.backward(isa, p, b, estimator, &batch);
                self.round(isa, b);
            }
        });
        if !alone {
            ws.mean_kl();
            let mean_kl = std::mem::take(&mut ws.mean_kl);
            let batch = Batch { mean_kl: &mean_kl, ..batch };
            self.each_block(rows, ws, |_, b| {
                self.backward(isa, p, b, estimator, &batch);
                self.round(isa, b);
            });
            ws.mean_kl = mean_kl;
        }
        ws.sum_stats(Some((estimator, beta)));
    }

    /// The second pass: the gradient of every parameter into `grads`, which is replaced.
    pub fn weights_pass<F: Real>(&self, isa: Isa, ws: &Workspace<F>, grads: &mut Slab<F>) {
        let tiles = ws.tiles.list();
        let pieces = Pieced::new(grads.data_mut(), ws.tiles.cut());
        for_each_piece(ws.par, tiles.len(), pieces, Operands::none, |operands, i, out| {
            start();
            for (i_some, some) in ws.blocks.chunks(BLOCKS_AT_ONCE).enumerate() {
                let accum = if i_some == 0 { Accum::Replace } else { Accum::Add };
                operands.find(self, ws.precision, &tiles[i], some);
                operands.gradient(isa, &tiles[i], accum, out);
            }
            lap(Stage::Gradient, Some(&tiles[i].slot));
        });
    }

    /// The second pass with a step of Adam in it: a tile's gradient goes straight into the update and never to memory.
    /// The same bits as [`weights_pass`](Self::weights_pass), then [`Optimizer::step`](crate::optim::Optimizer::step) and
    /// [`Params::refresh`]. `moments` are the first and the second. Panics unless [`Workspace::fuses`].
    pub fn adam<F: Real>(
        &self,
        isa: Isa,
        ws: &Workspace<F>,
        step: &AdamStep,
        p: &mut Params<F>,
        moments: [&mut Slab<F>; 2],
    ) {
        assert!(ws.fuses(), "{} blocks", ws.blocks.len());
        p.for_each_tile(ws.par, moments, Operands::none, |operands, tile, values, [m, v]| {
            operands.find(self, ws.precision, tile, &ws.blocks);
            operands.adam(isa, step, tile, [values, m, v]);
            lap(Stage::Gradient, Some(&tile.slot));
        });
    }

    /// Rounds what the weights pass multiplies, if the block is of a network in bf16.
    fn round<F: Real>(&self, isa: Isa, b: &mut Block<F>) {
        let mut rounded = std::mem::take(&mut b.rounded);
        for (entry, rounded) in self.layout().entries().iter().zip(&mut rounded) {
            if let Gradient::Product(x, dy) = self.gradient(entry.slot, b) {
                rounded.0.round(isa, x);
                rounded.1.round(isa, dy);
            }
        }
        b.rounded = rounded;
        lap(Stage::Round, None);
    }
}

/// What a parameter's gradient is made from in some blocks of rows. A thread keeps it from tile to tile, for most tiles
/// are of the same parameter as the one before.
struct Operands<'b, F> {
    /// Of which parameter, and from which block on.
    of: Option<(Slot, *const Block<F>)>,
    kind: Kind,
    count: usize,
    /// X and dY of each block; of a sum, dY alone.
    products: [(Mat<'b, F>, Mat<'b, F>); BLOCKS_AT_ONCE],
    /// The same, rounded.
    pairs: [(Mat<'b, Pair>, Mat<'b, Pair>); BLOCKS_AT_ONCE],
}

enum Kind {
    Product,
    Pairs,
    Sum,
}

impl<'b, F: Real> Operands<'b, F> {
    fn none() -> Self {
        let products = [const { (Mat::EMPTY, Mat::EMPTY) }; BLOCKS_AT_ONCE];
        let pairs = [const { (Mat::EMPTY, Mat::EMPTY) }; BLOCKS_AT_ONCE];
        Operands { of: None, kind: Kind::Sum, count: 0, products, pairs }
    }
    /// Those of a tile's parameter in `blocks`.
    fn find(&mut self, vae: &Vae, precision: Precision, tile: &Tile, blocks: &'b [Block<F>]) {
        let of = Some((tile.slot, blocks.as_ptr()));
        if self.of == of {
            return;
        }
        (self.of, self.count) = (of, blocks.len());
        for (i, b) in blocks.iter().enumerate() {
            self.kind = match (vae.gradient(tile.slot, b), precision) {
                (Gradient::Sum(dy), _) => {
                    self.products[i] = (Mat::EMPTY, dy);
                    Kind::Sum
                }
                (Gradient::Product(x, dy), Precision::F32) => {
                    self.products[i] = (x, dy);
                    Kind::Product
                }
                (Gradient::Product(..), Precision::Bf16) => {
                    let (x, dy) = &b.rounded[tile.slot.index()];
                    self.pairs[i] = (x.pairs(), dy.pairs());
                    Kind::Pairs
                }
            };
        }
    }
    /// What they add to a tile.
    fn gradient(&self, isa: Isa, tile: &Tile, accum: Accum, out: &mut [F]) {
        let (rows, panel, layout) = (tile.rows.clone(), tile.panel, tile.slot.panels());
        let (products, pairs) = (&self.products[..self.count], &self.pairs[..self.count]);
        match self.kind {
            Kind::Product => gradient_tile(isa, products, layout, panel, rows, accum, out),
            Kind::Pairs => gradient_tile(isa, pairs, layout, panel, rows, accum, F::singles_mut(out)),
            Kind::Sum => {
                let panel = layout.panel(panel);
                for (i, (_, dy)) in products.iter().enumerate() {
                    let from = dy.data().get(panel.col..).unwrap_or_default();
                    let add = i > 0 || accum == Accum::Add;
                    column_sums(isa, dy.rows(), dy.stride(), panel.width, from, out, add);
                }
            }
        }
    }
    /// A step of Adam on a tile of the parameter and both moments.
    fn adam(&self, isa: Isa, step: &AdamStep, tile: &Tile, [p, m, v]: [&mut [F]; 3]) {
        let (rows, panel, layout) = (tile.rows.clone(), tile.panel, tile.slot.panels());
        let (products, pairs) = (&self.products[..self.count], &self.pairs[..self.count]);
        match self.kind {
            Kind::Product => adam_tile(isa, step, products, layout, panel, rows, [p, m, v]),
            Kind::Pairs => adam_tile(isa, step, pairs, layout, panel, rows, [p, m, v].map(F::singles_mut)),
            Kind::Sum => {
                let mut buffer = [F::ZERO; MAX_VECTORS * LANES];
                let gradient = &mut buffer[..p.len()];
                self.gradient(isa, tile, Accum::Replace, gradient);
                update::adam(isa, step, p, m, v, gradient);
            }
        }
    }
}

/// A block's rows and noise.
fn load<F: Real>(isa: Isa, b: &mut Block<F>, first: usize, fill: &(impl Fn(usize, &mut [F]) + Sync), draw: &Draw) {
    b.load(isa, first, fill);
    lap(Stage::Gather, None);
    draw.fill(first, 0, b.samples, b.rows, &mut b.eps);
    lap(Stage::Noise, None);
}

impl<F: Real> Workspace<F> {
    fn sum_stats(&mut self, goal: Goal<'_, F>) {
        self.stats.clear();
        for b in &self.blocks {
            self.stats.add_block(b, goal);
        }
    }
    /// The batch's mean KL by latent, for estimators that couple rows.
    fn mean_kl(&mut self) {
        self.sum_stats(None);
        let rows = self.stats.rows as f64;
        self.mean_kl.clear();
        self.mean_kl.extend(self.stats.kl.iter().map(|kl| kl / rows));
    }
}
