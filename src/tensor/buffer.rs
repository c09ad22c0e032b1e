//! Memory for one matrix of a block of rows, allocated once and used for any number of rows up to its capacity.

use super::Real;
use elbo_kernels::half::{Pair, pair_rows};
use elbo_kernels::{Aligned, Filled, Isa, LANES, Mat, MatMut};
use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};

/// A matrix of `capacity × cols` whose rows are padded with zeros to whole vectors, so that kernels may read past the
/// last column.
#[derive(Clone, Debug, Default)]
pub struct Buffer<F> {
    data: Aligned<F>,
    capacity: usize,
    cols: usize,
}

/// Rows are an odd number of vectors apart: a column's cache lines then fall into different sets of a cache.
fn stride(cols: usize) -> usize {
    (cols.div_ceil(LANES) | 1) * LANES
}

impl<F: Real> Buffer<F> {
    /// Zeros.
    pub fn new(capacity: usize, cols: usize) -> Self {
        Buffer { data: Aligned::zeros(capacity * stride(cols)), capacity, cols }
    }
    /// Columns, without the padding.
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// Rows that it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
    fn stride(&self) -> usize {
        stride(self.cols)
    }
    /// The first `rows` rows.
    pub fn rows(&self, rows: usize) -> Mat<'_, F> {
        Mat::new(&self.data, rows, self.cols, self.stride())
    }
    /// The first `rows` rows, to be written.
    pub fn rows_mut(&mut self, rows: usize) -> MatMut<'_, F> {
        let (cols, stride) = (self.cols, self.stride());
        MatMut::new(&mut self.data, rows, cols, stride)
    }
    /// The first `rows` rows with their padding, as one slice: for elementwise maps, which may as well run on through
    /// the padding.
    pub fn flat_mut(&mut self, rows: usize) -> &mut [F] {
        let n = rows * self.stride();
        &mut self.data[..n]
    }
    /// As [`flat_mut`](Self::flat_mut), read.
    pub fn flat(&self, rows: usize) -> &[F] {
        &self.data[..rows * self.stride()]
    }
    /// The first `rows` rows as an ndarray view.
    pub fn view(&self, rows: usize) -> ArrayView2<'_, F> {
        match ArrayView2::from_shape((rows, self.cols).strides((self.stride(), 1)), &self.data) {
            Ok(view) => view,
            Err(e) => panic!("{rows} rows of {}: {e}", self.capacity),
        }
    }
    /// The first `rows` rows as a mutable ndarray view.
    pub fn view_mut(&mut self, rows: usize) -> ArrayViewMut2<'_, F> {
        let shape = (rows, self.cols).strides((self.stride(), 1));
        match ArrayViewMut2::from_shape(shape, &mut self.data) {
            Ok(view) => view,
            Err(e) => panic!("{rows} rows of {}: {e}", self.capacity),
        }
    }
}

/// A [`Buffer`] of examples, of which it may be known where they are not zero.
#[derive(Clone, Debug)]
pub struct Input<F> {
    buffer: Buffer<F>,
    /// Of the first so many rows, or of none.
    filled: Filled,
}

impl<F: Real> Input<F> {
    /// Zeros.
    pub fn new(capacity: usize, cols: usize) -> Self {
        Input { buffer: Buffer::new(capacity, cols), filled: Filled::default() }
    }
    /// The first `rows` rows, and where they are not zero if that has been found.
    pub fn rows(&self, rows: usize) -> Mat<'_, F> {
        let x = self.buffer.rows(rows);
        if self.filled.shape() == (x.rows(), x.cols()) { x.with_filled(&self.filled) } else { x }
    }
    /// The first `rows` rows, to be written; where they are not zero is then no longer known.
    pub fn rows_mut(&mut self, rows: usize) -> MatMut<'_, F> {
        self.filled.forget();
        self.buffer.rows_mut(rows)
    }
    /// Finds where the first `rows` rows are not zero.
    pub fn find_zeros(&mut self, isa: Isa, rows: usize) {
        self.filled.find(isa, self.buffer.rows(rows));
    }
}

/// A matrix of a block of rows, rounded to bf16 in pairs of two rows. Its memory grows to the largest block that it has held.
#[derive(Clone, Debug, Default)]
pub struct PairBuffer {
    data: Aligned<Pair>,
    rows: usize,
    cols: usize,
    stride: usize,
    filled: Option<Filled>,
}

impl PairBuffer {
    /// One whose pairs know where they are not zero.
    pub fn filled() -> Self {
        PairBuffer { filled: Some(Filled::default()), ..PairBuffer::default() }
    }
    /// One whose pairs know nothing of it.
    pub fn dense(&mut self) {
        self.filled = None;
    }
    /// Rounds a matrix, the first rows of a [`Buffer`] with their padding.
    pub fn round<F: Real>(&mut self, isa: Isa, x: Mat<F>) {
        (self.rows, self.cols, self.stride) = (x.rows().div_ceil(2), x.cols(), x.stride());
        let len = self.rows * self.stride;
        if self.data.len() < len {
            self.data = Aligned::zeros(len);
        }
        if len > 0 {
            pair_rows(isa, F::singles(&x.data()[..x.rows() * self.stride]), self.stride, &mut self.data[..len]);
        }
        if let Some(filled) = &mut self.filled {
            filled.find_pairs(isa, Mat::new(&self.data, self.rows, self.cols, self.stride));
        }
    }
    /// The pairs, (rows / 2, columns).
    pub fn pairs(&self) -> Mat<'_, Pair> {
        let pairs = Mat::new(&self.data, self.rows, self.cols, self.stride);
        match &self.filled {
            Some(filled) if filled.shape() == (pairs.rows(), pairs.cols()) => pairs.with_filled(filled),
            _ => pairs,
        }
    }
}
