//! Where results go, checked before the work whose result it is.

use crate::data::ImageShape;
use crate::error::{Error, Result};
use crate::report::matrix::Format;
use crate::report::{matrix, points};
use ndarray::ArrayView2;
use std::path::{Path, PathBuf};

/// A file that results are written to, and its format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    /// The file.
    pub path: PathBuf,
    /// The format that its ending names.
    pub format: Format,
    image: Option<(usize, usize, usize)>,
}

/// A picture's shape as reports want it.
pub fn shape(image: Option<ImageShape>) -> Option<(usize, usize, usize)> {
    image.map(|i| (i.height, i.width, i.channels))
}

impl Output {
    /// Looks at the ending and the folder of `path`. `image` is the shape of a row, if rows are pictures; rows of a table
    /// can be drawn too, as points or a heat map, if `table` says so.
    ///
    /// # Errors
    /// An unknown ending, rows that cannot be drawn, a folder that is missing or cannot be written, or a path that is one.
    pub fn new(path: &Path, image: Option<ImageShape>, table: bool) -> Result<Self> {
        let is_png = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"));
        let format = match is_png && image.is_none() && table {
            true => Format::Png,
            false => Format::of(path, shape(image))?,
        };
        check_writable(path)?;
        Ok(Output { path: path.to_path_buf(), format, image: shape(image) })
    }
    /// The shape of a row that is drawn as a picture.
    pub fn image(&self) -> Option<(usize, usize, usize)> {
        self.image
    }
    /// Writes rows.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, rows: ArrayView2<'_, f32>, names: &[String]) -> Result<()> {
        match (self.format, self.image) {
            (Format::Png, None) => points::table(rows, None, &self.path),
            (_, image) => matrix::write_matrix(&self.path, rows, names, image),
        }
    }
}

/// Whether a file can be written at `path`: tried with a temporary file beside it, which is removed again.
///
/// # Errors
/// A folder that is missing or cannot be written, or a path that is a folder.
pub fn check_writable(path: &Path) -> Result<()> {
    let at = |what: &str| Error::input(what).at(path.display().to_string());
    if path.is_dir() {
        return Err(at("a file is to be written here, and this is a folder"));
    }
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(at(&format!("the folder {} does not exist", folder.display())).hint("make it first"));
    }
    // Pipes and devices are written to as they are.
    if path.exists() && !path.is_file() {
        return Ok(());
    }
    match tempfile::Builder::new().prefix(".elbo-").suffix(".tmp").tempfile_in(folder) {
        Ok(_) => Ok(()),
        Err(e) => Err(at(&format!("cannot write to the folder: {}", e.kind()))),
    }
}

/// Refuses to replace a model or another file that cannot be made again, unless told to.
///
/// # Errors
/// There is something at `path` already.
pub fn keep_old(path: &Path, overwrite: bool) -> Result<()> {
    if overwrite || !path.exists() {
        return Ok(());
    }
    let error = Error::input("there is a file here already").at(path.display().to_string());
    Err(error.hint("choose another place, or replace it with --overwrite"))
}

/// Names of a data row's columns: the data's own, or `x0`, `x1`, …
pub fn column_names(names: Option<&[String]>, cols: usize) -> Vec<String> {
    match names {
        Some(names) if names.len() == cols => names.to_vec(),
        _ => (0..cols).map(|j| format!("x{j}")).collect(),
    }
}
