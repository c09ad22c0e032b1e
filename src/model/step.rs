//! A step in two passes. *Rows*: blocks of rows go through the whole network and back, each on one thread. *Weights*:
//! each thread makes tiles of the parameters' gradients from what the blocks left.

use super::{Block, Vae, threads_used};
use crate::estimator::{Batch, Estimator};
use crate::layer::Gradient;
use crate::tensor::{Buffer, Exec, Isa, Mat, Noise, Par, Params, Real, Slab, Slot, Stream};
use elbo_kernels::gemm::{Accum, gradient_tile};
use elbo_kernels::par::{for_each_mut, for_each_piece};
use elbo_kernels::reduce::column_sums;
use rand::Rng;
use rand_distr::StandardNormal;

/// Rows of a block: enough to keep the arithmetic busy, few enough that a block's activations stay in cache.
const BLOCK_ROWS: usize = 64;
/// Rows of a tile of a weight's gradient.
const TILE_ROWS: usize = 96;
/// Blocks of rows that are summed into a tile in one go.
const BLOCKS_AT_ONCE: usize = 16;

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

/// Sums over rows, in nats.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Stats {
    /// Rows.
    pub rows: u64,
    /// −log p(x|z), mean over samples, summed over rows.
    pub reconstruction: f64,
    /// The KL of each latent, summed over rows.
    pub kl: Vec<f64>,
}

impl Stats {
    /// Sums over no rows.
    pub fn new(latent: usize) -> Self {
        Stats { rows: 0, reconstruction: 0.0, kl: vec![0.0; latent] }
    }
    /// Back to no rows.
    pub fn clear(&mut self) {
        self.rows = 0;
        self.reconstruction = 0.0;
        self.kl.fill(0.0);
    }
    /// Adds another's rows.
    pub fn add(&mut self, other: &Stats) {
        self.rows += other.rows;
        self.reconstruction += other.reconstruction;
        self.kl.iter_mut().zip(&other.kl).for_each(|(sum, x)| *sum += x);
    }
    /// Mean reconstruction, nats per example.
    pub fn mean_reconstruction(&self) -> f64 {
        self.reconstruction / self.rows as f64
    }
    /// Mean KL, nats per example.
    pub fn mean_kl(&self) -> f64 {
        self.kl.iter().sum::<f64>() / self.rows as f64
    }
    /// Mean −ELBO, nats per example: reconstruction + KL.
    pub fn neg_elbo(&self) -> f64 {
        self.mean_reconstruction() + self.mean_kl()
    }
    /// Adds the terms of a block, row by row, so that the sum does not depend on how rows fall into blocks.
    pub(crate) fn add_block<F: Real>(&mut self, b: &Block<F>) {
        let (n, k) = (b.rows, b.samples as f64);
        self.rows += n as u64;
        for samples in b.terms.log_px[..b.many()].chunks_exact(b.samples) {
            self.reconstruction -= samples.iter().map(|x| x.to_f64()).sum::<f64>() / k;
        }
        for r in 0..n {
            for (sum, x) in self.kl.iter_mut().zip(b.terms.kl.rows(n).row(r)) {
                *sum += x.to_f64();
            }
        }
    }
}

/// A piece of the weights pass: some rows of one panel of one parameter, contiguous in a slab.
#[derive(Clone, Copy, Debug)]
struct Tile {
    slot: Slot,
    panel: usize,
    from: usize,
    to: usize,
}

impl Tile {
    fn len(&self) -> usize {
        (self.to - self.from) * self.slot.panels().panel(self.panel).width
    }
}

fn tiles(vae: &Vae) -> Vec<Tile> {
    let mut tiles = Vec::new();
    for slot in vae.layout().entries().iter().map(|e| e.slot) {
        for panel in 0..slot.panels().count() {
            for from in (0..slot.rows()).step_by(TILE_ROWS) {
                tiles.push(Tile { slot, panel, from, to: (from + TILE_ROWS).min(slot.rows()) });
            }
        }
    }
    tiles
}

/// All memory of a training step, for batches up to a size; a step allocates nothing.
#[derive(Clone, Debug)]
pub struct Workspace<F> {
    blocks: Vec<Block<F>>,
    tiles: Vec<Tile>,
    par: Par,
    threads: usize,
    stats: Stats,
    mean_kl: Vec<f64>,
}

/// How `rows` rows fall into at most `blocks` blocks: whole eights where there are enough rows, as evenly as can be.
fn split(rows: usize, blocks: usize) -> impl Iterator<Item = (usize, usize)> {
    let unit = if rows >= 8 * blocks { 8 } else { 1 };
    let units = rows.div_ceil(unit);
    (0..blocks).map(move |i| {
        let cut = |i: usize| (units * i / blocks * unit).min(rows);
        (cut(i), cut(i + 1) - cut(i))
    })
}

