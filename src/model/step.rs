//! A step in two passes. *Rows*: blocks of rows go through the whole network and back, each on one thread. *Weights*:
//! each thread makes tiles of the parameters' gradients from what the blocks left, and where nothing else needs the
//! gradient, updates the parameters with it on the spot.

use super::operands::{BLOCKS_AT_ONCE, Operands};
use super::{Block, Corruption, PriorTable, Stats, Vae, Workspace, split};
use crate::estimator::{Batch, Estimator};
use crate::layer::Gradient;
use crate::tensor::profile::{Stage, lap, start};
use crate::tensor::{Buffer, Isa, Noise, Params, Real, Slab, Stream};
use elbo_kernels::gemm::Accum;
use elbo_kernels::par::{Pieced, for_each_mut, for_each_piece};
use elbo_kernels::update::AdamStep;
use rand::Rng;
use rand_distr::StandardNormal;

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
        self.fill_level(0, first, sample, samples, rows, eps);
    }
    /// The same of the latents of a level: 0 is z, and further levels are those of a prior of more stochastic layers.
    pub(super) fn fill_level<F: Real>(
        &self,
        level: usize,
        first: usize,
        sample: usize,
        samples: usize,
        rows: usize,
        eps: &mut Buffer<F>,
    ) {
        let mut eps = eps.rows_mut(rows * samples);
        for r in 0..rows {
            for k in 0..samples {
                // No run has as many samples: a level's sequences are its own.
                let sequence = (sample + k) as u64 | (level as u64) << 48;
                let mut rng = self.noise.rng(self.stream, self.step, (first + r) as u64, sequence);
                for e in eps.row(r * samples + k) {
                    *e = F::from_f64(rng.sample(StandardNormal));
                }
            }
        }
    }
}

impl Vae {
    /// The objective's terms over a batch of `rows` rows, and its gradient into `grads`, which is replaced: both passes.
    ///
    /// `fill(r, x)` writes row `r` of the batch; noise comes from `draw`. Call it inside [`Exec::install`](crate::tensor::Exec::install).
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

    /// The terms of a batch alone: as [`loss_grad`](Self::loss_grad), without gradients and with the network at rest, as it is
    /// used: nothing left out, and batch normalizations by their running averages.
    pub fn loss<'w, F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        rows: usize,
        fill: &(impl Fn(usize, &mut [F]) + Sync),
        draw: &Draw,
        ws: &'w mut Workspace<F>,
    ) -> &'w Stats {
        let encode = self.encode_prior(isa, p, rows, fill, draw, ws, false);
        self.each_block(rows, ws, |first, b, table| {
            encode(first, b);
            self.forward_encoded(isa, p, b, false, table);
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
        if ws.meetings.is_empty() {
            let encode = self.encode_prior(isa, p, rows, fill, draw, ws, true);
            self.each_block(rows, ws, |first, b, table| {
                encode(first, b);
                self.forward_encoded(isa, p, b, estimator.sampled(), table);
                self.log_px(isa, p, b);
            });
        } else {
            self.forward_staged(isa, p, rows, fill, draw, estimator.sampled(), ws);
            self.each_block(rows, ws, |_, b, _| self.log_px(isa, p, b));
        }
        let penalty = self.penalise_batch(isa, estimator, draw, ws, false);
        ws.sum_stats(Some((estimator, beta)));
        ws.stats.penalty = penalty;
        &ws.stats
    }

    /// The estimate of the objective's penalty, if it has one, times the batch's rows: see [`penalise`](Self::penalise).
    fn penalise_batch<F: Real>(
        &self,
        isa: Isa,
        estimator: &dyn Estimator<F>,
        draw: &Draw,
        ws: &mut Workspace<F>,
        grad: bool,
    ) -> Option<f64> {
        let (par, count) = (ws.par, ws.data);
        let penalty = estimator.penalty()?;
        let value = self.penalise(isa, penalty, draw, par, &mut ws.blocks[..count], &mut ws.latents, grad);
        lap(Stage::Latent, None);
        Some(value * ws.latents.rows as f64)
    }

    pub(super) fn each_block<F: Real>(
        &self,
        rows: usize,
        ws: &mut Workspace<F>,
        f: impl Fn(usize, &mut Block<F>, Option<&PriorTable<F>>) + Sync,
    ) {
        let (count, table) = (ws.data, ws.table.as_ref());
        let blocks = &mut ws.blocks[..count];
        for (b, (_, n)) in blocks.iter_mut().zip(split(rows, count)) {
            b.rows = n;
        }
        for_each_mut(ws.par, blocks, |i, b| {
            start();
            let first = split(rows, count).nth(i).map_or(0, |(first, _)| first);
            f(first, b, table);
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
        assert!(
            self.config().closed_form() || estimator.sampled(),
            "{estimator:?} wants a KL that {:?} has not",
            self.config()
        );
        let staged = !ws.meetings.is_empty();
        let alone = !estimator.couples_rows() && estimator.penalty().is_none() && !staged;
        let batch = Batch { rows, beta, mean_kl: &[] };
        if staged {
            self.forward_staged(isa, p, rows, fill, draw, estimator.sampled(), ws);
        } else {
            let encode = self.encode_prior(isa, p, rows, fill, draw, ws, true);
            self.each_block(rows, ws, |first, b, table| {
                encode(first, b);
                self.forward_encoded(isa, p, b, estimator.sampled(), table);
                if alone {
                    self.backward(isa, p, b, estimator, &batch, table);
                    self.round(isa, b);
                }
            });
        }
        let penalty = self.penalise_batch(isa, estimator, draw, ws, true);
        if !alone {
            ws.mean_kl();
            let mean_kl = std::mem::take(&mut ws.mean_kl);
            let batch = Batch { mean_kl: &mean_kl, ..batch };
            if staged {
                self.backward_staged(isa, p, estimator, &batch, ws);
            } else {
                self.each_block(rows, ws, |_, b, table| {
                    self.backward(isa, p, b, estimator, &batch, table);
                    self.round(isa, b);
                });
            }
            ws.mean_kl = mean_kl;
        }
        if let Some(table) = &ws.table {
            let (data, components) = ws.blocks.split_at_mut(ws.data);
            for_each_mut(ws.par, components, |_, b| {
                start();
                self.component_grads(isa, p, table, data, b);
                self.round(isa, b);
            });
        }
        ws.sum_stats(Some((estimator, beta)));
        ws.stats.penalty = penalty;
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
    pub(super) fn round<F: Real>(&self, isa: Isa, b: &mut Block<F>) {
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

/// A block's rows and noise.
pub(super) fn load<F: Real>(
    isa: Isa,
    b: &mut Block<F>,
    first: usize,
    fill: &(impl Fn(usize, &mut [F]) + Sync),
    draw: &Draw,
    corruption: Corruption,
) {
    b.load(isa, first, fill);
    b.corrupt(isa, corruption, draw, first);
    lap(Stage::Gather, None);
    b.draw(draw, first, 0);
    lap(Stage::Noise, None);
}
