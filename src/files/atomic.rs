//! Writing without a moment at which the file is half there.
//!
//! [`write()`] fills a temporary file in the target's own folder (a rename is atomic only within a file system), syncs
//! it, renames it over the target and syncs the folder. Whatever fails on the way, the previous file is untouched and
//! the temporary one is removed; only a killed process can leave one behind, named `.elbo-*.tmp`, for
//! [`remove_leftovers`] to find. A whole folder comes into being in the same way, as [`Staged`].

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use tempfile::{Builder, NamedTempFile, TempDir};

use crate::{Error, Result};

const BUFFER: usize = 1 << 16;

/// How the names of temporary files begin and end.
const TEMPORARY: (&str, &str) = (".elbo-", ".tmp");

/// Replaces `path` by what `fill` writes, or leaves it as it was.
///
/// A new file gets the permissions of any new file (the process's umask), a replaced one keeps its own. A symbolic
/// link stays a link: the file it points to is replaced. Pipes and devices (`/dev/stdout`) cannot be renamed over and
/// are written to directly.
///
/// # Errors
/// Names `path` when the folder is missing or not writable, when `path` is a folder, and when `fill` or the disk fails.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("notes.txt");
/// use elbo::files::atomic;
/// atomic::write(&path, |w| writeln!(w, "first"))?;
/// let failed = atomic::write(&path, |w| {
///     writeln!(w, "half of the sec")?;
///     Err(std::io::Error::other("out of ink"))
/// });
/// assert!(failed.unwrap_err().to_string().contains("out of ink"));
/// assert_eq!(std::fs::read_to_string(&path).unwrap(), "first\n");
/// # Ok::<(), elbo::Error>(())
/// ```
pub fn write(path: impl AsRef<Path>, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let path = path.as_ref();
    let written = match fs::metadata(path) {
        Ok(old) if old.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        Ok(old) if !old.is_file() => write_through(path, fill),
        Ok(old) => fs::canonicalize(path).and_then(|target| replace(&target, Some(&old), fill)),
        Err(_) => replace(path, None, fill),
    };
    written.map_err(|e| failure("write", path, &e))
}

/// Appends `line` and a line feed to `path`, creating the file if need be, and waits until it is on the disk.
///
/// # Errors
/// Names `path` when it cannot be opened or written; it is then as long as before, if the system allows that much.
///
/// # Panics
/// If `line` itself holds a line feed.
pub fn append_line(path: impl AsRef<Path>, line: &str) -> Result<()> {
    assert!(!line.contains('\n'), "append_line: a line holds no line feed: {line:?}");
    let path = path.as_ref();
    let append = || {
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        let before = file.metadata()?.len();
        // One call for the whole line: a reader that follows the file sees whole lines.
        let appended = file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_data());
        if appended.is_err() {
            // Half a line would spoil the next one. If it stays, the first error still says why.
            let _ = file.set_len(before);
        }
        appended
    };
    append().map_err(|e| failure("append to", path, &e))
}

/// Keeps the first `n` complete lines of `path` and returns how many there are, `n` or fewer.
///
/// A last line without its line feed was cut off by a crash and is never kept. A missing file has no lines: nothing is
/// created and 0 returned. A file that is already right is not rewritten.
///
/// # Errors
/// Names `path` when it cannot be read or replaced.
pub fn truncate_lines(path: impl AsRef<Path>, n: usize) -> Result<usize> {
    let path = path.as_ref();
    let (lines, bytes, len) = match first_lines(path, n) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(failure("read", path, &e)),
    };
    if bytes < len {
        write(path, |w| io::copy(&mut io::Read::take(File::open(path)?, bytes), w).map(drop))?;
    }
    Ok(lines)
}

/// Removes what killed writers left in `folder`; nobody may be writing there.
///
/// # Errors
/// Names a file that cannot be removed, or the folder if it cannot be read.
pub fn remove_leftovers(folder: impl AsRef<Path>) -> Result<()> {
    let folder = folder.as_ref();
    let unreadable = |e: io::Error| Error::io("read the folder", folder, &e);
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1) && path.is_file() {
            fs::remove_file(&path).map_err(|e| Error::io("remove", &path, &e))?;
        }
    }
    Ok(())
}

