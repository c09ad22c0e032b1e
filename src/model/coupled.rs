//! A penalty of the whole batch's latents: gathered after every block's forward pass, and handed back to each block before its
//! backward pass.

use super::{Block, Draw, Vae, split};
use crate::estimator::Penalty;
use crate::estimator::penalty::BatchLatents;
use crate::tensor::{Buffer, Isa, Par, Real, Stream};
use elbo_kernels::par::for_each_mut;
use rand::Rng;
use rand_distr::StandardNormal;

/// A block's share of a penalty: its value by row, and its derivatives by z (n, L) and by the posterior's parameters (n, 2L), which
/// wait for the backward pass. Without a penalty, nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Pull {
    values: Vec<f64>,
    dz: Buffer<f64>,
    d_eta: Buffer<f64>,
    /// log q̂ by latent and of all, (n, L + 1).
    log_q: Buffer<f64>,
    scratch: Vec<f64>,
}

impl Pull {
    /// Room for the blocks of a batch of `batch` rows; nothing happens where there is.
    fn resize(&mut self, capacity: usize, latent: usize, batch: usize) {
        if self.values.len() < capacity {
            self.values.resize(capacity, 0.0);
            self.dz = Buffer::new(capacity, latent);
            self.d_eta = Buffer::new(capacity, 2 * latent);
            self.log_q = Buffer::new(capacity, latent + 1);
        }
        self.scratch.resize(self.scratch.len().max(Penalty::scratch(batch)), 0.0);
    }
    /// Adds the derivative by z.
    pub(super) fn add_dz<F: Real>(&self, rows: usize, dz: &mut Buffer<F>) {
        add(&self.dz, rows, dz);
    }
    /// Adds the derivative by the posterior's parameters.
    pub(super) fn add_d_eta<F: Real>(&self, rows: usize, d_eta: &mut Buffer<F>) {
        add(&self.d_eta, rows, d_eta);
    }
}

fn add<F: Real>(from: &Buffer<f64>, rows: usize, to: &mut Buffer<F>) {
    let mut to = to.rows_mut(rows);
    for r in 0..rows {
        let each = to.row(r).iter_mut().zip(from.rows(rows).row(r));
        each.for_each(|(to, from)| *to += F::from_f64(*from));
    }
}

impl Vae {
    /// The estimate of a penalty over the batch that `blocks` hold after their forward pass; with `grad`, its weighted
    /// derivatives too, for the backward pass to add. `examples` as in [`Estimator::penalty`](crate::estimator::Estimator::penalty).
    #[allow(clippy::too_many_arguments, reason = "a batch's inputs, once")]
    pub(super) fn penalise<F: Real>(
        &self,
        isa: Isa,
        (penalty, examples): (Penalty, usize),
        draw: &Draw,
        par: Par,
        blocks: &mut [Block<F>],
        all: &mut BatchLatents,
        grad: bool,
    ) -> f64 {
        let latent = self.config().latent;
        let (batch, count) = (blocks.iter().map(|b| b.rows).sum(), blocks.len());
        all.resize(batch, latent, examples);
        gather(penalty, draw, blocks, all);
        let start = |i: usize| split(batch, count).nth(i).map_or(0, |(first, _)| first);
        for_each_mut(par, blocks, |i, b| {
            let Pull { values, dz, log_q, scratch, .. } = &mut b.pull;
            let (mut dz, mut log_q) = (dz.rows_mut(b.rows), log_q.rows_mut(b.rows));
            for (r, value) in values[..b.rows].iter_mut().enumerate() {
                let (dz, log_q) = (dz.row(r), log_q.row(r));
                *value = penalty.row(isa, all, start(i) + r, scratch, dz, log_q);
                dz.iter_mut().for_each(|dz| *dz *= penalty.weight);
            }
        });
        if grad && penalty.needs_posterior() {
            for (b, (first, _)) in blocks.iter().zip(split(batch, count)) {
                for r in 0..b.rows {
                    for (l, value) in b.pull.log_q.rows(b.rows).row(r).iter().enumerate() {
                        all.log_q[l * batch + first + r] = *value;
                    }
                }
            }
            for_each_mut(par, blocks, |i, b| {
                let Pull { d_eta, scratch, .. } = &mut b.pull;
                let mut d_eta = d_eta.rows_mut(b.rows);
                for r in 0..b.rows {
                    let d_eta = d_eta.row(r);
                    penalty.posterior_grad(isa, all, start(i) + r, scratch, d_eta);
                    d_eta.iter_mut().for_each(|d| *d *= penalty.weight);
                }
            });
        }
        // Row by row, so that the sum does not depend on the blocks.
        blocks.iter().flat_map(|b| &b.pull.values[..b.rows]).sum()
    }
}

/// The batch's latents, posteriors and draws from the prior, side by side.
fn gather<F: Real>(penalty: Penalty, draw: &Draw, blocks: &mut [Block<F>], all: &mut BatchLatents) {
    let (batch, latent) = (all.rows, all.latent);
    let mut row = 0;
    for b in blocks {
        b.pull.resize(b.eta.capacity(), latent, batch);
        for r in 0..b.rows {
            let (mean, log_variance) = b.eta.rows(b.rows).row(r).split_at(latent);
            let mut rng = draw.noise.rng(Stream::Prior, draw.step, row as u64, 0);
            for (l, z) in b.z.rows(b.rows).row(r).iter().enumerate() {
                let at = l * batch + row;
                let v = log_variance[l].to_f64();
                all.z[at] = z.to_f64();
                all.mean[at] = mean[l].to_f64();
                all.precision[at] = (-v).exp();
                all.norm[at] = -0.5 * (crate::density::LOG_TAU + v);
                if penalty.needs_prior() {
                    all.prior[at] = rng.sample(StandardNormal);
                }
            }
            row += 1;
        }
    }
}
