//! Where data come from: names that are known, files and folders.

mod idx;
mod input;
mod known;
#[cfg(feature = "files")]
mod npy;
pub(super) mod numbers;
#[cfg(feature = "files")]
mod png;
#[cfg(feature = "files")]
mod table;

use super::memory::human;
use super::{Dataset, Labels, Memory, View};
use crate::nearest::nearest;
use crate::{Error, Result};
use input::Input;
use std::path::{Path, PathBuf};

/// The data sets known by name. A file or folder of the same name is meant by `./name`.
pub const KNOWN: [&str; 4] = ["mnist", "mnist-full", "fashion-mnist", "gaussian-2d"];

/// Loads a data set by name or path; `$ELBO_DATA` names the folder of data that are not part of the program.
///
/// | name | what | where |
/// |---|---|---|
/// | `mnist` | 10,000 digits with labels, the last 1,000 for testing | in the program (feature `mnist`) |
/// | `mnist-full` | 60,000 + 10,000 digits with labels | `mnist-full` or `mnist` in `$ELBO_DATA`, or the four files in it |
/// | `fashion-mnist` | 60,000 + 10,000 articles of clothing with labels | `fashion-mnist` in `$ELBO_DATA` (or that folder itself, if its name says fashion), or Debian's `dataset-fashion-mnist` |
/// | `gaussian-2d` | standard normal, 1,000 + 1,000 rows of 2 columns | generated, always the same |
///
/// | path | rows | columns |
/// |---|---|---|
/// | IDX file, any type, plain or gzip | the first dimension | the others, flattened |
/// | folder with MNIST's four files | train, then test, with labels | pixels |
/// | NPY file, two dimensions or more | the first dimension | the others, flattened |
/// | CSV file of numbers with a header line | lines | named by the header |
/// | folder of PNG pictures of one size | pictures, sorted by file name | pixels, grey or colour with channels last |
///
/// Numbers of 8 bits without sign are pixels: `b` stands for `b / 255`. All others become `f32` as they are.
/// All but plain IDX need the feature `files` (gzip also comes with `mnist`).
///
/// # Errors
/// An unknown name (with the nearest), a data set that is not installed, and files that are missing, empty, cut short,
/// damaged, or hold something other than finite numbers, each with file and place.
pub fn load(name_or_path: &str) -> Result<Dataset> {
    load_within(name_or_path, Memory::Auto)
}

/// Loads as [`load`] does, with the memory that the rows may take given.
///
/// Rows that would take more stay in their file if it is a plain IDX or NPY file (MNIST's four files, too), and are read
/// as they are used: everything works as it does in memory and gives the same results. The file must not change
/// meanwhile; if it is cut short, [`View::check_read`] and the next step of training say so. Numbers that are not bytes
/// are all looked at once when they are loaded. Other formats, and NPY files in Fortran's order, are read into memory all
/// the same, and [`Dataset::note`] says so.
///
/// # Errors
/// As [`load`].
pub fn load_within(name_or_path: &str, memory: Memory) -> Result<Dataset> {
    load_beside(name_or_path, memory, &[])
}

/// Loads as [`load_within`] does. Of a CSV file, the columns of these names are kept beside the others, as text, for rows to
/// be [conditioned](super::Dataset::with_condition) on; other formats have no such columns.
///
/// # Errors
/// As [`load`]; a CSV file without such a column (with the nearest), or with no other.
pub fn load_beside(name_or_path: &str, memory: Memory, beside: &[String]) -> Result<Dataset> {
    load_from(name_or_path, std::env::var_os("ELBO_DATA").map(PathBuf::from).as_deref(), memory, beside)
}

/// Loads as [`load`] does, with the folder of `$ELBO_DATA` given.
///
/// # Errors
/// As [`load`].
pub fn load_in(name_or_path: &str, data: Option<&Path>) -> Result<Dataset> {
    load_from(name_or_path, data, Memory::Auto, &[])
}

fn load_from(name_or_path: &str, data: Option<&Path>, memory: Memory, beside: &[String]) -> Result<Dataset> {
    let data = data.filter(|d| !d.as_os_str().is_empty());
    let limit = memory.limit();
    let data = match name_or_path {
        "mnist" => known::mnist(),
        "mnist-full" => known::mnist_full(data, limit),
        "fashion-mnist" => known::fashion_mnist(data, limit),
        "gaussian-2d" => known::gaussian_2d(),
        _ => from_path(name_or_path, limit, beside),
    }?;
    let bytes = data.all().rows().bytes();
    if bytes <= limit {
        return Ok(data);
    }
    let (bytes, limit) = (human(bytes), human(limit));
    let note = format!(
        "note: {} takes {bytes} of memory, and the limit is {limit}: only plain IDX and NPY files (rows first) are streamed",
        data.name()
    );
    Ok(data.with_note(note))
}

