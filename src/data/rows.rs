//! A matrix of data rows in the smallest type that holds them, in memory or in a file.

use super::row_file::RowFile;
use crate::error::start_of;
use crate::{Error, Result};
use elbo_kernels::prefetch::read_soon;
use elbo_kernels::sweep::scale_u8;
use elbo_kernels::{Element, Isa};
use ndarray::{Array2, ArrayView2};
use std::sync::Arc;

/// How the values of one row form a picture: `height × width × channels`, channels last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageShape {
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
    /// Values per pixel: 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
}

impl ImageShape {
    /// Reads the dimensions after the first: two are height and width; a third of 1 or 3 is channels.
    pub(super) fn from_dims(dims: &[usize]) -> Option<Self> {
        match *dims {
            [height, width] => Some(ImageShape { height, width, channels: 1 }),
            [height, width, channels @ (1 | 3)] => Some(ImageShape { height, width, channels }),
            _ => None,
        }
    }

    /// Values in one picture, or nothing if that overflows.
    pub fn values(self) -> Option<usize> {
        self.height.checked_mul(self.width)?.checked_mul(self.channels)
    }
}

/// The values, row after row.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Values {
    /// Pixels: a byte `b` stands for `b / 255`.
    Bytes(Vec<u8>),
    /// Numbers as they are.
    Floats(Vec<f32>),
}

impl Values {
    pub(super) fn len(&self) -> usize {
        match self {
            Values::Bytes(v) => v.len(),
            Values::Floats(v) => v.len(),
        }
    }
}

/// Where the values are.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Store {
    Memory(Values),
    File(Arc<RowFile>),
}

impl Store {
    fn len(&self) -> usize {
        match self {
            Store::Memory(values) => values.len(),
            Store::File(file) => file.len(),
        }
    }
}

impl From<Values> for Store {
    fn from(values: Values) -> Self {
        Store::Memory(values)
    }
}

impl From<RowFile> for Store {
    fn from(file: RowFile) -> Self {
        Store::File(Arc::new(file))
    }
}

/// Data rows, `(rows, cols)`, in memory or [streamed](Rows::is_streamed) from a file. Bytes stay bytes, a quarter of the memory of floats, and become numbers in
/// [0, 1] while they are gathered; other numbers are held as `f32` and are finite.
///
/// Rows of a file are equal to themselves alone. Where one cannot be read, its values are NaN, and
/// [`check_read`](Rows::check_read) tells why.
///
/// ```
/// use elbo::data::Rows;
/// let rows = Rows::from_u8(vec![0, 51, 255, 0], 2)?;
/// let mut row = [0.0f32; 2];
/// rows.gather(1, &mut row);
/// assert_eq!(row, [1.0, 0.0]);
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Rows {
    store: Store,
    rows: usize,
    cols: usize,
    image: Option<ImageShape>,
    names: Option<Vec<String>>,
}

impl Rows {
    /// Checks what every source must: rows, columns, finite numbers, and row numbers that fit 32 bits.
    pub(super) fn new(store: impl Into<Store>, cols: usize) -> Result<Rows> {
        let store = store.into();
        if cols == 0 {
            return Err(Error::input("the data have no columns").hint("each row needs at least one value"));
        }
        if store.len() == 0 {
            return Err(Error::input("the data have no rows"));
        }
        if !store.len().is_multiple_of(cols) {
            let n = store.len();
            return Err(Error::input(format!("{n} values do not fill rows of {cols} columns")));
        }
        let count = store.len() / cols;
        if u32::try_from(count).is_err() {
            return Err(Error::input(format!("{count} rows are more than row numbers of 32 bits can count")));
        }
        let rows = Rows { store, rows: count, cols, image: None, names: None };
        rows.check_finite()?;
        Ok(rows)
    }

    /// Pixels, row after row, `cols` to a row; a byte `b` stands for `b / 255`.
    ///
    /// # Errors
    /// No rows, no columns, or bytes that do not fill the last row.
    pub fn from_u8(data: Vec<u8>, cols: usize) -> Result<Rows> {
        Self::new(Values::Bytes(data), cols)
    }

    /// Numbers, `(rows, cols)`. An array in row-major order is taken over, not copied.
    ///
    /// # Errors
    /// No rows, no columns, or a value that is not finite (named by row and column).
    pub fn from_f32(data: Array2<f32>) -> Result<Rows> {
        let cols = data.ncols();
        let len = data.len();
        let values = if data.is_standard_layout() {
            let (mut values, offset) = data.into_raw_vec_and_offset();
            values.drain(..offset.unwrap_or(0));
            values.truncate(len);
            values
        } else {
            data.iter().copied().collect()
        };
        Self::new(Values::Floats(values), cols)
    }

