//! Layers: a forward pass and its two backward halves, side by side.
//!
//! *Rows*: [`Layer::forward`] and [`Layer::backward_rows`] need no other row than their own, so a block of rows runs
//! through a whole chain on one thread while it is in cache. *Weights*: the gradient of a parameter needs every row;
//! [`Layer::gradient`] says which two matrices of the rows pass it is made from, and the caller decides which tile of
//! it to compute, on which thread, and where it goes.

mod activation;
mod batch_norm;
mod chain;
mod concat;
mod dense;
mod dropout;
mod gated;
mod init;
mod linear;
mod norm;
mod parallel;
mod residual;

pub use activation::{ACTIVATIONS, activation_name, check_activation, parse_activation};
pub(crate) use batch_norm::FEWEST_ROWS;
pub use batch_norm::{BatchNorm, Meeting};
pub use chain::Chain;
pub use concat::Concat;
pub use dense::Dense;
pub use dropout::Dropout;
pub use gated::Gated;
pub use init::{Init, InitScheme};
pub use linear::Linear;
pub use norm::LayerNorm;
pub use parallel::{Parallel, Part};
pub use residual::Residual;

pub use elbo_kernels::activation::Activation;

use crate::tensor::{Buffer, Isa, Mat, MatMut, Par, Params, Real, Slot};
use elbo_kernels::gemm::{Accum, Transpose, gemm, gemm_scratch};
use ndarray::{Array2, ArrayView1};
use rand_chacha::ChaCha8Rng;
use std::fmt::Debug;

/// What a layer keeps between its passes, for one block of rows.
#[derive(Clone, Debug, Default)]
pub struct Cache<F> {
    /// Matrices of this layer.
    pub buffers: Vec<Buffer<F>>,
    /// What the layers inside it keep.
    pub children: Vec<Cache<F>>,
}

/// How a parameter's gradient is made from what the rows pass left in one block.
#[derive(Clone, Copy, Debug)]
pub enum Gradient<'a, F> {
    /// `Xᵀ dY`, for a weight: `X` is (rows, in) and `dY` (rows, out).
    Product(Mat<'a, F>, Mat<'a, F>),
    /// The sum over rows, for a vector: (rows, out).
    Sum(Mat<'a, F>),
    /// Some of a weight's rows as they are, (rows, out): from row `first` of `of`. The block says nothing of the others.
    Rows {
        /// The first row.
        first: usize,
        /// Rows of the weight.
        of: usize,
        /// The gradient.
        dw: Mat<'a, F>,
    },
}

impl<F: Real> Gradient<'_, F> {
    /// The gradient itself, as files have the parameter: (out, in), or (out, 1) for a vector. For checks and small
    /// networks: it allocates, where a training step makes tiles of it in place.
    pub fn to_array(&self) -> Array2<F> {
        match self {
            Gradient::Product(x, dy) => {
                let (rows, inputs, outputs) = (x.rows(), x.cols(), dy.cols());
                let mut out = Array2::from_elem((outputs, inputs), F::ZERO);
                let mut scratch = vec![F::ZERO; gemm_scratch(rows, inputs)];
                let into = MatMut::new(out.as_slice_mut().unwrap_or_default(), outputs, inputs, inputs);
                let (left, right) = ((Transpose::Yes, *dy), (Transpose::No, *x));
                gemm(Isa::default(), Par::Sequential, left, right, Accum::Replace, into, &mut scratch);
                out
            }
            Gradient::Sum(dy) => {
                Array2::from_shape_fn((dy.cols(), 1), |(c, _)| (0..dy.rows()).map(|r| dy.row(r)[c]).sum())
            }
            Gradient::Rows { first, of, dw } => {
                let mut out = Array2::from_elem((dw.cols(), *of), F::ZERO);
                (0..dw.rows()).for_each(|r| out.column_mut(first + r).assign(&ArrayView1::from(dw.row(r))));
                out
            }
        }
    }
}

