//! What rows are conditioned on: labels and covariates, as a code c of so many numbers a row.
//!
//! Text is one-hot over the labels of the training rows; a number is its distance from the training rows' mean, in their
//! deviations. Codes are held as one number a column and row, and written out while a row is gathered.

use super::labels::{choices, spelling};
use super::{Dataset, Labels, View};
use crate::nearest::unknown;
use crate::{Error, Result};
use elbo_kernels::Element;
use ndarray::Array2;
use std::fmt;
use std::str::FromStr;

/// The name of the labels that data bring with them.
pub(super) const OWN: &str = "labels";
/// How a column of numbers is taken as text: `region:labels`.
const AS_LABELS: &str = ":labels";
/// More different texts in a column are names or numbers, and no labels.
const MOST_LABELS: usize = 4096;

/// Which columns rows are conditioned on, as it is written: `labels` for those that the data bring with them, or names of
/// a table's columns with commas in between. A column of numbers alone is one, unless it is called `labels` or spelled
/// `NAME:labels`.
///
/// ```
/// use elbo::data::ConditionColumns;
/// let columns: ConditionColumns = "region,age,decade:labels".parse()?;
/// assert_eq!(columns.names().collect::<Vec<_>>(), ["region", "age", "decade"]);
/// assert!("age,age".parse::<ConditionColumns>().is_err());
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConditionColumns(Vec<(String, bool)>);

impl ConditionColumns {
    /// The columns' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
    /// What the training rows say of these columns.
    ///
    /// # Errors
    /// A column that the data do not have, or one of more than 4,096 labels.
    pub fn fit(&self, data: &Dataset) -> Result<Condition> {
        let field = |(name, as_labels): &(String, bool)| Field::fit(name, *as_labels, data.train());
        let fields = self.0.iter().map(field).collect::<Result<_>>().map_err(|e| e.at(data.name()))?;
        Ok(Condition { fields })
    }
}

impl FromStr for ConditionColumns {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let column = |name: &str| match name.trim().strip_suffix(AS_LABELS) {
            Some(name) => (name.trim().to_owned(), true),
            None => (name.trim().to_owned(), false),
        };
        let columns: Vec<(String, bool)> = text.split(',').map(column).collect();
        let hint = "--condition labels, or names of columns: --condition region,age";
        if columns.iter().any(|(name, _)| name.is_empty()) {
            return Err(Error::input(format!("`{text}` has an empty name in it")).hint(hint));
        }
        if let Some(i) = (1..columns.len()).find(|&i| columns[..i].iter().any(|(name, _)| *name == columns[i].0)) {
            return Err(Error::input(format!("`{text}` names {} twice", columns[i].0)).hint(hint));
        }
        Ok(ConditionColumns(columns))
    }
}

impl fmt::Display for ConditionColumns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, as_labels)) in self.0.iter().enumerate() {
            let (comma, suffix) = (if i > 0 { "," } else { "" }, if *as_labels { AS_LABELS } else { "" });
            write!(f, "{comma}{name}{suffix}")?;
        }
        Ok(())
    }
}

/// One column of a condition.
#[derive(Clone, PartialEq, Debug)]
#[cfg_attr(
    feature = "files",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)
)]
pub enum Field {
    /// Text, one-hot.
    Labels {
        /// The column's name.
        column: String,
        /// The labels of the training rows: numbers in their order, then text in its.
        labels: Vec<String>,
    },
    /// A number, standardised.
    Number {
        /// The column's name.
        column: String,
        /// Over the training rows.
        mean: f64,
        /// Likewise; 1 of a column that is the same everywhere.
        deviation: f64,
    },
}

/// What stands in tables for a number that is not there, in small letters.
const MISSING: [&str; 9] = ["na", "n/a", "nan", "null", "none", "nil", "-", "?", "."];

