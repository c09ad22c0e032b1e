//! Where a run is kept, and that one program at a time trains there.

use super::run::CONFIG_FILE;
use super::{CHECKPOINT_FILE, METRICS_FILE, MODEL_FILE, pictures};
use crate::error::{Error, Result};
use crate::files::atomic::{Staged, remove_leftovers};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// What `elbo reproduce` has measured of a run's model.
pub const LIKELIHOOD_FILE: &str = "likelihood.jsonl";

/// Every file that a run makes, or that is made of it.
const FILES: [&str; 8] = [
    CONFIG_FILE,
    METRICS_FILE,
    MODEL_FILE,
    CHECKPOINT_FILE,
    LIKELIHOOD_FILE,
    pictures::LOSS_FILE,
    pictures::SAMPLES_FILE,
    pictures::RECONSTRUCTIONS_FILE,
];

/// Where a new run is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// `<data>-<preset>` in this folder, with a number behind it if that is taken.
    Numbered(PathBuf),
    /// This folder, which must not exist.
    New(PathBuf),
    /// This folder. If it exists, the files that an earlier run made there are removed, and no others.
    Overwrite(PathBuf),
}

impl Place {
    /// The place that the flags `--out` and `--overwrite` ask for; without the first, a numbered one in `runs`.
    pub fn new(out: Option<PathBuf>, overwrite: bool) -> Place {
        match out {
            None => Place::Numbered("runs".into()),
            Some(path) if overwrite => Place::Overwrite(path),
            Some(path) => Place::New(path),
        }
    }

    /// Makes the folder with what `fill` writes into it. A folder that did not exist before appears whole or not at all,
    /// so a run that can be seen can be resumed.
    pub(super) fn make(&self, name: &str, mut fill: impl FnMut(&Path) -> Result<()>) -> Result<PathBuf> {
        match self {
            Place::Numbered(parent) => {
                let mut staged = stage(parent, parent, &mut fill)?;
                let plain = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '-' };
                let name: String = name.chars().map(plain).collect();
                for number in 1u64.. {
                    let path = parent.join(if number == 1 { name.clone() } else { format!("{name}-{number}") });
                    staged = match staged.rename(&path).map_err(|e| cannot_make(&path, &e))? {
                        None => return Ok(path),
                        Some(staged) => staged,
                    };
                }
                unreachable!("a number is free")
            }
            Place::New(path) => {
                if path.exists() {
                    return Err(exists(path));
                }
                let staged = stage(path.parent().unwrap_or(path), path, &mut fill)?;
                match staged.rename(path).map_err(|e| cannot_make(path, &e))? {
                    None => Ok(path.clone()),
                    Some(_) => Err(exists(path)),
                }
            }
            Place::Overwrite(path) => {
                fs::create_dir_all(path).map_err(|e| cannot_make(path, &e))?;
                let _alone = lock(path)?;
                for file in FILES.map(|name| path.join(name)) {
                    match fs::remove_file(&file) {
                        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", &file, &e)),
                        _ => {}
                    }
                }
                remove_leftovers(path)?;
                fill(path)?;
                Ok(path.clone())
            }
        }
    }
}

/// A filled folder without its name yet, in `parent`, which is made if need be. Errors are those of `path`.
fn stage(parent: &Path, path: &Path, fill: &mut impl FnMut(&Path) -> Result<()>) -> Result<Staged> {
    let parent = if parent == Path::new("") { Path::new(".") } else { parent };
    fs::create_dir_all(parent).map_err(|e| cannot_make(path, &e))?;
    let staged = Staged::new(parent).map_err(|e| cannot_make(path, &e))?;
    // The temporary name means nothing to a reader.
    fill(staged.path()).map_err(|e| e.at(path.display().to_string()))?;
    Ok(staged)
}

fn cannot_make(path: &Path, e: &io::Error) -> Error {
    Error::io("make the folder of the run", path, e)
}

fn exists(path: &Path) -> Error {
    let error = Error::input("it exists already").at(path.display().to_string());
    match path.join(CHECKPOINT_FILE).is_file() {
        true => error.hint(format!("go on with it: --resume {}, or replace it: --overwrite", path.display())),
        false => error.hint("choose another --out, or use it all the same: --overwrite"),
    }
}

/// Keeps other programs from training in a folder, until it is dropped or the process ends, however it does. Where
/// folders cannot be locked, there is no such protection.
///
/// # Errors
/// Somebody else trains there.
pub(super) fn lock(path: &Path) -> Result<Option<File>> {
    let Ok(folder) = File::open(path) else { return Ok(None) };
    match folder.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::input("this run is being trained by another program")
            .at(path.display().to_string())
            .hint("wait until it has ended, or end it first")),
        _ => Ok(Some(folder)),
    }
}
