//! A matrix in the format that the ending of its path names.

use std::io::{self, Write};
use std::path::Path;

use ndarray::ArrayView2;
use ndarray_npy::WriteNpyExt;

use super::{ImageShape, grid};
use crate::files::atomic;
use crate::{Error, Result};

/// The formats a matrix can be written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// `.npy`: f32, as numpy's `load` reads it.
    Npy,
    /// `.csv`: a header, then numbers that parse to the same f32.
    Csv,
    /// `.png`: a grid of images, for rows that are images.
    Png,
}

impl Format {
    /// The format that the ending of `path` names, in either case. Call it before the work whose result goes there.
    ///
    /// # Errors
    /// When the ending is another, or is `.png` and the rows are no images.
    ///
    /// ```
    /// use elbo::report::matrix::Format;
    /// assert_eq!(Format::of("z.npy", None)?, Format::Npy);
    /// assert!(Format::of("x.png", None).is_err());
    /// assert_eq!(Format::of("x.png", Some((28, 28, 1)))?, Format::Png);
    /// # Ok::<(), elbo::Error>(())
    /// ```
    pub fn of(path: impl AsRef<Path>, image: Option<ImageShape>) -> Result<Format> {
        let path = path.as_ref();
        let at = |e: Error| Err(e.at(path.display().to_string()));
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        match (ending.as_deref(), image) {
            (Some("npy"), _) => Ok(Format::Npy),
            (Some("csv"), _) => Ok(Format::Csv),
            (Some("png"), Some((_, _, 1 | 3))) => Ok(Format::Png),
            (Some("png"), Some((_, _, channels))) => {
                let what = format!("images of {channels} channels cannot be drawn, expected 1 (grey) or 3 (RGB)");
                at(Error::input(what).hint("write .npy or .csv"))
            }
            (Some("png"), None) => {
                at(Error::input("these rows are not images and cannot be drawn").hint("write .npy or .csv"))
            }
            (Some(other), _) => at(Error::input(format!("unknown ending .{other}, expected .npy, .csv or .png"))),
            (None, _) => at(Error::input("a path without an ending, expected .npy, .csv or .png")),
        }
    }
}

/// Writes `matrix` (n, d) to `path` in the format its ending names, [atomically](atomic::write).
///
/// A CSV has `header` as its first line. A PNG is a [grid](grid::grid) as near to square as can be, of rows with the
/// shape `image`.
///
/// # Errors
/// As [`Format::of`], and when a PNG has no rows or `path` cannot be written.
///
/// # Panics
/// If `header` does not name every column, or the columns do not make an image.
pub fn write_matrix(
    path: impl AsRef<Path>,
    matrix: ArrayView2<'_, f32>,
    header: &[String],
    image: Option<ImageShape>,
) -> Result<()> {
    let path = path.as_ref();
    assert!(header.len() == matrix.ncols(), "write_matrix: {} names, shape {:?}", header.len(), matrix.dim());
    match Format::of(path, image)? {
        Format::Npy => atomic::write(path, |w| matrix.write_npy(w).map_err(io::Error::other)),
        Format::Csv => atomic::write(path, |w| write_csv(w, matrix, header)),
        Format::Png => {
            let shape = image.expect("Format::of gives Png only with an image shape");
            let columns = (1..).find(|c| c * c >= matrix.nrows()).expect("a square root");
            grid::grid(matrix, shape, columns, path)
        }
    }
}

fn write_csv(w: &mut dyn Write, matrix: ArrayView2<'_, f32>, header: &[String]) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(w);
    csv.write_record(header)?;
    for row in matrix.rows() {
        for &value in row {
            csv.write_field(number(value))?;
        }
        csv.write_record(None::<&[u8]>)?;
    }
    csv.flush()
}

/// The shortest text that parses to the same f32; very large and very small ones with an exponent.
fn number(value: f32) -> String {
    let size = value.abs();
    if size == 0.0 || !value.is_finite() || (1e-5..1e16).contains(&size) {
        format!("{value}")
    } else {
        format!("{value:e}")
    }
}
