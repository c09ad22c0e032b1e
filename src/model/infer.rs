//! A trained model at work: encode, decode and score, in blocks of rows on every thread.

use super::importance::Sampled;
use super::sweep::{Rows, sweep};
use super::{Block, Corruption, Draw, FlowSampler, ModelPrior, PriorSampler, PriorTable, StackedSampler, Stats, Vae};
use crate::error::{Error, Result};
use crate::estimator::Estimator;
use crate::tensor::{Exec, Isa, Params, Precision, Real};
use ndarray::{Array2, ArrayView2, ArrayViewMut1, ArrayViewMut2};
use std::sync::atomic::AtomicBool;

/// Rows of a block, as in training.
const BLOCK_ROWS: usize = 64;

/// What a row costs under the model, in nats: reconstruction + KL. Over draws of the posterior that is −ELBO. At its mean, a
/// function of the row alone, it is a figure to compare rows by, and no bound.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Score {
    /// −log p(x | z), in nats: at the posterior's mean, or the mean over draws.
    pub reconstruction: f64,
    /// KL(q(z|x) ‖ p(z)), in nats, of all levels that there are. Without draws, [an upper bound](crate::density::Components::kl_bound) on it of a mixture prior, and
    /// an estimate of a [flow](super::FlowPrior) or of more stochastic layers, [above](super::StackedPrior) z or
    /// [below](super::Lower).
    pub kl: f64,
}

impl Score {
    /// reconstruction + KL.
    pub fn neg_elbo(&self) -> f64 {
        self.reconstruction + self.kl
    }
}

/// A model with its parameters, ready to be used on any number of rows. Its memory is allocated once.
#[derive(Debug)]
pub struct Inference<'m, F> {
    pub(super) vae: &'m Vae,
    pub(super) params: &'m Params<F>,
    pub(super) ex: &'m Exec,
    /// Of a mixture prior.
    pub(super) table: Option<PriorTable<F>>,
    blocks: Vec<Block<F>>,
    pub(super) seen: Seen,
    stop: Option<&'m AtomicBool>,
    /// Blocks of many samples a row, made when they are first asked for.
    many: Vec<Block<F>>,
    /// Made when draws are first asked for.
    pub(super) sampled: Vec<Sampled<F>>,
}

/// What the encoder sees of the rows, if that is something else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen(Option<(Corruption, Draw)>);

impl Seen {
    /// Room for it in a block.
    pub fn prepare<F: Real>(self, vae: &Vae, b: &mut Block<F>) {
        b.see(vae, self.0.map_or(Corruption::None, |(corruption, _)| corruption));
    }
    /// A block's rows, and what is seen of them.
    pub fn load<F: Real>(self, isa: Isa, b: &mut Block<F>, first: usize, fill: &impl Fn(usize, &mut [F])) {
        b.load(isa, first, fill);
        if let Some((corruption, draw)) = self.0 {
            b.corrupt(isa, corruption, &draw, first);
        }
    }
}

impl<'m, F: Real> Inference<'m, F> {
    /// Memory for the threads of `ex`, and the components of a mixture prior. Make one and keep it: a program that does so for as
    /// long as it runs lends it a model that lives as long (`Box::leak`). Panics when the parameters are not the network's.
    pub fn new(vae: &'m Vae, params: &'m Params<F>, ex: &'m Exec) -> Self {
        assert!(params.layout() == vae.layout(), "the parameters are those of another network");
        let block = || {
            let mut block = Block::new(vae, BLOCK_ROWS, 1);
            // A product in bf16 would not use them.
            if params.precision() == Precision::Bf16 {
                block.dense();
            }
            block
        };
        let blocks = (0..ex.workers()).map(|_| block()).collect();
        Inference {
            vae,
            params,
            ex,
            table: vae.components(ex.isa(), params),
            blocks,
            seen: Seen(None),
            many: Vec::new(),
            sampled: Vec::new(),
            stop: None,
        }
    }

    /// With these exemplars, the encoder's means of all of them, (N, L); for a network that does not
    /// [know](Vae::with_exemplars) them, or other ones. Panics when the prior is not made of exemplars.
    #[must_use]
    pub fn with_exemplars(mut self, means: &Array2<f32>) -> Self {
        self.table = Some(self.vae.exemplar_table(self.params, means));
        self
    }
    /// Whether p(z) is known: a prior of exemplars has been given them. Encoding and decoding do without.
    ///
    /// # Errors
    /// What is missing.
    pub fn check_prior(&self) -> Result<()> {
        let prior = self.vae.config().prior;
        match self.table.is_none() && prior.is_exemplar() {
            false => Ok(()),
            true => Err(Error::input(format!("the exemplars of the prior {prior} are missing"))
                .hint("Trainer::trained() is the network with them; Vae::with_exemplars gives it others")),
        }
    }
    /// The same for callers whose own has asked. Panics where it is not.
    pub(super) fn check_exemplars(&self) {
        self.check_prior().unwrap_or_else(|e| panic!("{e}"));
    }

