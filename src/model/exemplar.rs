//! The exemplar prior in a step: retrieval-augmented training (Norouzi, Fleet and Norouzi 2020, arXiv:2004.04795, algorithm 1).
//!
//! ```text
//! batch → encoder → means      M of the N rows are drawn; of them, the K nearest to each mean, by means that are remembered
//! their union → encoder → μ_n  → log p(z) = log 1/M' Σ_n N(z; μ_n, e^v I), of M' drawn ones but for the row itself
//! ```
//!
//! What is not in the union counts as too far away to matter, so log p(z) is a lower bound on that of all that were drawn; with K = M,
//! or no K, it is that itself. The exemplars are rows of further blocks: a rows pass goes back through them after the batch, and
//! the weights pass finds them among the other blocks, as it does pseudo-inputs. Whatever is summed over the batch is summed in
//! the order of rows, and the choice is a function of the seed, the step and the means, so that no bit depends on threads.

use super::nearest::Search;
use super::{Block, Draw, PriorTable, Vae, Workspace, load, split};
use crate::density::{Exemplars, GROUP, LeaveOut, PriorKind};
use crate::tensor::profile::{Stage, lap};
use crate::tensor::{Buffer, Exec, Isa, Mat, MatMut, Par, Params, Real, Stream};
use elbo_kernels::par::for_each_mut;
use ndarray::Array2;
use rand::Rng;
use std::fmt;
use std::sync::Arc;

/// Rows of a block of exemplars.
const BLOCK_ROWS: usize = 64;
/// The place of a row that is none of those that exemplars are drawn from.
const ELSEWHERE: u32 = u32::MAX;

/// Writes the row at a place.
type Fill<F> = dyn Fn(usize, &mut [F]) + Send + Sync;

/// The rows that exemplars are drawn from.
#[derive(Clone)]
pub struct ExemplarRows<F> {
    count: usize,
    fill: Arc<Fill<F>>,
}

impl<F> ExemplarRows<F> {
    /// `count` rows, of which `fill(n, x)` writes the one at place n.
    pub fn new(count: usize, fill: impl Fn(usize, &mut [F]) + Send + Sync + 'static) -> Self {
        ExemplarRows { count, fill: Arc::new(fill) }
    }
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }
    /// Writes the row at place `n`, (D).
    pub fn fill(&self, n: usize, x: &mut [F]) {
        (self.fill)(n, x);
    }
}

impl<F> fmt::Debug for ExemplarRows<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows", self.count)
    }
}

/// What a step chooses its exemplars by, and which it chose.
#[derive(Clone, Debug)]
pub(super) struct Retrieval<F> {
    rows: ExemplarRows<F>,
    /// M.
    draws: usize,
    /// K, where that is fewer than are drawn.
    nearest: Option<usize>,
    /// The means of all rows as they were when last encoded, (N, L).
    cache: Buffer<F>,
    /// The place of each row of the batch.
    own: Vec<u32>,
    /// Places that were drawn, and those that are encoded, ascending.
    drawn: Vec<u32>,
    chosen: Vec<u32>,
    /// One for each thread.
    searches: Vec<Search<F>>,
    /// Whether the choice stays what it is, as differences of one function want.
    frozen: bool,
}

