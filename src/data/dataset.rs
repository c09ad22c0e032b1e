//! A named set of rows and its splits.

use super::{Rows, View, order};
use crate::nearest::unknown;
use crate::tensor::Noise;
use crate::{Error, Result};
use ndarray::ArrayView2;
use std::fmt;
use std::str::FromStr;

/// A part of a data set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Split {
    /// The rows to learn from: neither test nor validation.
    Train,
    /// The rows that choose the best model and stop training.
    Validation,
    /// The rows held out, which select nothing.
    Test,
    /// Every row, in the order of the source.
    All,
}

impl Split {
    /// The names, as flags and files write them.
    pub const NAMES: [&str; 4] = ["train", "validation", "test", "all"];

    /// The name, as flags and files write it.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Split {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        let all = [Split::Train, Split::Validation, Split::Test, Split::All];
        all.into_iter().find(|s| s.name() == name).ok_or_else(|| unknown("split", name, &Self::NAMES))
    }
}

/// How much of the training rows to set aside for validation.
///
/// ```
/// use elbo::data::Validation;
/// assert_eq!("1000".parse(), Ok(Validation::Rows(1000)));
/// assert_eq!("0.1".parse(), Ok(Validation::Fraction(0.1)));
/// assert_eq!("last:1000".parse(), Ok(Validation::Last(1000)));
/// assert_eq!("none".parse(), Ok(Validation::None));
/// ```
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Validation {
    /// Nothing.
    #[default]
    None,
    /// So many rows, drawn by the seed.
    Rows(usize),
    /// So many rows, the last ones: for protocols that say so, and for rows in the order of time.
    Last(usize),
    /// This share, above 0 and below 1; the nearest number of rows.
    Fraction(f64),
}

impl Validation {
    /// The number of rows to take from `rows`, of which at least one must remain.
    ///
    /// # Errors
    /// A share outside (0, 1) or of no row, or nothing left to train on.
    pub fn count(self, rows: usize) -> Result<usize> {
        let count = match self {
            Validation::None => return Ok(0),
            Validation::Rows(n) | Validation::Last(n) => n,
            Validation::Fraction(f) if f > 0.0 && f < 1.0 => (f * rows as f64).round() as usize,
            Validation::Fraction(f) => {
                let error = Error::input(format!("a validation share of {f} is not between 0 and 1"));
                return Err(error.hint("write a number of rows without a point: 1000"));
            }
        };
        if let (0, Validation::Fraction(share)) = (count, self) {
            return Err(Error::input(format!("a validation share of {share:?} of {rows} rows is no row at all")));
        }
        if count >= rows {
            let error = Error::input(format!("{count} validation rows leave none of {rows} to train on"));
            return Err(error.hint(format!("set aside fewer than {rows}")));
        }
        Ok(count)
    }
}

impl fmt::Display for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Validation::None => f.pad("none"),
            Validation::Rows(n) => write!(f, "{n}"),
            Validation::Last(n) => write!(f, "last:{n}"),
            Validation::Fraction(share) => write!(f, "{share:?}"),
        }
    }
}

impl FromStr for Validation {
    type Err = Error;
    /// `none`, a whole number of rows (0 is none), `last:` before such a number, or a share between 0 and 1.
    fn from_str(text: &str) -> Result<Self> {
        if text == "none" || text == "0" {
            return Ok(Validation::None);
        }
        if let Ok(rows) = text.parse() {
            return Ok(Validation::Rows(rows));
        }
        if let Some(Ok(rows)) = text.strip_prefix("last:").map(str::parse) {
            return Ok(Validation::Last(rows));
        }
        match text.parse() {
            Ok(f) if f > 0.0 && f < 1.0 => Ok(Validation::Fraction(f)),
            _ => Err(Error::input(format!("`{text}` is neither a number of rows nor a share between 0 and 1"))
                .hint("write 1000, 0.1, last:1000 or none")),
        }
    }
}

/// A named set of rows, in memory once or in a file, and the views that are its splits.
///
/// ```
/// use elbo::data::{Dataset, Split, Validation};
/// let x = ndarray::Array2::<f32>::zeros((100, 3));
/// let data = Dataset::from_array(x.view())?.with_test(20)?.with_validation(Validation::Rows(10), 7)?;
/// let rows = |split| data.split(split).map(|view| view.len());
/// assert_eq!(rows(Split::Train)?, 70);
/// assert_eq!(rows(Split::Validation)?, 10);
/// assert_eq!(rows(Split::Test)?, 20);
/// assert_eq!(rows(Split::All)?, 100);
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dataset {
    name: String,
    all: View,
    train: View,
    validation: Option<View>,
    test: Option<View>,
    /// How the validation split was cut.
    set_aside: Validation,
    note: Option<String>,
}

