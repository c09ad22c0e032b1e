//! Batch normalization, with the activation after it (Ioffe and Szegedy 2015, arXiv:1502.03167, algorithms 1 and 2).
//!
//! ```text
//! m = mean_r X      v = mean_r (X − m)²      i = (v + ε)^−½      X̂ = (X − m) i      A = X̂ ⊙ g + b      Y = f(A)      by column
//! dA = dY ⊙ f'(A)      dg = Σ_r dA ⊙ X̂      db = Σ_r dA
//! dX = g i (dA − mean_r dA − X̂ mean_r (dA ⊙ X̂))
//! ```
//!
//! r goes over the rows of the whole batch, which are in many blocks: a step goes through a network [part by part](Layer::parts), and
//! between two parts stands a [`Meeting`], which sums the columns of all blocks. Sums are in f64 in the order of rows, the
//! variance's around the mean, so that no bit depends on threads or blocks.
//!
//! At rest, as a model is used, m and v are constants: their running averages, m̄ ← 0.9 m̄ + 0.1 m and v̄ ← 0.9 v̄ + 0.1 v N / (N − 1) of the
//! batches trained on, and dX = g i dA. So is a last batch trained on that is shorter than the others and than 8 rows, and averages do not
//! follow it. ε = 1e-5, the decay 0.9 and the names `weight` (g), `bias` (b), `running_mean` and `running_var` are PyTorch's (`BatchNorm1d`).

use super::{Activation, Cache, Gradient, Init, Layer, Sides};
use crate::tensor::profile::{Stage, lap, start};
use crate::tensor::{Buffer, Isa, Layout, Mat, Par, Params, Real, Slot};
use elbo_kernels::activation;
use elbo_kernels::par::for_each_mut;

const EPSILON: f64 = 1e-5;
/// Rows that a last, shorter batch needs for its own mean and variance: of 8 the variance is known to a half (√(2/7)), of 2 it leaves 1 and
/// −1 whatever they were. With fewer, layers stay at rest.
pub(crate) const FEWEST_ROWS: usize = 8;
/// What a running average keeps in a step.
const DECAY: f64 = 0.9;

/// `Y = f(X̂ ⊙ g + b)`, X̂ the columns of X with mean 0 and variance 1 over the batch.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    gain: Slot,
    bias: Slot,
    /// Of the layout's statistics.
    running: [Slot; 2],
    activation: Activation,
}

/// X, then X̂; dA; dA ⊙ X̂; m, i, mean dA and mean dA ⊙ X̂, a row each; and A, where the activation's derivative asks for it.
const NORMAL: usize = 0;
const D_A: usize = 1;
const D_GAIN: usize = 2;
const MOMENTS: usize = 3;
const A: usize = 4;