impl<F: Real> Retrieval<F> {
    /// Draws M of N places without replacement, a function of seed and step: each is taken with the probability that what is
    /// still wanted has among what is left.
    fn draw(&mut self, draw: &Draw) {
        let mut rng = draw.noise.rng(Stream::Exemplars, draw.step, 0, 0);
        self.drawn.clear();
        for n in 0..self.rows.count {
            let (wanted, left) = (self.draws - self.drawn.len(), self.rows.count - n);
            if rng.random::<f64>() * (left as f64) < wanted as f64 {
                self.drawn.push(n as u32);
            }
        }
    }
    /// Remembers the means of a block's rows, which are at these places.
    fn remember(cache: &mut Buffer<F>, places: &[u32], b: &Block<F>) {
        let (capacity, latent) = (cache.capacity(), cache.cols());
        for (r, &place) in places.iter().enumerate().filter(|(_, place)| **place != ELSEWHERE) {
            let mean = &b.eta.rows(b.rows).row(r)[..latent];
            cache.rows_mut(capacity).row(place as usize).copy_from_slice(mean);
        }
    }
    /// Chooses the exemplars of a batch whose rows have been encoded.
    fn choose(&mut self, isa: Isa, par: Par, draw: &Draw, data: &[Block<F>]) {
        self.draw(draw);
        if self.frozen {
            return;
        }
        let rows = self.own.len();
        for (b, (first, n)) in data.iter().zip(split(rows, data.len())) {
            Self::remember(&mut self.cache, &self.own[first..first + n], b);
        }
        self.chosen.clear();
        let Some(_) = self.nearest else {
            return self.chosen.extend_from_slice(&self.drawn);
        };
        let (own, drawn, cache) = (&self.own, &self.drawn, self.cache.rows(self.rows.count));
        let means = data.iter().zip(split(rows, data.len())).map(|(b, (_, n))| b.eta.rows(n).columns(0, cache.cols()));
        // Whole groups each, so that these are the same whatever the threads.
        let share = drawn.len().div_ceil(self.searches.len()).next_multiple_of(GROUP).max(GROUP);
        for_each_mut(par, &mut self.searches, |i, search| {
            let drawn = drawn.chunks(share).nth(i).unwrap_or_default();
            search.find(isa, means.clone(), own, drawn, cache);
        });
        if let Some((all, others)) = self.searches.split_first_mut() {
            others.iter().for_each(|other| all.merge(other, rows));
            self.chosen.extend(all.found(rows));
        }
        self.chosen.sort_unstable();
        self.chosen.dedup();
    }
    /// Of which exemplars the mixture of the batch's row `r` is.
    fn others(&self, r: usize) -> LeaveOut {
        let drawn = usize::from(self.drawn.binary_search(&self.own[r]).is_ok());
        LeaveOut { own: self.chosen.binary_search(&self.own[r]).ok(), of: self.draws - drawn }
    }
}