impl Dataset {
    /// One set of rows, all of them for training.
    pub fn new(name: impl Into<String>, all: View) -> Dataset {
        Dataset {
            name: name.into(),
            train: all.clone(),
            all,
            validation: None,
            test: None,
            set_aside: Validation::None,
            note: None,
        }
    }

    /// The rows of an array, `(rows, cols)`, which are copied once.
    ///
    /// # Errors
    /// No rows, no columns, or a value that is not finite (named by row and column).
    pub fn from_array(data: ArrayView2<f32>) -> Result<Dataset> {
        Ok(Dataset::new("array", View::new(Rows::from_view(data)?)))
    }

    /// Makes the last `rows` the test split, and forgets a validation split.
    ///
    /// # Errors
    /// Nothing left to train on. No rows means no test split.
    pub fn with_test(mut self, rows: usize) -> Result<Dataset> {
        let len = self.all.len();
        if rows >= len {
            return Err(Error::input(format!("{rows} test rows leave none of {len} to train on")).at(self.name));
        }
        self.test = (rows > 0).then(|| self.all.slice(len - rows..len));
        self.train = self.all.slice(0..len - rows);
        (self.validation, self.set_aside) = (None, Validation::None);
        Ok(self)
    }

    /// Cuts a validation split from all rows that are not test rows: the last ones, or a function of the seed. Both parts keep the order
    /// of the source. An earlier validation split is undone first.
    ///
    /// # Errors
    /// As [`Validation::count`].
    pub fn with_validation(mut self, validation: Validation, seed: u64) -> Result<Dataset> {
        let learnable = self.all.slice(0..self.all.len() - self.test.as_ref().map_or(0, View::len));
        let count = validation.count(learnable.len()).map_err(|e| e.at(self.name.clone()))?;
        if count == 0 {
            (self.train, self.validation, self.set_aside) = (learnable, None, Validation::None);
        } else if let Validation::Last(_) = validation {
            let first = learnable.len() - count;
            self.train = learnable.slice(0..first);
            self.validation = Some(learnable.slice(first..learnable.len()));
            self.set_aside = validation;
        } else {
            let (chosen, others) = order::choose(Noise::new(seed), count, learnable.len());
            self.train = learnable.select(&others);
            self.validation = Some(learnable.select(&chosen));
            self.set_aside = Validation::Rows(count);
        }
        Ok(self)
    }

    /// Every split as `of` makes it from itself.
    pub(super) fn map(self, of: impl Fn(View) -> View) -> Dataset {
        Dataset {
            all: of(self.all),
            train: of(self.train),
            validation: self.validation.map(&of),
            test: self.test.map(&of),
            ..self
        }
    }

    /// How the validation split was cut, a share as the number of its rows.
    pub fn set_aside(&self) -> Validation {
        self.set_aside
    }

    /// The name: of a known set, or from the path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds what is to be said about how the data are held.
    pub(super) fn with_note(mut self, note: String) -> Dataset {
        self.note = Some(note);
        self
    }

    /// What is to be said about how the data are held: that they take more memory than they should, and why.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The rows to learn from.
    pub fn train(&self) -> &View {
        &self.train
    }

    /// The rows that choose the best model, if any were set aside.
    pub fn validation(&self) -> Option<&View> {
        self.validation.as_ref()
    }

    /// The rows held out, if the set has such.
    pub fn test(&self) -> Option<&View> {
        self.test.as_ref()
    }

    /// Every row, in the order of the source: training rows (with those set aside for validation), then test rows.
    pub fn all(&self) -> &View {
        &self.all
    }

    /// The split that is read when none is asked for: test, or all where there is one set.
    pub fn default_split(&self) -> Split {
        if self.test.is_some() { Split::Test } else { Split::All }
    }

    /// The rows of a split.
    ///
    /// # Errors
    /// A split that the set does not have.
    pub fn split(&self, split: Split) -> Result<&View> {
        let (view, hint) = match split {
            Split::Train => (Some(&self.train), ""),
            Split::All => (Some(&self.all), ""),
            Split::Test => (self.test.as_ref(), "use `--split all`: the data are one set"),
            Split::Validation => (self.validation.as_ref(), "set rows aside with `--validation N`"),
        };
        view.ok_or_else(|| Error::input(format!("there is no {split} split")).at(self.name.clone()).hint(hint))
    }
}
