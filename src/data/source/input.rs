//! A stream of bytes that knows its name, unpacks gzip as it goes, and can be looked at before it is read.

use crate::{Error, Result};
use std::fs::File;
use std::io::{BufReader, Cursor, ErrorKind, Read};
use std::path::Path;

/// Bytes that tell the formats apart.
const PEEK: usize = 12;

/// An open source: a file or embedded bytes, unpacked.
pub(super) struct Input {
    place: String,
    reader: Box<dyn Read>,
    head: Vec<u8>,
    /// The file itself, if its bytes are read as they are.
    file: Option<File>,
    /// Bytes that have been read.
    position: u64,
}

impl Input {
    /// Opens a file; gzip is recognised by its first bytes.
    pub(super) fn open(path: &Path) -> Result<Input> {
        let file = File::open(path).map_err(|e| Error::io("open the file", path, &e))?;
        let metadata = file.metadata().map_err(|e| Error::io("look at the file", path, &e))?;
        if metadata.is_dir() {
            let error = Error::input("a file is needed here, and this is a folder");
            return Err(error.at(path.display().to_string()));
        }
        let again = if metadata.is_file() { file.try_clone().ok() } else { None };
        Self::new(path.display().to_string(), file, again)
    }

    /// Reads bytes that are part of the program.
    #[cfg(feature = "mnist")]
    pub(super) fn embedded(place: &str, bytes: &'static [u8]) -> Result<Input> {
        Self::new(place.to_owned(), bytes, None)
    }

    fn new(place: String, source: impl Read + 'static, file: Option<File>) -> Result<Input> {
        let mut raw = Input { place, reader: Box::new(source), head: Vec::new(), file, position: 0 };
        raw.look()?;
        if raw.head.is_empty() {
            return Err(raw.error("the file is empty"));
        }
        if !raw.head.starts_with(&[0x1f, 0x8b]) {
            raw.reader = Box::new(BufReader::with_capacity(1 << 16, raw.reader));
            return Ok(raw);
        }
        let Input { place, reader, head, .. } = raw;
        let packed = BufReader::with_capacity(1 << 16, Cursor::new(head).chain(reader));
        let mut input = Input { reader: unpack(packed, &place)?, place, head: Vec::new(), file: None, position: 0 };
        input.look()?;
        if input.head.is_empty() {
            return Err(input.error("the file is empty once unpacked"));
        }
        Ok(input)
    }

    fn look(&mut self) -> Result<()> {
        let mut head = vec![0; PEEK];
        let got = self.fill(&mut head)?;
        head.truncate(got);
        self.head = head;
        self.position = 0;
        Ok(())
    }

    /// The first bytes, at most 12, which the next read gives again.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Fills the buffer as far as the source goes and returns how far that was.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut got = 0;
        while got < buffer.len() {
            match self.read(&mut buffer[got..]) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.read_error(&e)),
            }
        }
        Ok(got)
    }

    /// Checks that nothing follows the data, and with it a gzip file's checksum.
    pub(super) fn expect_end(&mut self) -> Result<()> {
        match self.fill(&mut [0])? {
            0 => Ok(()),
            _ => Err(self.bytes_follow()),
        }
    }

    /// The error of a file that is longer than its header says.
    pub(super) fn bytes_follow(&self) -> Error {
        self.error("bytes follow the data that the header describes")
    }

    /// A plain file to read by position, where the next byte is in it, and its length; nothing if it is packed, or is no
    /// file.
    pub(super) fn plain_file(&self) -> Result<Option<(File, u64, u64)>> {
        let Some(file) = &self.file else { return Ok(None) };
        let fail = |e: &std::io::Error| Error::io("look at the file", Path::new(&self.place), e);
        let len = file.metadata().map_err(|e| fail(&e))?.len();
        Ok(Some((file.try_clone().map_err(|e| fail(&e))?, self.position, len)))
    }

    /// The name of the source.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// An error in this source.
    pub(super) fn error(&self, what: impl Into<String>) -> Error {
        Error::input(what).at(self.place.clone())
    }

    /// What went wrong while reading: the system's error, or a damaged gzip file.
    pub(super) fn read_error(&self, e: &std::io::Error) -> Error {
        match e.kind() {
            ErrorKind::UnexpectedEof => {
                self.error("the gzip data end early").hint("the file is cut short; fetch it again")
            }
            ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                self.error(format!("the gzip data are damaged: {e}")).hint("fetch the file again")
            }
            _ => Error::io("read the file", Path::new(&self.place), e),
        }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = if self.head.is_empty() {
            self.reader.read(buffer)?
        } else {
            let n = buffer.len().min(self.head.len());
            buffer[..n].copy_from_slice(&self.head[..n]);
            self.head.drain(..n);
            n
        };
        self.position += n as u64;
        Ok(n)
    }
}

#[cfg(any(feature = "files", feature = "mnist"))]
fn unpack(packed: impl std::io::BufRead + 'static, _: &str) -> Result<Box<dyn Read>> {
    Ok(Box::new(flate2::bufread::MultiGzDecoder::new(packed)))
}

#[cfg(not(any(feature = "files", feature = "mnist")))]
fn unpack(_: impl std::io::BufRead + 'static, place: &str) -> Result<Box<dyn Read>> {
    let error = Error::input("this is a gzip file, and this build of elbo reads none").at(place);
    Err(error.hint("unpack it, or build with the feature `files`"))
}