    /// Leaves a sweep over rows unfinished once `stop` is set; its caller looks whether that has happened.
    #[must_use]
    pub fn until(mut self, stop: Option<&'m AtomicBool>) -> Self {
        self.stop = stop;
        self
    }

    /// Lets the encoder see rows corrupted: row `r` by the noise of `draw` for row `r`. What is decoded is compared with the rows as
    /// they are. It is said before rows are given.
    #[must_use]
    pub fn corrupted(mut self, corruption: Corruption, draw: Draw) -> Self {
        self.seen = Seen((corruption != Corruption::None).then_some((corruption, draw)));
        self.blocks.iter_mut().for_each(|b| self.seen.prepare(self.vae, b));
        self
    }

    /// The network.
    pub fn vae(&self) -> &'m Vae {
        self.vae
    }

    /// Its threads.
    pub fn exec(&self) -> &'m Exec {
        self.ex
    }

    /// What draws from the prior; where that follows a condition, the noise of [`condition_draws`](Self::condition_draws).
    pub fn prior_sampler(&self) -> PriorSampler<'m, F> {
        self.check_exemplars();
        let (p, isa) = (self.params, self.ex.isa());
        match self.vae.prior() {
            ModelPrior::StandardNormal(_) | ModelPrior::Conditional(_) => PriorSampler::StandardNormal,
            ModelPrior::Mixture(_) => match PriorTable::of(self.table.as_ref()) {
                PriorTable::Components(components) => PriorSampler::Mixture(components.clone()),
                PriorTable::Exemplars(exemplars) => PriorSampler::Exemplars(exemplars.clone()),
            },
            ModelPrior::Flow(prior) => PriorSampler::Flow(FlowSampler::new(prior, p, isa)),
            ModelPrior::Stacked(prior) => PriorSampler::Stacked(StackedSampler::new(prior, p, isa)),
        }
    }

    /// Rows of which each goes through half of the network `halves` times: two operations a weight, where a training
    /// step takes about six.
    pub(super) fn rows(&self, count: usize, halves: usize) -> Rows<'m> {
        let flops = self.vae.flops() / 6.0 * halves as f64;
        Rows { count, block: BLOCK_ROWS, unit: 8, flops, stop: self.stop }
    }

    /// Encodes `rows` rows, which `fill(r, x)` writes (as [x | c] for a conditional model, here and below), and gives
    /// `out(r, mean, log_variance)` each row's posterior, latent by latent: of z, where there are [levels below
    /// it](super::Lower). Of a flow the mean is that of its base, taken through
    /// the flow, and log-variances are NaN.
    pub fn encode(
        &mut self,
        rows: usize,
        fill: &(impl Fn(usize, &mut [F]) + Sync),
        mut out: impl FnMut(usize, &[F], &[F]) + Send,
    ) {
        let vae = self.vae;
        self.encode_blocks(rows, fill, |first, b| {
            for r in 0..b.rows {
                let (mean, log_variance) = vae.marginals_of(b, r);
                out(first + r, mean, log_variance);
            }
        });
    }

    /// Encodes rows as [`encode`](Self::encode), and gives `out(r, shift)` how far each row's posterior mean lies from its prior's,
    /// in the prior's standard deviations: the mean itself, unless the prior follows a condition.
    pub fn shifts(
        &mut self,
        rows: usize,
        fill: &(impl Fn(usize, &mut [F]) + Sync),
        mut out: impl FnMut(usize, &[F]) + Send,
    ) {
        let vae = self.vae;
        let mut shift = vec![F::ZERO; vae.config().latent];
        self.encode_blocks(rows, fill, |first, b| {
            for r in 0..b.rows {
                let (mean, _) = vae.marginals_of(b, r);
                let ModelPrior::Conditional(_) = vae.prior() else {
                    out(first + r, mean);
                    continue;
                };
                let (of, log_variance) = b.rho().row(r).split_at(shift.len());
                for (shift, ((q, p), v)) in shift.iter_mut().zip(mean.iter().zip(of).zip(log_variance)) {
                    *shift = F::from_f64((q.to_f64() - p.to_f64()) * (-0.5 * v.to_f64()).exp());
                }
                out(first + r, &shift);
            }
        });
    }

    fn encode_blocks(
        &mut self,
        rows: usize,
        fill: &(impl Fn(usize, &mut [F]) + Sync),
        done: impl FnMut(usize, &Block<F>) + Send,
    ) {
        let (vae, p, isa, seen) = (self.vae, self.params, self.ex.isa(), self.seen);
        let pass = |first, b: &mut Block<F>| {
            seen.load(isa, b, first, fill);
            vae.encode_z(isa, p, b);
            vae.marginals(isa, p, b);
        };
        let rows = self.rows(rows, 1);
        sweep(self.ex, &mut self.blocks, rows, pass, done);
    }

    /// The posterior's mean of each row: `x` is (n, D), or [x | c] of a conditional model, `means` (n, L). Panics when the
    /// shapes do not fit the model.
    pub fn encode_into(&mut self, x: ArrayView2<F>, mut means: ArrayViewMut2<F>) {
        let (inputs, latent) = (self.vae.config().row_cols(), self.vae.config().latent);
        assert!(
            x.ncols() == inputs && means.dim() == (x.nrows(), latent),
            "encode: x {:?}, means {:?} of a model of {inputs} columns and {latent} latents",
            x.dim(),
            means.dim()
        );
        self.encode(x.nrows(), &rows_of(x), |r, mean, _| assign(means.row_mut(r), mean));
    }

    /// The mean of x for each latent: `z` is (n, L), or [z | c] of a conditional model, `means` (n, D). Panics when the
    /// shapes do not fit the model.
    pub fn decode_into(&mut self, z: ArrayView2<F>, mut means: ArrayViewMut2<F>) {
        let (inputs, latent) = (self.vae.config().inputs, self.vae.config().code_cols());
        assert!(
            z.ncols() == latent && means.dim() == (z.nrows(), inputs),
            "decode: z {:?}, means {:?} of a model of {latent} latents and {inputs} columns",
            z.dim(),
            means.dim()
        );
        self.decode(z.nrows(), &rows_of(z), |r, _, mean| assign(means.row_mut(r), mean));
    }

    /// Decodes `rows` latents, which `fill(r, z)` writes, and gives `out(r, eta, mean)` each row's likelihood parameters
    /// and the mean of x. Where there are [levels below z](super::Lower), each is at the mean of p(z_l|z_{l+1}).
    pub fn decode(
        &mut self,
        rows: usize,
        fill: &(impl Fn(usize, &mut [F]) + Sync),
        out: impl FnMut(usize, &[F], &[F]) + Send,
    ) {
        let (vae, p, isa) = (self.vae, self.params, self.ex.isa());
        let pass = |first: usize, b: &mut Block<F>| {
            b.load_latents(first, fill);
            b.rest_below();
            vae.descend(isa, p, b);
        };
        self.decode_after(self.rows(rows, 1), pass, out);
    }

    /// The same with draws at the levels below z, deviations multiplied by a temperature: row `r` draws from `draw` by r alone.
    pub fn generate(
        &mut self,
        rows: usize,
        fill: &(impl Fn(usize, &mut [F]) + Sync),
        (draw, temperature): (&Draw, f64),
        out: impl FnMut(usize, &[F], &[F]) + Send,
    ) {
        let (vae, p, isa) = (self.vae, self.params, self.ex.isa());
        let pass = |first: usize, b: &mut Block<F>| {
            b.load_latents(first, fill);
            b.draw_below(draw, first, 0, temperature);
            vae.descend(isa, p, b);
        };
        self.decode_after(self.rows(rows, 1), pass, out);
    }

    /// Encodes rows and decodes the posterior's mean, at every level that there is: `out(r, eta, mean)`.
    pub fn reconstruct(
        &mut self,
        rows: usize,
        fill: &(impl Fn(usize, &mut [F]) + Sync),
        out: impl FnMut(usize, &[F], &[F]) + Send,
    ) {
        let (vae, p, isa, seen) = (self.vae, self.params, self.ex.isa(), self.seen);
        let pass = |first, b: &mut Block<F>| {
            seen.load(isa, b, first, fill);
            vae.encode(isa, p, b);
            vae.centre_all(isa, p, b);
        };
        self.decode_after(self.rows(rows, 2), pass, out);
    }

    fn decode_after(
        &mut self,
        rows: Rows<'_>,
        latents: impl Fn(usize, &mut Block<F>) + Sync,
        mut out: impl FnMut(usize, &[F], &[F]) + Send,
    ) {
        let (vae, p, isa) = (self.vae, self.params, self.ex.isa());
        let likelihood = vae.likelihood::<F>();
        let pass = |first, b: &mut Block<F>| {
            latents(first, b);
            vae.decode(isa, p, b);
            // x is not needed any more, and has the mean's shape.
            likelihood.mean(isa, p, b.out.rows(b.rows), b.x.rows_mut(b.rows));
        };
        sweep(self.ex, &mut self.blocks, rows, pass, |first, b| {
            for r in 0..b.rows {
                out(first + r, b.out.rows(b.rows).row(r), b.x.rows(b.rows).row(r));
            }
        });
    }

    /// Each row's score at the posterior's mean, with no random draw. Panics of a model whose KL [has no such
    /// figure](crate::model::VaeConfig::kl_without_draws).
    pub fn score(
        &mut self,
        rows: usize,
        fill: &(impl Fn(usize, &mut [F]) + Sync),
        mut out: impl FnMut(usize, Score) + Send,
    ) {
        self.check_exemplars();
        let (vae, p, isa, table) = (self.vae, self.params, self.ex.isa(), self.table.as_ref());
        assert!(vae.config().kl_without_draws(), "a score without draws of {:?}", vae.config());
        let seen = self.seen;
        let pass = |first, b: &mut Block<F>| {
            seen.load(isa, b, first, fill);
            vae.encode(isa, p, b);
            vae.centre_all(isa, p, b);
            vae.decode(isa, p, b);
            vae.log_px(isa, p, b);
            vae.kl_for(isa, p, b, table);
        };
        let rows = self.rows(rows, 2);
        sweep(self.ex, &mut self.blocks, rows, pass, |first, b| each_score(first, b, &mut out));
    }

    /// The terms of the ELBO over all rows, with one draw of z a row.
    pub fn elbo(&mut self, rows: usize, fill: &(impl Fn(usize, &mut [F]) + Sync), draw: &Draw) -> Stats {
        self.check_exemplars();
        let (vae, p, isa, table) = (self.vae, self.params, self.ex.isa(), self.table.as_ref());
        let (seen, mut stats) = (self.seen, Stats::new(vae.kl_parts()));
        let pass = |first, b: &mut Block<F>| {
            seen.load(isa, b, first, fill);
            b.draw(draw, first, 0);
            vae.forward_any(isa, p, b, table);
            vae.log_px(isa, p, b);
        };
        let rows = self.rows(rows, 2);
        sweep(self.ex, &mut self.blocks, rows, pass, |_, b| stats.add_block(b, None));
        stats
    }

    /// The terms and the value of an objective over all rows, with as many draws of z a row as it has samples; `beta` is
    /// the weight of its KL.
    pub fn objective(
        &mut self,
        rows: usize,
        fill: &(impl Fn(usize, &mut [F]) + Sync),
        draw: &Draw,
        estimator: &dyn Estimator<F>,
        beta: f64,
    ) -> Stats {
        self.check_exemplars();
        // Of many samples, a few rows are as many latents as a block is made for.
        let unit = if estimator.samples() < BLOCK_ROWS { 8 } else { 1 };
        let (vae, p, isa, samples) = (self.vae, self.params, self.ex.isa(), estimator.samples());
        let block = (BLOCK_ROWS / samples).next_multiple_of(unit).max(unit);
        if self.many.first().is_none_or(|b| b.samples != samples) {
            self.many = (0..self.ex.workers()).map(|_| Block::new(vae, block, samples)).collect();
            self.many.iter_mut().for_each(|b| self.seen.prepare(vae, b));
        }
        let seen = self.seen;
        let (table, mut stats) = (self.table.as_ref(), Stats::new(vae.kl_parts()));
        let pass = |first, b: &mut Block<F>| {
            seen.load(isa, b, first, fill);
            b.draw(draw, first, 0);
            vae.forward_for(isa, p, b, estimator, table);
            vae.log_px(isa, p, b);
        };
        let rows = Rows { block, unit, ..self.rows(rows, 1 + samples) };
        sweep(self.ex, &mut self.many, rows, pass, |_, b| stats.add_block(b, Some((estimator, beta))));
        stats
    }
}

/// Writes rows of a view, whatever its layout.
fn rows_of<F: Real>(x: ArrayView2<'_, F>) -> impl Fn(usize, &mut [F]) + Sync {
    move |r, out| match x.row(r).to_slice() {
        Some(row) => out.copy_from_slice(row),
        None => out.iter_mut().zip(x.row(r)).for_each(|(o, &v)| *o = v),
    }
}

fn assign<F: Real>(mut row: ArrayViewMut1<F>, values: &[F]) {
    match row.as_slice_mut() {
        Some(row) => row.copy_from_slice(values),
        None => row.into_iter().zip(values).for_each(|(o, &v)| *o = v),
    }
}

/// The KL of a block's row, in nats.
pub(super) fn row_kl<F: Real>(b: &Block<F>, r: usize) -> f64 {
    b.terms.kl.rows(b.rows).row(r).iter().map(|x| x.to_f64()).sum()
}

fn each_score<F: Real>(first: usize, b: &Block<F>, out: &mut impl FnMut(usize, Score)) {
    for r in 0..b.rows {
        out(first + r, Score { reconstruction: -b.terms.log_px[r].to_f64(), kl: row_kl(b, r) });
    }
}