fn from_path(text: &str, limit: u64, beside: &[String]) -> Result<Dataset> {
    let path = Path::new(text);
    // A name that cannot be looked up (too long, a null byte) is as absent as one that is not there.
    if !path.try_exists().unwrap_or(false) {
        let error = Error::input("no data set has this name, and there is no such file").at(format!("`{text}`"));
        return Err(match nearest(text, &KNOWN) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("the names are {}; anything else is a path", KNOWN.join(", "))),
        });
    }
    let name = name_of(path);
    if path.is_dir() {
        return if known::is_four_files(path) { known::four_files(&name, path, limit) } else { pictures(&name, path) };
    }
    Ok(Dataset::new(name, rows(path, limit, beside)?))
}

/// What a path's set is called: its last part, without endings that say the format; and never as one that is known by name.
fn name_of(path: &Path) -> String {
    let named = path.file_name().map(|n| n.to_string_lossy().into_owned()).or_else(|| {
        let whole = path.canonicalize().ok()?;
        Some(whole.file_name()?.to_string_lossy().into_owned())
    });
    let mut name = named.as_deref().unwrap_or("data");
    for ending in [".gz", ".npy", ".csv", ".idx"] {
        name = name.strip_suffix(ending).filter(|rest| !rest.is_empty()).unwrap_or(name);
    }
    // A name alone, as a model's file has it, then stands for a set that is known.
    if KNOWN.contains(&name) { format!("{name}-file") } else { name.to_owned() }
}

/// The format of a file.
enum Format {
    Idx,
    Npy,
    Csv,
}

/// Tells the format by the first bytes, and the ending's word against them where they are no format's.
fn format(input: &Input, path: &Path) -> Result<Format> {
    let head = input.head();
    let name = path.to_string_lossy().to_lowercase();
    let ending = |e: &str| name.trim_end_matches(".gz").ends_with(e);
    if head.starts_with(b"\x93NUMPY") {
        return Ok(Format::Npy);
    }
    if ending(".npy") {
        return Err(input.error("not an NPY file: the magic string \\x93NUMPY is missing"));
    }
    if head.starts_with(b"\x89PNG") {
        return Err(input.error("a single picture").hint("give the folder of PNG pictures"));
    }
    if head.starts_with(b"PK\x03\x04") {
        return Err(input.error("a ZIP archive (or NPZ)").hint("unpack it, and give one file of it"));
    }
    if idx::is_idx(head) || ending("ubyte") || ending(".idx") {
        return Ok(Format::Idx);
    }
    if ending(".csv") || head.iter().all(|&b| b >= b' ' || b"\t\r\n".contains(&b)) {
        return Ok(Format::Csv);
    }
    let bytes: Vec<String> = head.iter().take(4).map(|b| format!("{b:02x}")).collect();
    let error = input.error(format!("starts with the bytes {}: neither IDX, NPY nor CSV", bytes.join(" ")));
    Err(error.hint("elbo reads IDX, NPY, CSV, and folders of PNG pictures"))
}

fn rows(path: &Path, limit: u64, beside: &[String]) -> Result<View> {
    let input = Input::open(path)?;
    let rows = match format(&input, path)? {
        Format::Idx => idx::rows(input, limit),
        #[cfg(feature = "files")]
        Format::Npy => npy::rows(input, limit),
        #[cfg(feature = "files")]
        Format::Csv => return table::rows(input, beside),
        #[cfg(not(feature = "files"))]
        Format::Npy | Format::Csv => {
            let _ = beside;
            Err(without_files(&input.error("this build of elbo reads plain IDX files alone")))
        }
    };
    rows.map(View::new)
}

/// Loads labels, one for each row: an IDX file of one dimension, an NPY file of one dimension, or a CSV file with a header
/// line and one column of any text.
///
/// # Errors
/// As [`load`] for files; more than one column.
pub fn load_labels(path: impl AsRef<Path>) -> Result<Labels> {
    let path = path.as_ref();
    let mut input = Input::open(path)?;
    match format(&input, path)? {
        Format::Idx => Ok(Labels::from_numbers(&idx::labels(&mut input)?)),
        #[cfg(feature = "files")]
        Format::Npy => Ok(Labels::from_numbers(&npy::labels(&mut input)?)),
        #[cfg(feature = "files")]
        Format::Csv => table::labels(input),
        #[cfg(not(feature = "files"))]
        Format::Npy | Format::Csv => Err(without_files(&input.error("this build of elbo reads plain IDX files alone"))),
    }
}

#[cfg(feature = "files")]
fn pictures(name: &str, folder: &Path) -> Result<Dataset> {
    let found = png::pictures(folder)?;
    if found.is_empty() {
        let error = Error::input("the folder has neither PNG pictures nor MNIST's four files");
        return Err(error.at(folder.display().to_string()).hint("pictures end in .png and lie in the folder itself"));
    }
    let rows = png::rows(&found)?;
    Ok(Dataset::new(name, View::new(rows)))
}

#[cfg(not(feature = "files"))]
fn pictures(_: &str, folder: &Path) -> Result<Dataset> {
    let error = Error::input("the folder has none of MNIST's four files, and this build of elbo reads no pictures");
    Err(without_files(&error.at(folder.display().to_string())))
}

#[cfg(not(feature = "files"))]
fn without_files(error: &Error) -> Error {
    error.clone().hint("build with the feature `files`")
}
