//! Data rows that stay in a file and are read by position: data larger than memory.
//!
//! No memory map: a file that is cut short while it is read must be an error, and a map makes it a crash.

use super::source::numbers::Number;
use crate::{Error, Result};
use elbo_kernels::sweep::scale_u8;
use elbo_kernels::{Element, Isa};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Bytes that are read at once where rows are asked for one by one: the copy then costs more than the call.
const WINDOW_BYTES: usize = 1 << 16;
/// Windows at most; else two for each thread, which may be at work in two places, and two more.
const MOST_WINDOWS: usize = 64;

/// Some rows of the set, one after the other in one file.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: File,
    /// The file's name, for messages.
    pub(super) place: String,
    /// Where the first row begins, in bytes.
    pub(super) start: u64,
    pub(super) rows: usize,
    /// Systems without positioned reads share the file's one position.
    #[cfg(any(not(unix), test))]
    turn: Mutex<()>,
}

impl Part {
    pub(super) fn new(file: File, place: String, start: u64, rows: usize) -> Part {
        Part {
            file,
            place,
            start,
            rows,
            #[cfg(any(not(unix), test))]
            turn: Mutex::new(()),
        }
    }

    #[cfg(unix)]
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, bytes, offset)
    }

    #[cfg(not(unix))]
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_after_seek(bytes, offset)
    }

    #[cfg(any(not(unix), test))]
    fn read_exact_after_seek(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        let _turn = lock(&self.turn);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(bytes)
    }

    /// What went wrong in reading rows of `row_bytes` each.
    fn error(&self, error: &io::Error, row_bytes: usize) -> Error {
        if error.kind() != io::ErrorKind::UnexpectedEof {
            return Error::io("read the file", Path::new(&self.place), error);
        }
        let expected = self.rows as u64 * row_bytes as u64;
        let found = self.file.metadata().map_or(0, |m| m.len().saturating_sub(self.start)).min(expected);
        let row = found / row_bytes as u64;
        let at = self.start + found;
        let what = format!(
            "the file now ends in row {row}, at byte {at} ({found} of {expected} bytes of data): it has been cut short \
             since it was opened"
        );
        let error = io::Error::new(io::ErrorKind::UnexpectedEof, what);
        Error::io("read the rows", Path::new(&self.place), &error)
            .hint("rows count from 0; data that are streamed must not change meanwhile")
    }
}

/// Rows that were read together, and which.
#[derive(Default)]
struct Window {
    number: Option<usize>,
    bytes: Vec<u8>,
}

/// A place for a window. The tag says without a lock which window may be there.
struct Slot {
    tag: AtomicUsize,
    window: Mutex<Window>,
}

/// A matrix of numbers in one or more files.
///
/// Rows that are asked for one by one come through a few windows of neighbouring rows, so that one pass over the file is
/// read in large pieces, whatever the number of threads. A read that fails is remembered: [`check`](RowFile::check).
pub(super) struct RowFile {
    parts: Vec<Part>,
    number: Number,
    big_endian: bool,
    rows: usize,
    cols: usize,
    window_rows: usize,
    slots: Vec<Slot>,
    turn: AtomicUsize,
    failure: OnceLock<Error>,
    /// The least and the greatest value, once all have been looked at.
    range: OnceLock<(f32, f32)>,
}

impl RowFile {
    /// Rows of `cols` numbers, which the parts hold one after the other.
    pub(super) fn new(parts: Vec<Part>, number: Number, big_endian: bool, cols: usize) -> RowFile {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let slot = || Slot { tag: AtomicUsize::new(usize::MAX), window: Mutex::default() };
        RowFile {
            rows: parts.iter().map(|part| part.rows).sum(),
            window_rows: (WINDOW_BYTES / (cols * number.size()).max(1)).max(1),
            slots: (0..(2 * threads + 2).min(MOST_WINDOWS)).map(|_| slot()).collect(),
            turn: AtomicUsize::new(0),
            failure: OnceLock::new(),
            range: OnceLock::new(),
            parts,
            number,
            big_endian,
            cols,
        }
    }

    /// Numbers in all rows.
    pub(super) fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Bytes of a row.
    pub(super) fn row_bytes(&self) -> usize {
        self.cols * self.number.size()
    }

    /// Whether the numbers are pixels.
    pub(super) fn is_bytes(&self) -> bool {
        self.number == Number::U8
    }

    /// Reads the bytes of neighbouring rows with as few calls as there are files.
    pub(super) fn read(&self, mut first: usize, mut bytes: &mut [u8]) -> Result<()> {
        let (row_bytes, mut base) = (self.row_bytes(), 0);
        for part in &self.parts {
            if first < base + part.rows && !bytes.is_empty() {
                let rows = (bytes.len() / row_bytes).min(base + part.rows - first);
                let (here, rest) = bytes.split_at_mut(rows * row_bytes);
                let offset = part.start + (first - base) as u64 * row_bytes as u64;
                part.read_exact_at(here, offset).map_err(|e| part.error(&e, row_bytes))?;
                (first, bytes) = (first + rows, rest);
            }
            base += part.rows;
        }
        Ok(())
    }

    /// Turns the bytes of a row into numbers, as [`Rows::gather`](super::Rows::gather) says.
    pub(super) fn decode<F: Element>(&self, bytes: &[u8], out: &mut [F]) {
        match self.is_bytes() {
            true => scale_u8(Isa::default(), bytes, F::ONE / F::from_f64(255.0), out),
            false => self.number.decode_into(self.big_endian, bytes, out),
        }
    }