impl Field {
    fn fit(name: &str, as_labels: bool, train: &View) -> Result<Field> {
        let source = train.column(name)?;
        let codes = || (0..train.len()).map(|position| source.codes()[train.id(position)] as usize);
        let mut seen = vec![false; source.distinct().len()];
        codes().for_each(|code| seen[code] = true);
        let mut labels: Vec<String> =
            source.distinct().iter().zip(&seen).filter(|(_, seen)| **seen).map(|(l, _)| l.clone()).collect();
        let numbers: Vec<Option<f64>> = source.distinct().iter().map(|label| number(label)).collect();
        let text = seen.iter().zip(&numbers).any(|(seen, number)| *seen && number.is_none());
        if text && !as_labels && name != OWN {
            let missing = |code: &usize| numbers[*code].is_none();
            let mut others = codes().filter(missing);
            if seen.iter().zip(&numbers).any(|(seen, number)| *seen && number.is_some())
                && others.clone().all(|code| is_missing(&source.distinct()[code]))
                && let Some(code) = others.next()
            {
                let position = codes().position(|other| other == code).unwrap_or_default();
                let (row, value) = (train.id(position), &source.distinct()[code]);
                return Err(Error::input(format!("row {row}, column {name} is {value}, where others are numbers"))
                    .hint(format!(
                        "fill in the cell or remove the row; {name}{AS_LABELS} takes numbers and all else as labels"
                    )));
            }
        }
        if !(text || as_labels || name == OWN) {
            let values = || codes().filter_map(|code| numbers[code]);
            let count = train.len() as f64;
            let mean = values().sum::<f64>() / count;
            let deviation = (values().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count).sqrt();
            if !deviation.is_finite() {
                return Err(Error::input(format!("the numbers of {name} are too large to be standardised")));
            }
            let deviation = if deviation > 0.0 { deviation } else { 1.0 };
            return Ok(Field::Number { column: name.to_owned(), mean, deviation });
        }
        if labels.len() > MOST_LABELS {
            let what = format!("{name} has {} labels, and a condition has {MOST_LABELS} at most", labels.len());
            return Err(Error::input(what).hint("a column of names or times tells every row apart: leave it out"));
        }
        labels.sort_by(|a, b| {
            match (number(a), number(b)) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                (a, b) => b.is_some().cmp(&a.is_some()),
            }
            .then_with(|| a.cmp(b))
        });
        Ok(Field::Labels { column: name.to_owned(), labels })
    }
    /// The column's name.
    pub fn column(&self) -> &str {
        match self {
            Field::Labels { column, .. } | Field::Number { column, .. } => column,
        }
    }
    /// Its numbers in c.
    pub fn cols(&self) -> usize {
        match self {
            Field::Labels { labels, .. } => labels.len(),
            Field::Number { .. } => 1,
        }
    }
    /// The number that stands for a value: a label's place, or the standardised number.
    pub(super) fn code(&self, text: &str) -> Result<f32> {
        let spelled = spelling(text);
        match self {
            Field::Labels { column, labels } => {
                let at = labels.iter().position(|label| *label == spelled);
                at.map(|at| at as f32).ok_or_else(|| {
                    choices(Error::input(format!("no training row had `{spelled}` in {column}")), &spelled, labels)
                })
            }
            Field::Number { column, mean, deviation } => {
                let code = number(&spelled).map(|x| ((x - mean) / deviation) as f32).filter(|code| code.is_finite());
                code.ok_or_else(|| Error::input(format!("`{spelled}` is no number, and {column} is one")))
            }
        }
    }
}

fn is_missing(text: &str) -> bool {
    MISSING.contains(&text.to_lowercase().as_str())
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|x: &f64| x.is_finite())
}

/// What rows are conditioned on, as the training rows have it: a part of the model.
#[derive(Clone, PartialEq, Debug)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Condition {
    fields: Vec<Field>,
}

