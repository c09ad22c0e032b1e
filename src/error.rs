//! One error type: what went wrong, where, and how to fix it.

use std::fmt;
use std::path::Path;

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure an [`Error`] is; it decides the program's exit status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// The input, the configuration or the usage is wrong: exit status 2.
    Input,
    /// A file could not be read or written: exit status 2.
    Io,
    /// Training met a value that is not finite: exit status 1.
    Diverged,
}

/// What went wrong, where, and a hint at the fix.
///
/// ```
/// use elbo::Error;
/// let e = Error::input("column 3 of row 7 is not a number: \"x\"").at("table.csv").hint("remove the row");
/// assert_eq!(e.to_string(), "table.csv: column 3 of row 7 is not a number: \"x\"\n  hint: remove the row");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    kind: ErrorKind,
    what: String,
    at: Option<String>,
    hint: Option<String>,
}

impl Error {
    fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Error { kind, what: what.into(), at: None, hint: None }
    }
    /// Wrong input, configuration or usage: say what was expected and what was found.
    pub fn input(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, what)
    }
    /// Training met a value that is not finite.
    pub fn diverged(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Diverged, what)
    }
    /// The operating system's error at a path; `doing` completes "cannot …".
    pub fn io(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("cannot {doing}: {error}")).at(path.display().to_string())
    }
    /// Adds where: a file, a flag, a layer.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.at = Some(place.into());
        self
    }
    /// Adds what the place is in: a flag's or a setting's file. A place that names it already stays.
    #[must_use]
    pub fn within(mut self, outer: impl Into<String>) -> Self {
        let outer = outer.into();
        self.at = Some(match self.at {
            Some(inner) if inner.starts_with(&outer) => inner,
            Some(inner) => format!("{outer}: {inner}"),
            None => outer,
        });
        self
    }
    /// Adds how to fix it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    /// Adds more to a hint.
    #[must_use]
    pub fn and_hint(self, more: impl Into<String>) -> Self {
        let more = more.into();
        let hint = self.hint.as_ref().map_or(more.clone(), |hint| format!("{hint}; {more}"));
        self.hint(hint)
    }
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// The start of a text from a file, which may be of any length, for an error to quote.
pub(crate) fn start_of(text: &str) -> &str {
    const MOST: usize = 40;
    text.char_indices().nth(MOST).map_or(text, |(end, _)| &text[..end])
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.at {
            write!(f, "{at}: ")?;
        }
        write!(f, "{}", self.what)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