impl BatchNorm {
    /// Adds `weight` (the gain, at first 1) and `bias` (0) to the layout, and `running_mean` (0) and `running_var` (1) to its
    /// statistics.
    pub fn new(layout: &mut Layout, columns: usize, activation: Activation) -> Self {
        BatchNorm {
            gain: layout.vector("weight", columns, Init::Constant(1.0)),
            bias: layout.vector("bias", columns, Init::Constant(0.0)),
            running: [("running_mean", 0.0), ("running_var", 1.0)]
                .map(|(name, start)| layout.statistic(name, columns, Init::Constant(start))),
            activation,
        }
    }
    /// Takes the running averages for the batch's own, and so no derivative by them.
    fn rest<F: Real>(&self, p: &Params<F>, cache: &mut Cache<F>) {
        let columns = self.gain.cols();
        let [mean, variance] = self.running.map(|slot| &p.statistics().slot(&slot)[..columns]);
        let mut moments = cache.buffers[MOMENTS].rows_mut(4);
        moments.row(0).copy_from_slice(mean);
        let each = moments.row(1).iter_mut().zip(variance);
        each.for_each(|(inverse, v)| *inverse = inverse_deviation(v.to_f64()));
        moments.row(2).fill(F::ZERO);
        moments.row(3).fill(F::ZERO);
    }
    /// From X and its moments to Y.
    fn normalise<F: Real>(&self, isa: Isa, p: &Params<F>, rows: usize, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        let columns = self.gain.cols();
        let (gain, bias) = (&p.slot(&self.gain)[..columns], &p.slot(&self.bias)[..columns]);
        let (normal, rest) = cache.buffers.split_at_mut(D_A);
        let (moments, rest) = rest[MOMENTS - D_A..].split_at_mut(1);
        let (mean, inverse) = (moments[0].rows(4).row(0), moments[0].rows(4).row(1));
        let (mut normal, mut a) = (normal[NORMAL].rows_mut(rows), y.rows_mut(rows));
        for r in 0..rows {
            let of_batch = mean.iter().zip(inverse).zip(gain.iter().zip(bias));
            for ((normal, a), ((&mean, &inverse), (&gain, &bias))) in
                normal.row(r).iter_mut().zip(a.row(r)).zip(of_batch)
            {
                *normal = (*normal - mean) * inverse;
                *a = *normal * gain + bias;
            }
        }
        if let Some(a) = rest.first_mut() {
            a.flat_mut(rows).copy_from_slice(y.flat(rows));
        }
        activation::forward(isa, self.activation, y.flat_mut(rows));
        lap(Stage::Activation, Some(&self.gain));
    }
    /// From dY to dA and dA ⊙ X̂.
    fn derive<F: Real>(&self, isa: Isa, rows: usize, y: &Buffer<F>, dy: &mut Buffer<F>, cache: &mut Cache<F>) {
        if self.activation != Activation::Identity {
            let at = cache.buffers.get(A).unwrap_or(y);
            activation::backward(isa, self.activation, at.flat(rows), dy.flat_mut(rows));
        }
        let [normal, d_a, d_gain, ..] = &mut cache.buffers[..] else { unreachable!("four buffers") };
        d_a.flat_mut(rows).copy_from_slice(dy.flat(rows));
        let each = d_gain.flat_mut(rows).iter_mut().zip(dy.flat(rows)).zip(normal.flat(rows));
        each.for_each(|((d_gain, &da), &normal)| *d_gain = da * normal);
        lap(Stage::Activation, Some(&self.gain));
    }
    /// From dA and its means to dX.
    fn pass_on<F: Real>(&self, p: &Params<F>, rows: usize, dx: &mut Buffer<F>, cache: &Cache<F>) {
        let gain = &p.slot(&self.gain)[..self.gain.cols()];
        let (normal, d_a) = (cache.buffers[NORMAL].rows(rows), cache.buffers[D_A].rows(rows));
        let [inverse, centre, slope] = [1, 2, 3].map(|i| cache.buffers[MOMENTS].rows(4).row(i));
        let mut dx = dx.rows_mut(rows);
        for r in 0..rows {
            let of_batch = inverse.iter().zip(gain).zip(centre.iter().zip(slope));
            let each = dx.row(r).iter_mut().zip(d_a.row(r).iter().zip(normal.row(r))).zip(of_batch);
            each.for_each(|((dx, (&da, &normal)), ((&inverse, &gain), (&centre, &slope)))| {
                *dx = (da - centre - normal * slope) * (gain * inverse);
            });
        }
        lap(Stage::Activation, Some(&self.gain));
    }
}

fn inverse_deviation<F: Real>(variance: f64) -> F {
    F::from_f64((variance + EPSILON).sqrt().recip())
}