impl Condition {
    /// Its columns.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }
    /// Numbers in c.
    pub fn cols(&self) -> usize {
        self.fields.iter().map(Field::cols).sum()
    }
    /// How it is [written](ConditionColumns): a column of numbers that are taken as labels is spelled so.
    pub fn columns(&self) -> ConditionColumns {
        let column = |field: &Field| match field {
            Field::Labels { column, labels } => {
                // What would be taken for numbers, or for numbers of which some are missing.
                let numbers = labels.iter().any(|label| number(label).is_some());
                let others = labels.iter().all(|label| number(label).is_some() || is_missing(label));
                (column.clone(), column != OWN && numbers && others)
            }
            Field::Number { column, .. } => (column.clone(), false),
        };
        ConditionColumns(self.fields.iter().map(column).collect())
    }
    /// Whether it is one that rows can have; one that was [fitted](ConditionColumns::fit) always is.
    ///
    /// # Errors
    /// No column, one without labels or with one twice, a deviation that is not positive.
    pub fn check(&self) -> Result<()> {
        let sound = |field: &Field| match field {
            Field::Labels { labels, .. } => {
                let mut sorted: Vec<&String> = labels.iter().collect();
                sorted.sort_unstable();
                sorted.dedup();
                (1..=MOST_LABELS).contains(&labels.len())
                    && sorted.len() == labels.len()
                    && labels.iter().all(|label| spelling(label) == label.as_str())
            }
            Field::Number { mean, deviation, .. } => mean.is_finite() && deviation.is_finite() && *deviation > 0.0,
        };
        self.columns().to_string().parse::<ConditionColumns>()?;
        match self.fields.iter().find(|field| !sound(field)) {
            Some(field) => Err(Error::input(format!("the condition's column {} is damaged", field.column()))),
            None => Ok(()),
        }
    }
    /// What is given of a row: of each column the value or nothing, from text such as `7` (of one column alone) or
    /// `region=north,age=40`.
    ///
    /// # Errors
    /// A column that the condition does not have (with the nearest), one twice, or a label that no training row had (with
    /// the nearest).
    pub fn parse(&self, text: &str) -> Result<Vec<Option<f32>>> {
        if let ([field], false) = (self.fields.as_slice(), text.contains('=')) {
            return Ok(vec![Some(field.code(text)?)]);
        }
        let mut given = vec![None; self.fields.len()];
        let names: Vec<&str> = self.fields.iter().map(Field::column).collect();
        for part in text.split(',') {
            let Some((name, value)) = part.split_once('=') else {
                return Err(Error::input(format!("`{part}` is no COLUMN=VALUE"))
                    .hint(format!("{}=…, for example", names.join("=…,"))));
            };
            let name = name.trim();
            let at = names
                .iter()
                .position(|n| *n == name)
                .ok_or_else(|| unknown("column of the condition", name, &names))?;
            if given[at].replace(self.fields[at].code(value)?).is_some() {
                return Err(Error::input(format!("{name} is given twice")));
            }
        }
        Ok(given)
    }
    /// Codes of `count` rows, (count, C), with what is [given](Self::parse) in all of them. Of the rest, labels go in turn, those of the
    /// last column fastest, and numbers are at the training rows' mean. Panics at a code that is no label's, or not finite.
    pub fn rows(&self, given: &[Option<f32>], count: usize) -> Array2<f32> {
        for (field, code) in self.fields.iter().zip(given).filter_map(|(field, code)| Some((field, (*code)?))) {
            let known = match field {
                Field::Number { .. } => code.is_finite(),
                Field::Labels { labels, .. } => (0..labels.len()).any(|label| label as f32 == code),
            };
            assert!(
                known,
                "{code} is no code of the condition's column {}: Condition::parse gives those",
                field.column()
            );
        }
        let (mut out, mut codes) = (Array2::zeros((count, self.cols())), vec![0.0; self.fields.len()]);
        for (r, mut row) in out.rows_mut().into_iter().enumerate() {
            let mut turn = r;
            for (i, field) in self.fields.iter().enumerate().rev() {
                codes[i] = match (given.get(i).copied().flatten(), field) {
                    (Some(code), _) => code,
                    (None, Field::Number { .. }) => 0.0,
                    (None, Field::Labels { labels, .. }) => {
                        let code = turn % labels.len();
                        turn /= labels.len();
                        code as f32
                    }
                };
            }
            self.write(&codes, row.as_slice_mut().unwrap_or_default());
        }
        out
    }
    /// Labels that go in turn before they repeat, if nothing is given; `usize::MAX` if they are too many to count.
    pub fn turns(&self) -> usize {
        let labels = self.fields.iter().filter(|field| matches!(field, Field::Labels { .. }));
        labels.fold(1, |turns, field| turns.saturating_mul(field.cols()))
    }
    /// Codes of rows of which a condition of one column is labelled so, (rows, C).
    ///
    /// # Errors
    /// A condition of more columns, or a label that no training row had.
    pub fn of_labels(&self, labels: &Labels) -> Result<Array2<f32>> {
        let [field] = self.fields.as_slice() else {
            let names: Vec<&str> = self.fields.iter().map(Field::column).collect();
            let what = format!("labels say one thing of a row, and the condition is {}", names.join(", "));
            return Err(Error::input(what).hint("--label COLUMN=VALUE,… says the same of all rows"));
        };
        let codes = labels.distinct().iter().map(|label| field.code(label)).collect::<Result<Vec<f32>>>()?;
        let mut out = Array2::zeros((labels.len(), self.cols()));
        for (mut row, code) in out.rows_mut().into_iter().zip(labels.codes()) {
            self.write(&[codes[*code as usize]], row.as_slice_mut().unwrap_or_default());
        }
        Ok(out)
    }
    /// One row's c, (C), from a number for each column.
    pub(super) fn write<F: Element>(&self, codes: &[f32], mut out: &mut [F]) {
        for (field, &code) in self.fields.iter().zip(codes) {
            let (own, rest) = out.split_at_mut(field.cols());
            match field {
                Field::Number { .. } => own[0] = F::from_f64(f64::from(code)),
                Field::Labels { .. } => {
                    own.fill(F::ZERO);
                    own[code as usize] = F::ONE;
                }
            }
            out = rest;
        }
    }
}