    /// A copy of numbers that the caller keeps, `(rows, cols)`.
    ///
    /// # Errors
    /// As [`from_f32`](Rows::from_f32).
    pub fn from_view(data: ArrayView2<f32>) -> Result<Rows> {
        Self::from_f32(data.to_owned())
    }

    /// Says that each row is a picture.
    ///
    /// # Errors
    /// A shape whose values are not the number of columns.
    pub fn with_image(mut self, image: ImageShape) -> Result<Rows> {
        if image.values() != Some(self.cols) {
            let ImageShape { height, width, channels } = image;
            let cols = self.cols;
            let what = format!("a picture of {height} x {width} x {channels} does not fit rows of {cols} columns");
            return Err(Error::input(what));
        }
        self.image = Some(image);
        Ok(self)
    }

    /// Names the columns.
    ///
    /// # Errors
    /// A number of names that is not the number of columns.
    pub fn with_names(mut self, names: Vec<String>) -> Result<Rows> {
        if names.len() != self.cols {
            return Err(Error::input(format!("{} names for {} columns", names.len(), self.cols)));
        }
        self.names = Some(names);
        Ok(self)
    }

    /// Number of rows, at least 1.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Number of columns, at least 1.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The picture that each row is, if it is one.
    pub fn image(&self) -> Option<ImageShape> {
        self.image
    }

    /// The columns' names, if the source has them.
    pub fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    /// What stored numbers are multiplied by when gathered: 1/255 for bytes, else 1.
    pub fn scale(&self) -> f64 {
        if self.is_bytes() { 1.0 / 255.0 } else { 1.0 }
    }

    /// Whether the rows are read from a file as they are used.
    pub fn is_streamed(&self) -> bool {
        self.file().is_some()
    }

    /// Whether all rows that were asked for could be read, which those in memory always can.
    ///
    /// # Errors
    /// The first failure since the data were loaded: a file that has been cut short meanwhile (with the row), or the
    /// system's error.
    pub fn check_read(&self) -> Result<()> {
        self.file().map_or(Ok(()), |file| file.check())
    }

    /// The file that the rows are in, if they are not in memory.
    pub(super) fn file(&self) -> Option<&RowFile> {
        match &self.store {
            Store::Memory(_) => None,
            Store::File(file) => Some(file),
        }
    }

    /// Bytes of memory that the values take.
    pub(super) fn bytes(&self) -> u64 {
        match &self.store {
            Store::Memory(Values::Bytes(bytes)) => bytes.len() as u64,
            Store::Memory(Values::Floats(floats)) => size_of_val(floats.as_slice()) as u64,
            Store::File(_) => 0,
        }
    }

    /// Writes one row as numbers, `(cols)`. A byte becomes `b · (1/255)`, computed in `F`.
    ///
    /// # Panics
    /// A row that does not exist, or an `out` whose length is not the number of columns.
    pub fn gather<F: Element>(&self, row: usize, out: &mut [F]) {
        let (rows, cols, values) = (self.rows, self.cols, out.len());
        assert!(row < rows && values == cols, "row {row} of ({rows}, {cols}) into {values} values");
        let span = row * self.cols..(row + 1) * self.cols;
        match &self.store {
            Store::File(file) => file.gather(row, out),
            Store::Memory(Values::Bytes(bytes)) => {
                let scale = F::ONE / F::from_f64(255.0);
                scale_u8(Isa::default(), &bytes[span], scale, out);
            }
            Store::Memory(Values::Floats(floats)) => {
                for (o, &x) in out.iter_mut().zip(&floats[span]) {
                    *o = F::from_f64(f64::from(x));
                }
            }
        }
    }

    /// A hint that a row will be gathered: one in memory is fetched towards the processor. Nothing for others.
    pub(super) fn fetch(&self, row: usize) {
        let span = row * self.cols..(row + 1) * self.cols;
        match &self.store {
            Store::Memory(Values::Bytes(bytes)) => read_soon(bytes.get(span).unwrap_or_default()),
            Store::Memory(Values::Floats(floats)) => read_soon(floats.get(span).unwrap_or_default()),
            Store::File(_) => {}
        }
    }

