//! Where words go: data and JSON to the standard output, progress and messages to the standard error.
//!
//! A reader that goes away (`elbo score … | head`) is no error: what it does not want is left unsaid.

use crate::error::{Error, Result};
use serde_json::Value;
use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::path::Path;

/// How to talk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Console {
    /// No progress and no messages but errors.
    pub quiet: bool,
    /// Results as JSON.
    pub json: bool,
}

impl Console {
    /// Whether the standard error is a terminal that progress may be drawn on.
    pub fn draws(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }
    /// A message.
    pub fn say(&self, message: impl Display) {
        if !self.quiet {
            complain(message);
        }
    }
    /// Writes data to the standard output.
    ///
    /// # Errors
    /// When it cannot be written, but for a reader that went away.
    pub fn data(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        match write(&mut out).and_then(|()| out.flush()) {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::io("write", Path::new("standard output"), &e)),
            _ => {
                // What is left in the buffer would be tried again on drop, in vain.
                let _ = out.into_parts();
                Ok(())
            }
        }
    }
    /// Writes one JSON value on a line of its own, or, without `--json`, what a person reads.
    ///
    /// # Errors
    /// As [`data`](Self::data).
    pub fn report(&self, json: &Value, text: impl Display) -> Result<()> {
        self.data(|w| if self.json { writeln!(w, "{json}") } else { writeln!(w, "{text}") })
    }
    /// Says what was written where: a message, and with `--json` an object on the standard output.
    ///
    /// # Errors
    /// As [`data`](Self::data).
    pub fn wrote(&self, path: &Path, (rows, columns): (usize, usize)) -> Result<()> {
        let (r, c) = (count(rows, "row"), count(columns, "column"));
        self.say(format_args!("wrote {} ({r} of {c})", path.display()));
        match self.json {
            true => self.data(|w| {
                let path = path.display().to_string();
                writeln!(w, "{}", serde_json::json!({ "out": path, "rows": rows, "columns": columns }))
            }),
            false => Ok(()),
        }
    }
}

/// `1 row`, `2 rows`.
pub fn count(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// Writes to the standard error; a reader that went away is left alone.
pub fn complain(message: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{message}");
}
