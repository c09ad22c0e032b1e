//! Some rows of a matrix of data, in a given order, without a copy.

use super::conditioned::Conditions;
use super::{ImageShape, Labels, Rows};
use crate::{Error, Result};
use elbo_kernels::Element;
use ndarray::Array2;
use std::ops::Range;
use std::sync::Arc;

/// Which rows a view shows.
#[derive(Clone, Debug)]
enum Index {
    Range(Range<usize>),
    List(Arc<[u32]>),
}

/// Some rows of [`Rows`], in order, with their labels. A clone costs two reference counts.
///
/// A row has a *position* in the view and an [`id`](View::id) in the whole set. Noise that belongs to a row, such as
/// fixed binarization, is keyed by the id, so that a row keeps it in every split.
///
/// ```
/// use elbo::data::{Rows, View};
/// let all = View::new(Rows::from_u8(vec![0, 51, 0, 153, 204, 255], 1)?);
/// let some = all.select(&[5, 2]);
/// assert_eq!((some.len(), some.id(0)), (2, 5));
/// assert_eq!(some.to_array::<f32>(), ndarray::array![[1.0], [0.0]]);
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct View {
    rows: Arc<Rows>,
    labels: Option<Arc<Labels>>,
    /// Columns beside those of the rows, by name.
    pub(super) beside: Option<Arc<[(String, Labels)]>>,
    pub(super) conditions: Option<Arc<Conditions>>,
    index: Index,
}

impl View {
    /// All rows, without labels.
    pub fn new(rows: Rows) -> View {
        let index = Index::Range(0..rows.len());
        View { rows: Arc::new(rows), labels: None, beside: None, conditions: None, index }
    }

    /// All rows, each with its label.
    ///
    /// # Errors
    /// A number of labels that is not the number of rows.
    pub fn with_labels(rows: Rows, labels: Labels) -> Result<View> {
        labels.expect_rows(rows.len())?;
        Ok(View { labels: Some(Arc::new(labels)), ..View::new(rows) })
    }

    /// Number of rows in the view.
    pub fn len(&self) -> usize {
        match &self.index {
            Index::Range(range) => range.len(),
            Index::List(list) => list.len(),
        }
    }

    /// Whether the view shows no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of columns, at least 1.
    pub fn cols(&self) -> usize {
        self.rows.cols()
    }

    /// The picture that each row is, if it is one.
    pub fn image(&self) -> Option<ImageShape> {
        self.rows.image()
    }

    /// The columns' names, if the source has them.
    pub fn names(&self) -> Option<&[String]> {
        self.rows.names()
    }

    /// The whole set this is a part of.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Whether all rows that were asked for could be read: see [`Rows::check_read`].
    ///
    /// # Errors
    /// As [`Rows::check_read`].
    pub fn check_read(&self) -> Result<()> {
        self.rows.check_read()
    }

    /// The row number in the whole set of the row at a position.
    ///
    /// # Panics
    /// A position not in the view.
    pub fn id(&self, position: usize) -> usize {
        match &self.index {
            Index::Range(range) => {
                assert!(position < range.len(), "position {position} of {} rows", range.len());
                range.start + position
            }
            Index::List(list) => list[position] as usize,
        }
    }

    /// Writes the row at a position as numbers, `(cols)`. See [`Rows::gather`].
    ///
    /// # Panics
    /// A position not in the view, or an `out` whose length is not the number of columns.
    pub fn gather<F: Element>(&self, position: usize, out: &mut [F]) {
        self.rows.gather(self.id(position), out);
    }

    /// Writes the rows at some positions, `(positions, cols)`: a batch, or any block of one.
    ///
    /// # Panics
    /// A position not in the view, or an `out` whose length is not positions times columns.
    pub fn gather_batch<F: Element>(&self, positions: &[u32], out: &mut [F]) {
        let (rows, cols) = (positions.len(), self.cols());
        assert_eq!(Some(out.len()), rows.checked_mul(cols), "{rows} rows of {cols} columns");
        for (&position, out) in positions.iter().zip(out.chunks_exact_mut(cols)) {
            self.gather(position as usize, out);
        }
    }

    /// All rows of the view as an array, `(rows, cols)`: a copy, for small sets and tests.
    pub fn to_array<F: Element>(&self) -> Array2<F> {
        let mut out = Array2::from_elem((self.len(), self.cols()), F::ZERO);
        for (position, mut row) in out.rows_mut().into_iter().enumerate() {
            self.gather(position, row.as_slice_mut().expect("a new array is row-major"));
        }
        out
    }

    /// The labels of the whole set, if it has them.
    pub fn labels(&self) -> Option<&Labels> {
        self.labels.as_deref()
    }

    /// The label of the row at a position, if the set has labels.
    ///
    /// # Panics
    /// A position not in the view.
    pub fn label(&self, position: usize) -> Option<&str> {
        let id = self.id(position);
        self.labels.as_deref().map(|labels| labels.get(id))
    }