    /// Gives the stored values to `update` as bytes, row after row, whatever the machine: little endian.
    ///
    /// # Errors
    /// As [`check_read`](Rows::check_read).
    #[cfg(feature = "files")]
    pub(crate) fn each_bytes(&self, mut update: impl FnMut(&[u8])) -> Result<()> {
        let mut block = Vec::new();
        let mut floats = |floats: &[f32], update: &mut dyn FnMut(&[u8])| {
            for part in floats.chunks(1 << 12) {
                block.clear();
                block.extend(part.iter().flat_map(|x| x.to_le_bytes()));
                update(&block);
            }
        };
        match &self.store {
            Store::Memory(Values::Bytes(bytes)) => update(bytes),
            Store::Memory(Values::Floats(values)) => floats(values, &mut update),
            Store::File(file) if file.is_bytes() => {
                for row in 0..self.rows {
                    file.with_row(row, &mut update);
                }
            }
            Store::File(file) => {
                let mut values = vec![0.0; self.cols];
                for row in 0..self.rows {
                    file.gather(row, &mut values);
                    floats(&values, &mut update);
                }
            }
        }
        self.check_read()
    }

    /// One value, scaled as [`gather`](Rows::gather) scales it.
    ///
    /// # Panics
    /// A row or a column that does not exist.
    pub fn value(&self, row: usize, col: usize) -> f64 {
        assert!(row < self.rows && col < self.cols, "({row}, {col}) of ({}, {})", self.rows, self.cols);
        let at = row * self.cols + col;
        match &self.store {
            Store::Memory(Values::Bytes(bytes)) => f64::from(bytes[at]) * self.scale(),
            Store::Memory(Values::Floats(floats)) => f64::from(floats[at]),
            Store::File(file) => file.with_row(row, |b| file.values(b).nth(col)).flatten().unwrap_or(f64::NAN),
        }
    }

    /// The least and the greatest value of a row.
    pub(super) fn row_range(&self, row: usize) -> (f64, f64) {
        let span = row * self.cols..(row + 1) * self.cols;
        let start = (f64::INFINITY, f64::NEG_INFINITY);
        match &self.store {
            Store::Memory(Values::Bytes(bytes)) => {
                let (low, high) = bytes[span].iter().fold((255, 0), |(low, high), &b| (b.min(low), b.max(high)));
                (f64::from(low) * self.scale(), f64::from(high) * self.scale())
            }
            Store::Memory(Values::Floats(floats)) => {
                floats[span].iter().fold(start, |(low, high), &x| (low.min(x.into()), high.max(x.into())))
            }
            Store::File(file) => {
                let range = |b: &[u8]| file.values(b).fold(start, |(low, high), x| (low.min(x), high.max(x)));
                file.with_row(row, range).unwrap_or((f64::NAN, f64::NAN))
            }
        }
    }

    /// The first column of `row` whose value fails `test`, with the value.
    pub(super) fn first_failing(&self, row: usize, test: impl Fn(f64) -> bool) -> Option<(usize, f64)> {
        match &self.store {
            Store::Memory(_) => (0..self.cols).map(|col| (col, self.value(row, col))).find(|&(_, v)| !test(v)),
            Store::File(file) => file.with_row(row, |b| file.values(b).enumerate().find(|&(_, v)| !test(v))).flatten(),
        }
    }

    /// A column as messages name it: its number, and its name where there is one.
    pub(super) fn column(&self, col: usize) -> String {
        match self.names.as_deref().and_then(|names| names.get(col)) {
            Some(name) => format!("column {col} ({:?})", start_of(name)),
            None => format!("column {col}"),
        }
    }

    /// Whether the values are known to lie in `[low, high]`, without a look at them.
    pub(super) fn surely_within(&self, low: f64, high: f64) -> bool {
        match &self.store {
            Store::Memory(Values::Bytes(_)) => low <= 0.0 && high >= 1.0,
            Store::Memory(Values::Floats(_)) => false,
            Store::File(file) => file.surely_within(low, high),
        }
    }

    /// Whether the values are bytes, which stand for pixels.
    fn is_bytes(&self) -> bool {
        match &self.store {
            Store::Memory(values) => matches!(values, Values::Bytes(_)),
            Store::File(file) => file.is_bytes(),
        }
    }

    fn check_finite(&self) -> Result<()> {
        let bad = match &self.store {
            Store::Memory(Values::Bytes(_)) => None,
            Store::Memory(Values::Floats(floats)) => {
                let at = floats.iter().position(|x| !x.is_finite());
                at.map(|at| (at / self.cols, at % self.cols, floats[at]))
            }
            Store::File(file) => file.scan()?,
        };
        let Some((row, col, value)) = bad else { return Ok(()) };
        let what = format!("row {row}, {} is {value}, not a finite 32-bit number", self.column(col));
        Err(Error::input(what).hint("rows and columns count from 0; remove or fill in such values"))
    }
}

impl TryFrom<ArrayView2<'_, f32>> for Rows {
    type Error = Error;
    fn try_from(data: ArrayView2<'_, f32>) -> Result<Rows> {
        Rows::from_view(data)
    }
}