impl<F: Real> Layer<F> for BatchNorm {
    fn inputs(&self) -> usize {
        self.gain.cols()
    }
    fn outputs(&self) -> usize {
        self.gain.cols()
    }
    fn cache(&self, rows: usize) -> Cache<F> {
        let wide = || Buffer::new(rows, self.gain.cols());
        let mut buffers = vec![wide(), wide(), wide(), Buffer::new(4, self.gain.cols())];
        buffers.extend(self.activation.needs_input().then(wide));
        Cache { buffers, children: vec![] }
    }
    fn parts(&self) -> usize {
        2
    }
    fn meetings(&self) -> Vec<Meeting> {
        vec![Meeting::new(self)]
    }
    /// At rest.
    fn forward(&self, isa: Isa, p: &Params<F>, x: Mat<F>, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        self.rest(p, cache);
        self.forward_part(0, isa, p, x, y, cache);
        self.forward_part(1, isa, p, x, y, cache);
    }
    fn forward_part(&self, part: usize, isa: Isa, p: &Params<F>, x: Mat<F>, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        if part == 1 {
            return self.normalise(isa, p, x.rows(), y, cache);
        }
        let mut normal = cache.buffers[NORMAL].rows_mut(x.rows());
        (0..x.rows()).for_each(|r| normal.row(r).copy_from_slice(x.row(r)));
    }
    fn backward_rows(
        &self,
        isa: Isa,
        p: &Params<F>,
        x: Mat<F>,
        y: &Buffer<F>,
        dy: &mut Buffer<F>,
        dx: Option<&mut Buffer<F>>,
        cache: &mut Cache<F>,
    ) {
        self.backward_part(1, isa, p, x, y, dy, None, cache);
        self.backward_part(0, isa, p, x, y, dy, dx, cache);
    }
    fn backward_part(
        &self,
        part: usize,
        isa: Isa,
        p: &Params<F>,
        x: Mat<F>,
        y: &Buffer<F>,
        dy: &mut Buffer<F>,
        dx: Option<&mut Buffer<F>>,
        cache: &mut Cache<F>,
    ) {
        match (part, dx) {
            (1, _) => self.derive(isa, x.rows(), y, dy, cache),
            (_, Some(dx)) => self.pass_on(p, x.rows(), dx, cache),
            (_, None) => {}
        }
    }
    fn gradient<'a>(&self, slot: Slot, x: Mat<'a, F>, dy: Mat<'a, F>, cache: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        match slot {
            s if s == self.gain => Some(Gradient::Sum(cache.buffers[D_GAIN].rows(x.rows()))),
            s if s == self.bias => Some(Gradient::Sum(dy)),
            _ => None,
        }
    }
    fn kinks(&self, rows: usize, y: &Buffer<F>, _: &Cache<F>, sides: &mut Sides) {
        if self.activation.kink().is_some() {
            sides.signs(rows, y);
        }
    }
}

/// Where the rows of a batch meet on their way through layers: at one batch normalization, with what it counts of them.
#[derive(Clone, Debug)]
pub struct Meeting {
    norm: BatchNorm,
    /// Where the layer's cache is in that of the layers: the child of the child…
    path: Vec<usize>,
    columns: Vec<Columns>,
    /// Rows of the batch; none that have no variance.
    rows: usize,
}

/// Columns that one thread sums at once.
const WIDTH: usize = 32;

/// Some neighbouring columns, and of each mean and variance of X, mean of dA and of dA ⊙ X̂.
#[derive(Clone, Debug)]
struct Columns {
    first: usize,
    count: usize,
    moments: [[f64; WIDTH]; 4],
}

impl Columns {
    /// The mean over so many rows of `f(x, column)`, of each column of matrices one below the other.
    fn mean<'a, F: Real>(
        &self,
        rows: usize,
        matrices: impl Iterator<Item = Mat<'a, F>>,
        f: impl Fn(f64, usize) -> f64,
    ) -> [f64; WIDTH] {
        let mut sums = [0.0; WIDTH];
        for x in matrices {
            for r in 0..x.rows() {
                let x = &x.row(r)[self.first..][..self.count];
                sums.iter_mut().zip(x).enumerate().for_each(|(c, (sum, x))| *sum += f(x.to_f64(), c));
            }
        }
        sums.map(|sum| sum / rows as f64)
    }
}

/// One of the matrices of the layer at `path`, of each block.
fn matrices<'b, F: Real, B>(
    which: usize,
    path: &[usize],
    blocks: &'b [B],
    of: &impl Fn(&'b B) -> (&'b Cache<F>, usize),
) -> impl Iterator<Item = Mat<'b, F>> {
    blocks.iter().map(move |b| {
        let (cache, rows) = of(b);
        path.iter().fold(cache, |cache, child| &cache.children[*child]).buffers[which].rows(rows)
    })
}

