//! Rows with their conditions.

use super::condition::{Condition, OWN};
use super::{Dataset, Labels, View};
use crate::{Error, Result};
use elbo_kernels::Element;
use std::sync::Arc;

/// A condition, and what each row of a set has of it.
#[derive(Debug)]
pub(super) struct Conditions {
    condition: Condition,
    /// (rows, columns)
    codes: Vec<f32>,
}

impl Conditions {
    /// Of all rows of a set.
    fn new(condition: Condition, all: &View) -> Result<Self> {
        let count = condition.fields().len();
        let mut codes = vec![0.0; all.rows().len() * count];
        for (i, field) in condition.fields().iter().enumerate() {
            let source = all.column(field.column())?;
            let of = |(code, label): (usize, &String)| {
                let row = || source.codes().iter().position(|&c| c as usize == code).unwrap_or_default();
                field.code(label).map_err(|e| e.at(format!("row {}", row())))
            };
            let by_label = source.distinct().iter().enumerate().map(of).collect::<Result<Vec<f32>>>()?;
            for (row, &code) in source.codes().iter().enumerate() {
                codes[row * count + i] = by_label[code as usize];
            }
        }
        Ok(Conditions { condition, codes })
    }
}

impl View {
    /// What the rows are conditioned on, if anything.
    pub fn condition(&self) -> Option<&Condition> {
        self.conditions.as_ref().map(|c| &c.condition)
    }
    /// Numbers of the condition of each row; 0 without one.
    pub fn condition_cols(&self) -> usize {
        self.condition().map_or(0, Condition::cols)
    }
    /// Writes the condition of the row at a position, (C); nothing into no columns.
    ///
    /// # Panics
    /// A position not in the view, or an `out` that is neither empty nor as long as the condition.
    pub fn gather_condition<F: Element>(&self, position: usize, out: &mut [F]) {
        self.condition_of(self.id(position), out);
    }
    /// The same of a row of the whole set.
    pub(super) fn condition_of<F: Element>(&self, id: usize, out: &mut [F]) {
        if out.is_empty() {
            return;
        }
        assert_eq!(out.len(), self.condition_cols(), "numbers of a condition");
        if let Some(Conditions { condition, codes }) = self.conditions.as_deref() {
            let count = condition.fields().len();
            condition.write(&codes[id * count..(id + 1) * count], out);
        }
    }
    /// The codes of all rows of the set, as they are held: what tells one condition of the rows from another.
    #[cfg(feature = "files")]
    pub(crate) fn condition_codes(&self) -> &[f32] {
        self.conditions.as_deref().map_or(&[], |c| &c.codes)
    }
    /// Adds columns that rows can be [conditioned](Dataset::with_condition) on, beside those that are modelled: text for each
    /// row of the whole set.
    ///
    /// # Errors
    /// Another number of texts than of rows.
    pub fn with_columns(mut self, columns: Vec<(String, Labels)>) -> Result<View> {
        for (name, labels) in &columns {
            labels.expect_rows(self.rows().len()).map_err(|e| e.at(name.clone()))?;
        }
        self.beside = Some(columns.into());
        Ok(self)
    }
    fn beside(&self) -> &[(String, Labels)] {
        self.beside.as_deref().unwrap_or(&[])
    }
    /// A column that rows can be conditioned on.
    pub(super) fn column(&self, name: &str) -> Result<&Labels> {
        if let Some((_, labels)) = self.beside().iter().find(|(n, _)| n == name) {
            return Ok(labels);
        }
        match (name == OWN, self.labels()) {
            (true, Some(labels)) => Ok(labels),
            (true, None) => Err(Error::input("the data have no labels")
                .hint("MNIST's four files bring labels; of a table, name columns: --condition region,age")),
            (false, _) => Err(Error::input(format!("the data have no column {name} beside those that are modelled"))
                .hint(
                    "columns are those of a CSV file; --condition labels takes the labels that data bring with them",
                )),
        }
    }
}

impl Dataset {
    /// What the rows are conditioned on, if anything.
    pub fn condition(&self) -> Option<&Condition> {
        self.all().condition()
    }
    /// Conditions every row, in all splits.
    ///
    /// # Errors
    /// A column that the data do not have, or a row with a label that no training row had (with the nearest).
    pub fn with_condition(self, condition: Condition) -> Result<Dataset> {
        let at = |e: Error| e.within(self.name().to_owned());
        let conditions = Arc::new(Conditions::new(condition, self.all()).map_err(at)?);
        Ok(self.map(|mut view| {
            view.conditions = Some(Arc::clone(&conditions));
            view
        }))
    }
}