impl<F: Real> Workspace<F> {
    /// Prepares for a network whose prior is made of exemplars: memory for as many as a batch may want, and for what is
    /// remembered of `rows`. Where there are fewer than the prior draws, all are drawn. Panics when the prior is another.
    #[must_use]
    pub fn with_exemplars(mut self, vae: &Vae, rows: ExemplarRows<F>, ex: &Exec) -> Self {
        let PriorKind::Exemplar { drawn, nearest } = vae.config().prior else {
            panic!("the prior {} has no exemplars", vae.config().prior)
        };
        let (draws, latent) = (drawn.min(rows.count), vae.config().latent);
        let nearest = nearest.filter(|&count| count < draws);
        let batch: usize = self.data().iter().map(|b| b.eta.capacity()).sum();
        let most = nearest.map_or(draws, |count| draws.min(count.saturating_mul(batch)));
        let least = if ex.isa().is_foreign() { 1 } else { self.threads() };
        let count = most.div_ceil(BLOCK_ROWS).max(least).min(most);
        // Fewer rows are cut at other places, so each block has room for the largest share.
        let capacity = split(most, count).map(|(_, rows)| rows).max().unwrap_or(0);
        self.add_components(vae, (0..count).map(|_| Block::new(vae, capacity, 0)));
        let table = PriorTable::Exemplars(Exemplars::new(most, latent));
        for b in self.data_mut() {
            b.take_exemplars(Some(&table), &[]);
        }
        let block = self.data().iter().map(|b| b.eta.capacity()).max().unwrap_or(0);
        let search = |_| Search::new(batch, block, latent, nearest.unwrap_or(0));
        let retrieval = Retrieval {
            draws,
            nearest,
            cache: Buffer::new(rows.count, latent),
            own: Vec::with_capacity(batch),
            drawn: Vec::with_capacity(draws),
            chosen: Vec::with_capacity(nearest.map_or(draws, |count| count.saturating_mul(batch))),
            searches: if nearest.is_some() { (0..least).map(search).collect() } else { Vec::new() },
            rows,
            frozen: false,
        };
        (self.table, self.retrieval) = (Some(table), Some(Box::new(retrieval)));
        self
    }
    /// Says which rows the next batch is of: `place(r)` is where its row r stands among the rows that exemplars are drawn from, if
    /// it does. Nothing happens under another prior.
    pub fn place(&mut self, rows: usize, place: impl Fn(usize) -> Option<usize>) {
        if let Some(retrieval) = &mut self.retrieval {
            retrieval.own.clear();
            retrieval.own.extend((0..rows).map(|r| place(r).map_or(ELSEWHERE, |n| n as u32)));
        }
    }
    /// The places of the exemplars of the last batch, ascending.
    pub fn exemplars(&self) -> &[u32] {
        self.retrieval.as_ref().map_or(&[], |retrieval| &retrieval.chosen)
    }
    /// The mean of each row as it was when last encoded, (N, L): what the nearest are found by.
    pub fn remembered(&self) -> Option<Mat<'_, F>> {
        self.retrieval.as_ref().map(|retrieval| retrieval.cache.rows(retrieval.rows.count))
    }
    /// The same, to be written.
    pub fn remembered_mut(&mut self) -> Option<MatMut<'_, F>> {
        self.retrieval.as_mut().map(|retrieval| retrieval.cache.rows_mut(retrieval.rows.count))
    }
    /// What the last batch's prior was made of: its components, their blocks, and which exemplars were whose.
    pub(crate) fn prior(&self) -> (Option<&PriorTable<F>>, &[Block<F>], Vec<LeaveOut>) {
        let others = self.data().iter().flat_map(|b| b.others.iter().copied()).collect();
        (self.table.as_ref(), &self.blocks()[self.data().len()..], others)
    }
    /// Keeps the exemplars of the next batches what they are now, or those at the places `chosen`; which are drawn still follows
    /// from the step. For a gradient's check: the choice is a jump of the objective, and the gradient is that between jumps.
    pub fn freeze_exemplars(&mut self, chosen: Option<&[u32]>) {
        if let Some(retrieval) = &mut self.retrieval {
            retrieval.frozen = true;
            if let Some(chosen) = chosen {
                retrieval.chosen.clear();
                retrieval.chosen.extend_from_slice(chosen);
            }
        }
    }
}

impl<F: Real> Block<F> {
    /// Memory for the shares of a table's exemplars, of which each row has `others`; nothing of another prior.
    pub(crate) fn take_exemplars(&mut self, table: Option<&PriorTable<F>>, others: &[LeaveOut]) {
        if let Some(table @ PriorTable::Exemplars(_)) = table {
            self.shares = Buffer::new(self.z.capacity(), table.columns());
            self.others.reserve(self.eta.capacity());
            self.others.extend_from_slice(others);
        }
    }
}