/// A folder that gets its name when all that belongs into it is there. Dropped without one, it is removed.
///
/// ```
/// # let scratch = tempfile::tempdir().unwrap();
/// use elbo::files::atomic::{self, Staged};
/// let (folder, name) = (Staged::new(scratch.path())?, scratch.path().join("run"));
/// atomic::write(folder.path().join("config.toml"), |w| writeln!(w, "epochs = 3"))?;
/// assert!(!name.exists());
/// assert!(folder.rename(&name)?.is_none() && name.join("config.toml").is_file());
/// // A name that is taken is left to its owner.
/// assert!(Staged::new(scratch.path())?.rename(&name)?.is_some() && name.join("config.toml").is_file());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Staged {
    folder: TempDir,
}

impl Staged {
    /// An empty folder in `parent`, with the permissions of any new folder.
    ///
    /// # Errors
    /// The system's.
    pub fn new(parent: impl AsRef<Path>) -> io::Result<Staged> {
        let mut builder = Builder::new();
        builder.prefix(TEMPORARY.0).suffix(TEMPORARY.1);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        builder.tempdir_in(parent).map(|folder| Staged { folder }).map_err(plain)
    }
    /// Where it is for now.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
    /// Names it `path`, beside where it is, and gives it back if that is taken.
    ///
    /// # Errors
    /// The system's.
    pub fn rename(mut self, path: impl AsRef<Path>) -> io::Result<Option<Staged>> {
        use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory};
        let path = path.as_ref();
        // A rename would replace an empty folder.
        if fs::symlink_metadata(path).is_ok() {
            return Ok(Some(self));
        }
        match fs::rename(self.path(), path) {
            Ok(()) => {
                self.folder.disable_cleanup(true);
                sync_folder(parent(path)).map(|()| None)
            }
            Err(e) if matches!(e.kind(), AlreadyExists | DirectoryNotEmpty | NotADirectory) => Ok(Some(self)),
            Err(e) => Err(e),
        }
    }
}

/// How many of the first `n` lines are complete, their bytes, and the bytes of the file.
fn first_lines(path: &Path, n: usize) -> io::Result<(usize, u64, u64)> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    let (mut lines, mut bytes, mut line) = (0, 0, Vec::new());
    while lines < n {
        line.clear();
        reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        lines += 1;
        bytes += line.len() as u64;
    }
    Ok((lines, bytes, len))
}

fn replace(path: &Path, old: Option<&Metadata>, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let folder = parent(path);
    let temporary = create_temporary(folder)?;
    if let Some(old) = old {
        temporary.as_file().set_permissions(old.permissions())?;
    }
    let mut writer = BufWriter::with_capacity(BUFFER, temporary.as_file());
    fill(&mut writer)?;
    writer.flush()?;
    drop(writer);
    temporary.as_file().sync_all()?;
    // Its own name is removed when this is dropped: nothing, once it is renamed.
    let temporary = temporary.into_temp_path();
    fs::rename(&temporary, path)?;
    sync_folder(folder)
}

/// The folder that a path is in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn create_temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(TEMPORARY.0).suffix(TEMPORARY.1);
    // tempfile makes secrets (0600) by default; these files are ordinary ones, and the umask has the last word.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder).map_err(plain)
}

/// tempfile adds the temporary name to the system's words; only the target's name means something to a reader.
fn plain(e: io::Error) -> io::Error {
    let text = e.to_string();
    io::Error::new(e.kind(), text.split(" at path ").next().unwrap_or_default())
}

/// Makes the rename itself durable, where the system has such a thing and lets us.
fn sync_folder(folder: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    if cfg!(not(unix)) {
        return Ok(());
    }
    match File::open(folder).and_then(|f| f.sync_all()) {
        Err(e) if !matches!(e.kind(), InvalidInput | PermissionDenied | Unsupported) => Err(e),
        _ => Ok(()),
    }
}

fn write_through(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(BUFFER, OpenOptions::new().write(true).open(path)?);
    fill(&mut writer)?;
    writer.flush()
}

/// The error at `path`, and what is wrong with its folder where that explains it.
fn failure(doing: &str, path: &Path, error: &io::Error) -> Error {
    let plain = Error::io(doing, path, error);
    match path.parent() {
        Some(folder) if folder != Path::new("") && !folder.exists() => {
            plain.hint(format!("the folder {} does not exist", folder.display()))
        }
        Some(folder) if folder.is_file() => plain.hint(format!("{} is a file, not a folder", folder.display())),
        _ => plain,
    }
}
