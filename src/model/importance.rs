//! Many draws of z a row: reconstructions under the posterior, and importance-sampled likelihoods. Each row is encoded
//! once; its draws go through the decoder a few at a time, and what they say is summed up as they come, so memory does not
//! depend on their number.

use super::infer::row_kl;
use super::sweep::{Rows, Work, sweep};
use super::{Block, Draw, Inference, ModelPrior, PriorTable, Score, Vae};
use crate::estimator::ImportanceBounds;
use crate::tensor::profile::{Stage, lap, start};
use crate::tensor::{Isa, Params, Real};

/// Rows of a block, and the samples of each that are decoded at once: enough rows for the products, and few enough
/// examples that they stay in the nearest cache while their samples go by.
const ROWS: usize = 8;
const SAMPLES: usize = 16;

/// One thread's memory: a block, and what its rows' draws have said so far.
#[derive(Debug)]
pub(super) struct Sampled<F> {
    block: Block<F>,
    rows: [Row; ROWS],
    /// Draws a row, over all.
    samples: usize,
    log_ratio: [f64; ROWS * SAMPLES],
}

/// A row's sums over its draws, in nats.
#[derive(Debug, Default)]
struct Row {
    kl: f64,
    log_px: f64,
    bounds: ImportanceBounds,
}

impl<F: Real> Sampled<F> {
    fn new(vae: &Vae) -> Self {
        Sampled {
            block: Block::new(vae, ROWS, SAMPLES),
            rows: Default::default(),
            samples: 0,
            log_ratio: [0.0; ROWS * SAMPLES],
        }
    }
    /// The rows, encoded, and no draws yet.
    fn restart(&mut self, samples: usize, closed_form: bool) {
        self.samples = samples;
        for (r, row) in self.rows[..self.block.rows].iter_mut().enumerate() {
            (row.kl, row.log_px) = (if closed_form { row_kl(&self.block, r) } else { 0.0 }, 0.0);
            row.bounds.restart(samples);
        }
    }
    /// The block's draws, decoded.
    fn add(&mut self, isa: Isa, p: &Params<F>, vae: &Vae, table: Option<&PriorTable<F>>) {
        let b = &mut self.block;
        let (many, closed) = (b.many(), vae.config().closed_form());
        let log_ratio = &mut self.log_ratio[..many];
        match vae.prior() {
            ModelPrior::StandardNormal(normal) if vae.lower().is_none() => {
                let (eta, eps, z) = (b.eta.rows(b.rows), b.eps.rows(many), b.z.rows(many));
                vae.posterior().log_ratio(normal, eta, eps, z, &b.log_det, log_ratio);
            }
            ModelPrior::Conditional(conditional) => conditional.log_ratio(b, log_ratio),
            ModelPrior::StandardNormal(_) | ModelPrior::Mixture(_) | ModelPrior::Flow(_) | ModelPrior::Stacked(_) => {
                vae.log_densities(isa, p, b, table);
                let both = b.terms.log_pz.iter().zip(&b.terms.log_qz);
                log_ratio.iter_mut().zip(both).for_each(|(ratio, (p, q))| *ratio = p.to_f64() - q.to_f64());
            }
        }
        for (i, ratio) in self.log_ratio[..many].iter().enumerate() {
            let (row, log_px) = (&mut self.rows[i / b.samples], b.terms.log_px[i].to_f64());
            row.log_px += log_px;
            row.kl -= if closed { 0.0 } else { ratio / self.samples as f64 };
            row.bounds.add(log_px + ratio);
        }
    }
}

impl<F: Real> Work for Sampled<F> {
    fn set_rows(&mut self, rows: usize) {
        self.block.rows = rows;
    }
}

impl<F: Real> Inference<'_, F> {
    /// Each row's score with `samples` draws of z: the reconstruction is their mean. Sample s of row r draws from `draw` by
    /// (r, s) alone. Panics when there are no samples.
    pub fn sampled_score(
        &mut self,
        rows: usize,
        fill: &(impl Fn(usize, &mut [F]) + Sync),
        draw: &Draw,
        samples: usize,
        mut out: impl FnMut(usize, Score) + Send,
    ) {
        self.each_sampled(rows, fill, draw, samples, |r, row| {
            out(r, Score { reconstruction: -row.log_px / samples as f64, kl: row.kl });
        });
    }

    /// Each row's importance-sampled log p(x) in nats, log (1/S) Σ p(x, z_s) / q(z_s|x), and its bounds by fewer samples:
    /// `out(r, bounds)`, in order of rows (Burda, Grosse and Salakhutdinov 2016, eq. 8). A lower bound in expectation, that
    /// rises with S. Sample s of row r draws from `draw` by (r, s) alone, so results depend neither on threads nor on how
    /// rows fall into blocks. Panics when there are no samples.
    ///
    /// log p(x|z) is a sum in `F`, and so are log p(z) and log q(z|x) where they have no closed form: under learned priors, posteriors that
    /// are flows, and levels below z. Their differences, and the sum of weights, are f64.
    pub fn importance(
        &mut self,
        rows: usize,
        fill: &(impl Fn(usize, &mut [F]) + Sync),
        draw: &Draw,
        samples: usize,
        mut out: impl FnMut(usize, &ImportanceBounds) + Send,
    ) {
        self.each_sampled(rows, fill, draw, samples, |r, row| out(r, &row.bounds));
    }

    /// Gives `out(r, row)` what the draws of each row say.
    fn each_sampled(
        &mut self,
        rows: usize,
        fill: &(impl Fn(usize, &mut [F]) + Sync),
        draw: &Draw,
        samples: usize,
        mut out: impl FnMut(usize, &Row) + Send,
    ) {
        self.check_exemplars();
        let (vae, p, isa, table) = (self.vae, self.params, self.ex.isa(), self.table.as_ref());
        let (seen, closed) = (self.seen, vae.config().closed_form());
        let pass = |first: usize, sampled: &mut Sampled<F>| {
            start();
            let b = &mut sampled.block;
            seen.load(isa, b, first, fill);
            lap(Stage::Gather, None);
            vae.encode(isa, p, b);
            if closed {
                vae.kl(isa, b);
            }
            sampled.restart(samples, closed);
            for s in (0..samples).step_by(SAMPLES) {
                let b = &mut sampled.block;
                b.samples = SAMPLES.min(samples - s);
                b.draw(draw, first, s);
                lap(Stage::Noise, None);
                vae.sample(isa, p, b);
                vae.decode(isa, p, b);
                vae.log_px(isa, p, b);
                sampled.add(isa, p, vae, table);
                lap(Stage::Latent, None);
            }
        };
        // With many draws a row is much work: threads share even a few rows evenly.
        let rows = Rows { block: ROWS, unit: if samples < SAMPLES { ROWS } else { 1 }, ..self.rows(rows, 1 + samples) };
        if self.sampled.is_empty() {
            self.sampled = (0..self.ex.workers()).map(|_| Sampled::new(vae)).collect();
            self.sampled.iter_mut().for_each(|sampled| seen.prepare(vae, &mut sampled.block));
        }
        sweep(self.ex, &mut self.sampled, rows, pass, |first, sampled| {
            for (r, row) in sampled.rows[..sampled.block.rows].iter().enumerate() {
                out(first + r, row);
            }
        });
    }
}