/// A differentiable map from rows of [`inputs`](Self::inputs) to rows of [`outputs`](Self::outputs) columns.
pub trait Layer<F: Real>: Debug + Send + Sync {
    /// Columns of its input.
    fn inputs(&self) -> usize;
    /// Columns of its output.
    fn outputs(&self) -> usize;
    /// Memory for a block of `rows` rows. The passes allocate nothing.
    fn cache(&self, rows: usize) -> Cache<F>;
    /// `y = f(x)`: x is (rows, inputs), y (rows, outputs).
    fn forward(&self, isa: Isa, p: &Params<F>, x: Mat<F>, y: &mut Buffer<F>, cache: &mut Cache<F>);
    /// The rows half: turns `dy` into what [`gradient`](Self::gradient) needs and, if asked, replaces `dx` by the
    /// gradient of the input. `y` is what `forward` wrote.
    #[allow(clippy::too_many_arguments, reason = "the arguments of every layer in one order")]
    fn backward_rows(
        &self,
        isa: Isa,
        p: &Params<F>,
        x: Mat<F>,
        y: &Buffer<F>,
        dy: &mut Buffer<F>,
        dx: Option<&mut Buffer<F>>,
        cache: &mut Cache<F>,
    );
    /// How many parts a step's way through it falls into: one, and one more for each of its [meetings](Self::meetings).
    fn parts(&self) -> usize {
        1
    }
    /// Where the rows of a batch meet in it: between two parts, all of them; see [`BatchNorm`].
    fn meetings(&self) -> Vec<Meeting> {
        Vec::new()
    }
    /// A step's `forward` in parts: parts in order, with the meeting before each counted and told of, and the same arguments.
    fn forward_part(&self, _part: usize, isa: Isa, p: &Params<F>, x: Mat<F>, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        self.forward(isa, p, x, y, cache);
    }
    /// The way back through one part, from the last to the first; `dx` is there after the first.
    #[allow(clippy::too_many_arguments, reason = "the arguments of every layer in one order")]
    fn backward_part(
        &self,
        _part: usize,
        isa: Isa,
        p: &Params<F>,
        x: Mat<F>,
        y: &Buffer<F>,
        dy: &mut Buffer<F>,
        dx: Option<&mut Buffer<F>>,
        cache: &mut Cache<F>,
    ) {
        self.backward_rows(isa, p, x, y, dy, dx, cache);
    }
    /// The weights half: what the gradient of a parameter is made from, if the parameter is this layer's.
    fn gradient<'a>(&self, slot: Slot, x: Mat<'a, F>, dy: Mat<'a, F>, cache: &'a Cache<F>) -> Option<Gradient<'a, F>>;
    /// Draws what is random in it for one row of the passes to come, each layer from where the one before it left the generator;
    /// without a generator, puts it to rest, as it is at first and as a model is used.
    fn renew(&self, _row: usize, _rng: Option<&mut ChaCha8Rng>, _cache: &mut Cache<F>) {}
    /// Notes on which side of its kinks each unit of this block is, for a gradient checker.
    fn kinks(&self, _rows: usize, _y: &Buffer<F>, _cache: &Cache<F>, _sides: &mut Sides) {}
}

/// Which side of a kink each unit is on, as a running hash: equal for two points when no kink lies between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sides(u64);

impl Sides {
    /// Notes the side of one unit.
    pub fn sign(&mut self, positive: bool) {
        // FNV-1a's step, one bit at a time.
        self.0 = (self.0 ^ (u64::from(positive) + 1)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    /// Notes the sign of each element of the first `rows` rows.
    pub fn signs<F: Real>(&mut self, rows: usize, y: &Buffer<F>) {
        for r in 0..rows {
            y.rows(rows).row(r).iter().for_each(|&v| self.sign(v > F::ZERO));
        }
    }
}

/// A layer for both scalars: what a model holds.
pub trait AnyLayer: Layer<f32> + Layer<f64> {}
impl<L: Layer<f32> + Layer<f64>> AnyLayer for L {}