    /// The positions of the rows that carry a label, in order; `3`, `3.0` and `03` are one label.
    ///
    /// # Errors
    /// A set without labels, or a label that no row of the whole set has (with the nearest one).
    pub fn positions_of(&self, label: &str) -> Result<Vec<u32>> {
        let Some(labels) = &self.labels else {
            return Err(Error::input("the data have no labels")
                .hint("give row numbers instead of classes, or a file of labels where one is taken"));
        };
        let code = labels.code(label)?;
        Ok((0..self.len()).filter(|&p| labels.codes()[self.id(p)] == code).map(|p| p as u32).collect())
    }

    /// The view of the rows at some positions of this one, in the given order.
    ///
    /// # Panics
    /// A position not in the view.
    pub fn select(&self, positions: &[u32]) -> View {
        let list = positions.iter().map(|&p| self.id(p as usize) as u32).collect();
        View { index: Index::List(list), ..self.clone() }
    }

    /// The view of a range of positions of this one.
    ///
    /// # Panics
    /// A range that goes beyond the view.
    pub fn slice(&self, positions: Range<usize>) -> View {
        let (start, end, len) = (positions.start, positions.end, self.len());
        assert!(start <= end && end <= len, "positions {start}..{end} of {len}");
        let index = match &self.index {
            Index::Range(range) => Index::Range(range.start + start..range.start + end),
            Index::List(list) => Index::List(list[positions].into()),
        };
        View { index, ..self.clone() }
    }

    /// The least and the greatest value, or nothing for an empty view.
    pub fn range(&self) -> Option<(f64, f64)> {
        let rows = (0..self.len()).map(|position| self.rows.row_range(self.id(position)));
        rows.reduce(|(low, high), (l, h)| (low.min(l), high.max(h)))
    }

    /// The first value outside `[low, high]`: its position in the view, its column, and the value.
    pub fn first_outside(&self, low: f64, high: f64) -> Option<(usize, usize, f64)> {
        if self.rows.surely_within(low, high) {
            return None;
        }
        self.first_failing(|v| (low..=high).contains(&v))
    }

    /// The first value that is not a whole number: its position in the view, its column, and the value.
    pub fn first_fractional(&self) -> Option<(usize, usize, f64)> {
        self.first_failing(|v| v.fract() == 0.0)
    }

    fn first_failing(&self, test: impl Fn(f64) -> bool) -> Option<(usize, usize, f64)> {
        (0..self.len()).find_map(|position| {
            let (col, value) = self.rows.first_failing(self.id(position), &test)?;
            Some((position, col, value))
        })
    }

    /// Checks that all values lie in [0, 1], as the targets of a Bernoulli likelihood must.
    ///
    /// # Errors
    /// Names the first value outside by its row in the whole set and its column, both counted from 0; rows that cannot be
    /// read.
    pub fn check_unit_interval(&self) -> Result<()> {
        let hint = "use `--likelihood gaussian`, or scale the data to [0, 1]";
        self.check_unit_interval_for("a Bernoulli likelihood needs values in [0, 1]", hint)
    }

    /// The same, with what the values are needed for.
    pub(crate) fn check_unit_interval_for(&self, needs: &str, hint: &str) -> Result<()> {
        if self.rows.surely_within(0.0, 1.0) {
            return self.check_read();
        }
        self.check_values(|v| (0.0..=1.0).contains(&v), needs, hint)
    }

    /// Checks all values by a test. `needs` completes "row 3, column 1 is -2: …".
    ///
    /// # Errors
    /// Names the first value that fails by its row in the whole set and its column, both counted from 0; rows that cannot
    /// be read.
    pub fn check_values(&self, test: impl Fn(f64) -> bool, needs: &str, hint: &str) -> Result<()> {
        let failing = self.first_failing(test);
        self.check_read()?;
        let Some((position, col, value)) = failing else { return Ok(()) };
        let (row, column) = (self.id(position), self.rows.column(col));
        Err(Error::input(format!("row {row}, {column} is {value}: {needs}")).hint(hint))
    }

    /// Whether the values are 8-bit: each 0, 1/255, …, 1, because it was a byte.
    pub fn is_bytes(&self) -> bool {
        self.rows.scale() != 1.0
    }

    /// Whether all values are 0 or 1; if they are not, a Bernoulli likelihood treats them as grey.
    pub fn is_binary(&self) -> bool {
        self.first_failing(|v| v == 0.0 || v == 1.0).is_none()
    }

    /// Checks that the rows have the columns a model was made for.
    ///
    /// # Errors
    /// Another number of columns.
    pub fn expect_cols(&self, expected: usize) -> Result<()> {
        let found = self.cols();
        if found == expected {
            return Ok(());
        }
        let what = format!("the data have {found} columns, but the model was made for {expected}");
        Err(Error::input(what).hint("use the kind of data the model was trained on"))
    }
}
