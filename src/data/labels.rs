//! Labels of rows: text compared as text, numbers as numbers.

use crate::nearest::nearest;
use crate::{Error, Result};
use std::borrow::Cow;
use std::collections::HashMap;

/// One label for each row, held as a number into the list of distinct labels.
///
/// Labels are text. Those that are numbers are brought to one spelling first, so that `3`, `3.0` and ` 03` are the same
/// label whether a file wrote an integer, a float or text.
///
/// ```
/// use elbo::data::Labels;
/// let labels = Labels::from_iter(["normal", "3", "3.0"]);
/// assert_eq!(labels.get(2), "3");
/// assert_eq!(labels.codes(), [0, 1, 1]);
/// assert_eq!(labels.code("03")?, 1);
/// let typo = labels.code("norml").unwrap_err();
/// assert_eq!(typo.to_string(), "no row has the label `norml`\n  hint: did you mean `normal`?");
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Labels {
    distinct: Vec<String>,
    codes: Vec<u32>,
}

impl Labels {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// The label of a row, in its one spelling.
    ///
    /// # Panics
    /// A row that does not exist.
    pub fn get(&self, row: usize) -> &str {
        &self.distinct[self.codes[row] as usize]
    }

    /// The distinct labels, in the order in which they first appear.
    pub fn distinct(&self) -> &[String] {
        &self.distinct
    }

    /// For each row, the place of its label among the [`distinct`](Labels::distinct) ones.
    pub fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// The code of a label, however a number is spelled.
    ///
    /// # Errors
    /// A label that no row has, with the nearest one.
    pub fn code(&self, label: &str) -> Result<u32> {
        let spelled = spelling(label);
        if let Some(code) = self.distinct.iter().position(|d| *d == spelled) {
            return Ok(code as u32);
        }
        Err(choices(Error::input(format!("no row has the label `{spelled}`")), &spelled, &self.distinct))
    }

    /// For each row, whether it carries a label: what `--positive` asks.
    ///
    /// # Errors
    /// A label that no row has, with the nearest one.
    pub fn matches(&self, label: &str) -> Result<Vec<bool>> {
        let code = self.code(label)?;
        Ok(self.codes.iter().map(|&c| c == code).collect())
    }

    /// Checks that there is one label for each row of the data.
    ///
    /// # Errors
    /// Another number of labels.
    pub fn expect_rows(&self, rows: usize) -> Result<()> {
        if self.len() == rows {
            return Ok(());
        }
        let error = Error::input(format!("{} labels for {rows} rows", self.len()));
        Err(error.hint("labels belong to the rows of one split, in its order"))
    }

    /// From finite numbers, as label files of IDX and NPY hold them.
    pub(super) fn from_numbers(numbers: &[f64]) -> Labels {
        let mut labels = Labels::default();
        let mut seen = HashMap::new();
        for number in numbers {
            // Adding +0 turns -0 into 0.
            let number = number + 0.0;
            let code = *seen.entry(number.to_bits()).or_insert_with(|| {
                labels.distinct.push(number.to_string());
                labels.distinct.len() as u32 - 1
            });
            labels.codes.push(code);
        }
        labels
    }
}

impl<S: AsRef<str>> FromIterator<S> for Labels {
    fn from_iter<I: IntoIterator<Item = S>>(labels: I) -> Self {
        let mut out = Labels::default();
        let mut seen: HashMap<String, u32> = HashMap::new();
        for label in labels {
            let spelled = spelling(label.as_ref());
            let code = match seen.get(spelled.as_ref()) {
                Some(&code) => code,
                None => {
                    let code = out.distinct.len() as u32;
                    out.distinct.push(spelled.clone().into_owned());
                    seen.insert(spelled.into_owned(), code);
                    code
                }
            };
            out.codes.push(code);
        }
        out
    }
}

/// The error of a label that is not among those known, with the nearest as a hint, or some of them.
pub(super) fn choices(error: Error, spelled: &str, known: &[String]) -> Error {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    match nearest(spelled, &known) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None if known.len() <= 20 => error.hint(format!("labels are {}", known.join(", "))),
        None => error.hint(format!("there are {} labels, {} among them", known.len(), known[..10].join(", "))),
    }
}

/// The one spelling of a label: no blanks around it, a finite number as Rust prints it.
pub(super) fn spelling(label: &str) -> Cow<'_, str> {
    let label = label.trim();
    match label.parse::<f64>() {
        // Adding +0 turns -0 into 0.
        Ok(number) if number.is_finite() => Cow::Owned((number + 0.0).to_string()),
        _ => Cow::Borrowed(label),
    }
}