    /// The value of each column in the bytes of a row.
    pub(super) fn values<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = f64> + use<'a> {
        let decode = self.number.decoder(self.big_endian);
        let scale = if self.is_bytes() { 1.0 / 255.0 } else { 1.0 };
        bytes.chunks_exact(self.number.size()).map(move |b| f64::from(decode(b) as f32) * scale)
    }

    /// Looks at the bytes of one row; nothing if they cannot be read, which [`check`](RowFile::check) then tells.
    pub(super) fn with_row<R>(&self, row: usize, look: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let number = row / self.window_rows;
        let found = self.slots.iter().find(|slot| slot.tag.load(Ordering::Relaxed) == number);
        let next = || &self.slots[self.turn.fetch_add(1, Ordering::Relaxed) % self.slots.len()];
        let slot = found.unwrap_or_else(next);
        let mut window = lock(&slot.window);
        if window.number != Some(number) {
            slot.tag.store(number, Ordering::Relaxed);
            if let Err(error) = self.fill(&mut window, number) {
                self.failure.get_or_init(|| error);
                return None;
            }
        }
        let at = (row - number * self.window_rows) * self.row_bytes();
        Some(look(&window.bytes[at..at + self.row_bytes()]))
    }

    fn fill(&self, window: &mut Window, number: usize) -> Result<()> {
        window.number = None;
        let first = number * self.window_rows;
        resize(&mut window.bytes, self.window_rows.min(self.rows - first) * self.row_bytes())?;
        self.read(first, &mut window.bytes)?;
        window.number = Some(number);
        Ok(())
    }

    /// Writes one row as numbers, or as NaN if it cannot be read.
    pub(super) fn gather<F: Element>(&self, row: usize, out: &mut [F]) {
        if self.with_row(row, |bytes| self.decode(bytes, out)).is_none() {
            out.fill(F::from_f64(f64::NAN));
        }
    }

    /// Whether all rows that were asked for could be read.
    pub(super) fn check(&self) -> Result<()> {
        self.failure.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Reads all rows once; the row, the column and the value of the first number that is not finite.
    pub(super) fn scan(&self) -> Result<Option<(usize, usize, f32)>> {
        if self.is_bytes() {
            return Ok(None);
        }
        let mut values: Vec<f32> = Vec::new();
        resize(&mut values, self.cols)?;
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        for row in 0..self.rows {
            self.gather(row, &mut values);
            self.check()?;
            if let Some(col) = values.iter().position(|x| !x.is_finite()) {
                return Ok(Some((row, col, values[col])));
            }
            (low, high) = values.iter().fold((low, high), |(low, high), &x| (low.min(x), high.max(x)));
        }
        self.range.get_or_init(|| (low, high));
        Ok(None)
    }

    /// Whether all values are known to lie in `[low, high]`.
    pub(super) fn surely_within(&self, low: f64, high: f64) -> bool {
        match self.is_bytes() {
            true => low <= 0.0 && high >= 1.0,
            false => self.range.get().is_some_and(|&(l, h)| low <= f64::from(l) && f64::from(h) <= high),
        }
    }
}

/// A file is the same as itself alone: to compare contents is to read them.
impl PartialEq for RowFile {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl std::fmt::Debug for RowFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowFile").field("parts", &self.parts).field("number", &self.number).finish_non_exhaustive()
    }
}

/// Makes a list of `len` values; one that is as long keeps its memory.
pub(super) fn resize<T: Copy + Default>(list: &mut Vec<T>, len: usize) -> Result<()> {
    let more = len.saturating_sub(list.len());
    list.try_reserve_exact(more).map_err(|_| Error::input("there is not enough memory for rows as wide as these"))?;
    list.resize(len, T::default());
    Ok(())
}

/// A lock that outlives a panic elsewhere: what it guards is whole at every moment.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn seeking_reads_what_positioned_reads_read() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&(0..=255).collect::<Vec<u8>>()).unwrap();
        let part = Part::new(file, "test".into(), 6, 50);
        for (offset, len) in [(0, 1), (250, 6), (17, 100), (0, 256)] {
            let (mut a, mut b) = (vec![0; len], vec![1; len]);
            part.read_exact_at(&mut a, offset).unwrap();
            part.read_exact_after_seek(&mut b, offset).unwrap();
            assert_eq!(a, b);
            assert_eq!(usize::from(a[0]), offset as usize);
        }
        let error = |r: io::Result<()>| r.unwrap_err().kind();
        assert_eq!(error(part.read_exact_at(&mut [0; 10], 250)), io::ErrorKind::UnexpectedEof);
        assert_eq!(error(part.read_exact_after_seek(&mut [0; 10], 250)), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn threads_that_outnumber_the_windows_read_the_right_rows() {
        // Rows so wide that a window holds one, and far more of them than windows.
        let (cols, rows) = (WINDOW_BYTES, 200);
        let mut file = tempfile::tempfile().unwrap();
        (0..rows).for_each(|row| file.write_all(&vec![row as u8; cols]).unwrap());
        let stored = RowFile::new(vec![Part::new(file, "test".into(), 0, rows)], Number::U8, false, cols);
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let stored = &stored;
                scope.spawn(move || {
                    for i in 0..300 {
                        let row = (i * 37 + thread * 11) % rows;
                        let same = stored.with_row(row, |bytes| bytes.iter().all(|&b| usize::from(b) == row));
                        assert_eq!(same, Some(true), "row {row}");
                    }
                });
            }
        });
    }
}
