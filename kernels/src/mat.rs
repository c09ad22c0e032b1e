//! Matrices as the kernels see them: a slice, its shape, and the distance between rows.

use crate::filled::Filled;

/// A matrix that is read: `rows × cols`, row `r` starting at `r * stride` of `data`, columns adjacent.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a, E> {
    data: &'a [E],
    rows: usize,
    cols: usize,
    stride: usize,
    filled: Option<&'a Filled>,
}

/// A matrix that is written; otherwise like [`Mat`].
#[derive(Debug)]
pub struct MatMut<'a, E> {
    data: &'a mut [E],
    rows: usize,
    cols: usize,
    stride: usize,
}

#[track_caller]
fn check(len: usize, rows: usize, cols: usize, stride: usize) {
    let needed = if rows == 0 { Some(0) } else { (rows - 1).checked_mul(stride).and_then(|n| n.checked_add(cols)) };
    assert!(
        (rows <= 1 || stride >= cols) && needed.is_some_and(|n| n <= len),
        "a matrix of {rows}×{cols} with stride {stride} does not fit a slice of {len}"
    );
}

impl<'a, E> Mat<'a, E> {
    /// A matrix of no rows and no columns.
    pub const EMPTY: Self = Mat { data: &[], rows: 0, cols: 0, stride: 0, filled: None };
    /// A matrix on a slice. Panics when it does not fit.
    #[track_caller]
    pub fn new(data: &'a [E], rows: usize, cols: usize, stride: usize) -> Self {
        check(data.len(), rows, cols, stride);
        Mat { data, rows, cols, stride, filled: None }
    }
    /// The same matrix, and where it is not zero: products may then leave out the rest. Parts of it do not know. Panics
    /// when `filled` is of another shape.
    #[track_caller]
    #[must_use]
    pub fn with_filled(self, filled: &'a Filled) -> Self {
        let (rows, cols) = filled.shape();
        assert!((rows, cols) == (self.rows, self.cols), "filled {rows}×{cols}, of {}×{}", self.rows, self.cols);
        Mat { filled: Some(filled), ..self }
    }
    /// Where it is not zero, if that is known.
    pub fn filled(&self) -> Option<&'a Filled> {
        self.filled
    }
    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Columns.
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// Elements from the start of one row to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }
    /// The slice below.
    pub fn data(&self) -> &'a [E] {
        self.data
    }
    /// One row, of `cols` elements.
    #[inline]
    pub fn row(&self, r: usize) -> &'a [E] {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        &self.data[r * self.stride..][..self.cols]
    }
    /// The rows `top .. top + rows` of the columns `from .. from + cols`.
    #[track_caller]
    pub fn block(&self, top: usize, rows: usize, from: usize, cols: usize) -> Mat<'a, E> {
        assert!(top <= self.rows && rows <= self.rows - top, "{rows} rows from {top} on, of {}", self.rows);
        let below = Mat { data: self.data.get(top * self.stride..).unwrap_or(&[]), rows, filled: None, ..*self };
        below.columns(from, cols)
    }
    /// The columns `from .. from + cols`.
    #[track_caller]
    pub fn columns(&self, from: usize, cols: usize) -> Mat<'a, E> {
        assert!(from <= self.cols && cols <= self.cols - from, "{cols} columns from {from} on, of {}", self.cols);
        Mat { data: self.data.get(from..).unwrap_or(&[]), cols, filled: None, ..*self }
    }
}

impl<'a, E> MatMut<'a, E> {
    /// A matrix on a slice. Panics when it does not fit.
    #[track_caller]
    pub fn new(data: &'a mut [E], rows: usize, cols: usize, stride: usize) -> Self {
        check(data.len(), rows, cols, stride);
        MatMut { data, rows, cols, stride }
    }
    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Columns.
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// Elements from the start of one row to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }
    /// The slice below.
    pub fn data(&mut self) -> &mut [E] {
        self.data
    }
    /// One row, of `cols` elements.
    #[inline]
    pub fn row(&mut self, r: usize) -> &mut [E] {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        &mut self.data[r * self.stride..][..self.cols]
    }
    /// The same matrix for a shorter time.
    pub fn reborrow(&mut self) -> MatMut<'_, E> {
        MatMut { data: self.data, rows: self.rows, cols: self.cols, stride: self.stride }
    }
    /// The same matrix, read.
    pub fn view(&self) -> Mat<'_, E> {
        Mat { data: self.data, rows: self.rows, cols: self.cols, stride: self.stride, filled: None }
    }
    /// The rows `top .. top + rows` of the columns `from .. from + cols`.
    #[track_caller]
    pub fn block(self, top: usize, rows: usize, from: usize, cols: usize) -> MatMut<'a, E> {
        assert!(top <= self.rows && rows <= self.rows - top, "{rows} rows from {top} on, of {}", self.rows);
        let at = (top * self.stride).min(self.data.len());
        MatMut { data: &mut self.data[at..], rows, ..self }.columns(from, cols)
    }
    /// The columns `from .. from + cols`.
    #[track_caller]
    pub fn columns(self, from: usize, cols: usize) -> MatMut<'a, E> {
        assert!(from <= self.cols && cols <= self.cols - from, "{cols} columns from {from} on, of {}", self.cols);
        let at = from.min(self.data.len());
        MatMut { data: &mut self.data[at..], rows: self.rows, cols, stride: self.stride }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "1 columns from 18446744073709551615 on, of 3")]
    fn columns_that_would_wrap_around_are_refused() {
        let _ = Mat::new(&[0.0f32; 6], 2, 3, 3).columns(usize::MAX, 1);
    }
}