impl Meeting {
    fn new(norm: &BatchNorm) -> Self {
        let all = norm.gain.cols();
        let columns = |first| Columns { first, count: WIDTH.min(all - first), moments: [[0.0; WIDTH]; 4] };
        let columns = (0..all).step_by(WIDTH).map(columns).collect();
        Meeting { norm: norm.clone(), path: vec![], columns, rows: 0 }
    }
    /// The same, of layers of which the one that has it is child `child`.
    #[must_use]
    pub fn within(mut self, child: usize) -> Self {
        self.path.insert(0, child);
        self
    }
    /// Before the part after it: counts mean and variance of the batch's rows, which are in `blocks`; `of` gives the layers' cache of a
    /// block, and its rows. Of a batch with too `few` rows for a variance it counts nothing: its layers stay at rest.
    pub fn count<'b, F: Real, B: Sync>(
        &mut self,
        par: Par,
        few: bool,
        blocks: &'b [B],
        of: impl Fn(&'b B) -> (&'b Cache<F>, usize) + Sync,
    ) {
        self.rows = if few { 0 } else { blocks.iter().map(|b| of(b).1).sum() };
        self.each(par, |columns, path, rows| {
            let mean = columns.mean(rows, matrices(NORMAL, path, blocks, &of), |x, _| x);
            columns.moments[0] = mean;
            let from_mean = |x, c: usize| (x - mean[c]) * (x - mean[c]);
            columns.moments[1] = columns.mean(rows, matrices(NORMAL, path, blocks, &of), from_mean);
        });
    }
    /// Before the way back through the part before it: counts the means of dA and dA ⊙ X̂.
    pub fn count_back<'b, F: Real, B: Sync>(
        &mut self,
        par: Par,
        blocks: &'b [B],
        of: impl Fn(&'b B) -> (&'b Cache<F>, usize) + Sync,
    ) {
        self.each(par, |columns, path, rows| {
            columns.moments[2] = columns.mean(rows, matrices(D_A, path, blocks, &of), |da, _| da);
            columns.moments[3] = columns.mean(rows, matrices(D_GAIN, path, blocks, &of), |d_gain, _| d_gain);
        });
    }
    /// Calls `f(columns, path, rows)` for all columns, each on one thread, if rows have been counted.
    fn each(&mut self, par: Par, f: impl Fn(&mut Columns, &[usize], usize) + Sync) {
        let Meeting { norm, path, columns, rows } = self;
        if *rows == 0 {
            return;
        }
        let (gain, path, rows) = (norm.gain, &path[..], *rows);
        for_each_mut(par, columns, |_, columns| {
            start();
            f(columns, path, rows);
            lap(Stage::Activation, Some(&gain));
        });
    }
    /// Tells one block's layers what has been counted.
    pub fn tell<F: Real>(&self, p: &Params<F>, cache: &mut Cache<F>) {
        let cache = self.path.iter().fold(cache, |cache, child| &mut cache.children[*child]);
        if self.rows == 0 {
            return self.norm.rest(p, cache);
        }
        let mut to = cache.buffers[MOMENTS].rows_mut(4);
        for Columns { first, count, moments } in &self.columns {
            for (i, moment) in moments.iter().enumerate() {
                let to = to.row(i)[*first..][..*count].iter_mut().zip(moment);
                to.for_each(|(to, &x)| *to = if i == 1 { inverse_deviation(x) } else { F::from_f64(x) });
            }
        }
    }
    /// Moves the running averages a tenth of the way to what has been counted. Nothing happens after a batch of too few.
    pub fn follow<F: Real>(&self, p: &mut Params<F>) {
        if self.rows == 0 {
            return;
        }
        let rows = self.rows as f64;
        for Columns { first, count, moments } in &self.columns {
            // The batch's own variance is the biased one; in use stands the unbiased.
            for (slot, moments, scale) in
                [(self.norm.running[0], &moments[0], 1.0), (self.norm.running[1], &moments[1], rows / (rows - 1.0))]
            {
                for (c, moment) in moments[..*count].iter().enumerate() {
                    let before = p.statistics().get(&slot, 0, first + c).to_f64();
                    let after = DECAY * before + (1.0 - DECAY) * (scale * moment);
                    p.statistics_mut().set(&slot, 0, first + c, F::from_f64(after));
                }
            }
        }
    }
}