impl Vae {
    /// A mixture prior's components, with the present parameters. Returns what loads and encodes a block of the batch: nothing more,
    /// where the prior is of exemplars, which are chosen by the whole batch's encodings. `trains` says whether outputs are left out.
    #[allow(clippy::too_many_arguments, reason = "a step's inputs, once")]
    pub(super) fn encode_prior<'s, F: Real, X: Fn(usize, &mut [F]) + Sync>(
        &'s self,
        isa: Isa,
        p: &'s Params<F>,
        rows: usize,
        fill: &'s X,
        draw: &'s Draw,
        ws: &mut Workspace<F>,
        trains: bool,
    ) -> impl Fn(usize, &mut Block<F>) + Sync + use<'s, F, X> {
        let (corruption, retrieves) = (ws.corruption, ws.retrieval.is_some());
        let encode = move |first: usize, b: &mut Block<F>| {
            load(isa, b, first, fill, draw, corruption);
            match trains {
                true => self.leave_out(draw, first, b),
                false => self.rest(b),
            }
            self.encode(isa, p, b);
        };
        if retrieves {
            self.retrieve(isa, p, rows, draw, ws, encode);
        } else {
            let (par, components, table) = ws.components();
            self.encode_components(isa, p, par, components, table);
        }
        move |first: usize, b: &mut Block<F>| {
            if !retrieves {
                encode(first, b);
            }
        }
    }

    /// All of a batch's rows encoded and its exemplars chosen and encoded, for what comes after encoding.
    fn retrieve<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        rows: usize,
        draw: &Draw,
        ws: &mut Workspace<F>,
        encode: impl Fn(usize, &mut Block<F>) + Sync,
    ) {
        // Taken out while the other parts of the workspace are at work.
        let Some(mut retrieval) = ws.retrieval.take() else { return };
        assert_eq!(
            retrieval.own.len(),
            rows,
            "rows of a batch that were placed among those that exemplars are drawn from"
        );
        self.each_block(rows, ws, |first, b, _| encode(first, b));
        retrieval.choose(isa, ws.par(), draw, ws.data());
        lap(Stage::Latent, None);
        let mut first = 0;
        for b in ws.data_mut() {
            b.others.clear();
            b.others.extend((first..first + b.rows).map(|r| retrieval.others(r)));
            first += b.rows;
        }
        let (par, components, table) = ws.components();
        let (chosen, count) = (&retrieval.chosen, components.len());
        for (b, (first, n)) in components.iter_mut().zip(split(chosen.len(), count)) {
            (b.first, b.rows) = (first, n);
        }
        for_each_mut(par, components, |_, b| {
            b.load(isa, b.first, &|n, x: &mut [F]| retrieval.rows.fill(chosen[n] as usize, x))
        });
        self.encode_components(isa, p, par, components, table);
        if !retrieval.frozen {
            for b in components.iter() {
                Retrieval::remember(&mut retrieval.cache, &retrieval.chosen[b.first..b.first + b.rows], b);
            }
        }
        ws.retrieval = Some(retrieval);
    }

    /// The way back through a block of exemplars: as [`component_grads`](Self::component_grads).
    pub(super) fn exemplar_grads<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        table: &Exemplars<F>,
        data: &[Block<F>],
        b: &mut Block<F>,
    ) {
        let (n, latent) = (b.rows, self.config().latent);
        let (mut d_eta, mut d_prior) = (b.d_eta.rows_mut(n), b.d_prior[0].rows_mut(n));
        for r in 0..n {
            let (mean, log_variance) = d_eta.row(r).split_at_mut(latent);
            mean.fill(F::ZERO);
            // The encoder's own variance has no part in it.
            log_variance.fill(F::ZERO);
            let shared = &mut d_prior.row(r)[0];
            *shared = F::ZERO;
            for of in data {
                let many = of.many();
                let (z, shares): (Mat<F>, Mat<F>) = (of.z.rows(many), of.shares.rows(many));
                table.exemplar_grad(b.first + r, z, shares, &of.weights.log_pz, mean, shared);
            }
        }
        lap(Stage::Latent, None);
        self.encoder_backward(isa, p, b, false);
    }

    /// The mixture over all exemplars whose means are `means`, (N, L), with the present parameters.
    pub(crate) fn exemplar_table<F: Real>(&self, p: &Params<F>, means: &Array2<f32>) -> PriorTable<F> {
        let means = means.as_standard_layout().mapv(|mean| F::from_f64(f64::from(mean)));
        let mut table = Exemplars::new(means.nrows(), means.ncols());
        let rows = means.rows().into_iter().map(|row| row.to_slice().unwrap_or_default());
        table.replace(self.exemplar_log_variance(p), rows);
        PriorTable::Exemplars(table)
    }
}