impl<F: Real> Workspace<F> {
    /// Memory for batches of up to `batch` rows with `samples` samples each, and for the threads of `ex`.
    pub fn new(vae: &Vae, batch: usize, samples: usize, ex: &Exec) -> Self {
        let flops = vae.flops() * (batch * samples) as f64;
        let threads = threads_used(flops, ex.threads(), ex.workers());
        let count = batch.div_ceil(BLOCK_ROWS).next_multiple_of(threads).clamp(1, batch.max(1));
        let capacity = split(batch, count).map(|(_, rows)| rows).max().unwrap_or(0).next_multiple_of(8);
        Workspace {
            blocks: (0..count).map(|_| Block::new(vae, capacity, samples)).collect(),
            tiles: tiles(vae),
            par: if threads == 1 { Par::Sequential } else { ex.par() },
            threads,
            stats: Stats::new(vae.config().latent),
            mean_kl: Vec::with_capacity(vae.config().latent),
        }
    }
    /// The blocks that the last batch was cut into.
    pub fn blocks(&self) -> &[Block<F>] {
        &self.blocks
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
    /// The objective's terms over a batch of `rows` rows, and its gradient into `grads`, which is replaced.
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
            load(b, first, fill, draw);
            self.forward(isa, p, b);
            self.log_px(isa, p, b);
        });
        ws.sum_stats();
        &ws.stats
    }

    fn each_block<F: Real>(&self, rows: usize, ws: &mut Workspace<F>, f: impl Fn(usize, &mut Block<F>) + Sync) {
        let count = ws.blocks.len();
        for (b, (_, n)) in ws.blocks.iter_mut().zip(split(rows, count)) {
            b.rows = n;
        }
        for_each_mut(ws.par, &mut ws.blocks, |i, b| {
            let first = split(rows, count).nth(i).map_or(0, |(first, _)| first);
            f(first, b);
        });
    }

    #[allow(clippy::too_many_arguments, reason = "a step's inputs, once")]
    fn rows_pass<F: Real>(
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
            load(b, first, fill, draw);
            self.forward(isa, p, b);
            if alone {
                self.backward(isa, p, b, estimator, &batch);
            }
        });
        if !alone {
            ws.mean_kl();
            let mean_kl = std::mem::take(&mut ws.mean_kl);
            let batch = Batch { mean_kl: &mean_kl, ..batch };
            self.each_block(rows, ws, |_, b| self.backward(isa, p, b, estimator, &batch));
            ws.mean_kl = mean_kl;
        }
        ws.sum_stats();
    }

    fn weights_pass<F: Real>(&self, isa: Isa, ws: &Workspace<F>, grads: &mut Slab<F>) {
        for_each_piece(ws.par, &ws.tiles, grads.data_mut(), Tile::len, |tile, out| {
            for (i, some) in ws.blocks.chunks(BLOCKS_AT_ONCE).enumerate() {
                self.gradient_of(isa, tile, some, if i == 0 { Accum::Replace } else { Accum::Add }, out);
            }
        });
    }

    /// What some blocks add to a tile.
    fn gradient_of<F: Real>(&self, isa: Isa, tile: &Tile, blocks: &[Block<F>], accum: Accum, out: &mut [F]) {
        let (layout, panel) = (tile.slot.panels(), tile.slot.panels().panel(tile.panel));
        let empty = Mat::new(&[], 0, 0, 0);
        let mut products = [(empty, empty); BLOCKS_AT_ONCE];
        let mut count = 0;
        for (i, b) in blocks.iter().enumerate() {
            match self.gradient(tile.slot, b) {
                Gradient::Product(x, dy) => {
                    products[i] = (x, dy);
                    count += 1;
                }
                Gradient::Sum(dy) => {
                    let from = dy.data().get(panel.col..).unwrap_or_default();
                    let add = i > 0 || accum == Accum::Add;
                    column_sums(isa, dy.rows(), dy.stride(), panel.width, from, out, add);
                }
            }
        }
        if count > 0 {
            gradient_tile(isa, &products[..count], layout, tile.panel, tile.from..tile.to, accum, out);
        }
    }
}

/// A block's rows and noise.
fn load<F: Real>(b: &mut Block<F>, first: usize, fill: &(impl Fn(usize, &mut [F]) + Sync), draw: &Draw) {
    for r in 0..b.rows {
        fill(first + r, b.x.rows_mut(b.rows).row(r));
    }
    draw.fill(first, 0, b.samples, b.rows, &mut b.eps);
}

impl<F: Real> Workspace<F> {
    fn sum_stats(&mut self) {
        self.stats.clear();
        for b in &self.blocks {
            self.stats.add_block(b);
        }
    }
    /// The batch's mean KL by latent, for estimators that couple rows.
    fn mean_kl(&mut self) {
        self.sum_stats();
        let rows = self.stats.rows as f64;
        self.mean_kl.clear();
        self.mean_kl.extend(self.stats.kl.iter().map(|kl| kl / rows));
    }
}
