//! CSV: a header line with the columns' names, then numbers.

use super::input::Input;
use super::numbers::reserve;
use crate::data::rows::{Rows, Values};
use crate::data::{Labels, View};
use crate::error::start_of;
use crate::nearest::unknown;
use crate::{Error, Result};
use csv::{ByteRecord, Reader, ReaderBuilder, Terminator, Trim};
use std::io::{Chain, Read};

/// A table being read, with what its errors name.
struct Table {
    place: String,
    reader: Reader<Chain<Input, &'static [u8]>>,
    names: Vec<String>,
    /// The line after the last row that was read, counted from 1.
    line: u64,
}

impl Table {
    fn open(input: Input) -> Result<Table> {
        let place = input.place().to_owned();
        // Ragged rows get an error of our own, with row and column. Each record ends with a line feed, the last one too,
        // so that the reader's line is the one after the record; a carriage return before it is trimmed as a blank.
        let mut reader = ReaderBuilder::new()
            .flexible(true)
            .trim(Trim::Headers)
            .terminator(Terminator::Any(b'\n'))
            .from_reader(input.chain(b"\n".as_slice()));
        let header = reader.byte_headers().map_err(|e| damaged(&place, &e))?;
        let names: Vec<String> = header.iter().map(|n| String::from_utf8_lossy(n).into_owned()).collect();
        let at = |error: Error| error.at(place.clone());
        if names.iter().any(|name| name.replace("\r\n", "").contains('\r')) {
            let error =
                Error::input("a name in the first line has a carriage return in it, as if lines ended with that alone");
            return Err(at(error.hint("save the file with line feeds at the ends of its lines")));
        }
        if names.iter().all(String::is_empty) {
            return Err(at(Error::input("the first line has no column names")));
        }
        // A file that starts with zeros is taken for IDX, and no text has them.
        if let Some(col) = names.iter().position(|name| name.contains('\0')) {
            let error = Error::input(format!("the name of column {col} has a zero byte in it"));
            return Err(at(error.hint("a CSV file is text; if this one is, put names of letters into its first line")));
        }
        if names.iter().all(|name| name.parse::<f64>().is_ok()) {
            let error = Error::input("the first line holds numbers: a CSV file starts with the columns' names");
            return Err(at(error.hint("put a line of names before the data")));
        }
        if let (1, Some(other)) = (names.len(), names[0].chars().find(|c| ";\t|".contains(*c))) {
            let error = Error::input(format!("the first line has one column, with {other:?} in its name"));
            return Err(at(error.hint("separate the columns with commas")));
        }
        let line = reader.position().line();
        Ok(Table { place, reader, names, line })
    }

    /// The next row that is not blank, checked for its length: `false` at the end. In a table of one column a blank line is an empty cell,
    /// but for those at the end.
    fn next(&mut self, record: &mut ByteRecord, row: usize) -> Result<bool> {
        let (mut blank, mut own) = (true, 0);
        while blank {
            if !self.reader.read_byte_record(record).map_err(|e| damaged(&self.place, &e))? {
                return Ok(false);
            }
            // Before blanks at the ends of fields go, line feeds in quotes among them.
            own = 1 + record.iter().flatten().filter(|&&byte| byte == b'\n').count() as u64;
            record.trim();
            blank = record.len() == 1 && record[0].is_empty();
        }
        let (before, after) = (self.line, self.reader.position().line());
        self.line = after;
        if self.names.len() == 1 && after > before + own {
            let error = Error::input(format!("line {before} (row {row}, counted from 0 without the header) is empty"));
            return Err(error.at(self.place.clone()).hint("fill in the value, or remove the line"));
        }
        let (found, expected) = (record.len(), self.names.len());
        if found == expected {
            return Ok(true);
        }
        let error = Error::input(format!("{} has {found} fields, and the header has {expected}", self.here(row)));
        Err(error.at(self.place.clone()).hint("each line needs one field for each column"))
    }

    /// For each column, its place among those of the names `beside`, if it is one.
    fn apart(&self, beside: &[String]) -> Result<Vec<Option<usize>>> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        if let Some(missing) = beside.iter().find(|name| !names.contains(&name.as_str())) {
            let few: Vec<&str> = names.iter().take(20).map(|name| start_of(name)).collect();
            return Err(unknown("column", missing, &few).at(self.place.clone()));
        }
        if let Some(twice) = beside.iter().find(|name| names.iter().filter(|n| n == name).count() > 1) {
            return Err(Error::input(format!("two columns are named {:?}", start_of(twice)))
                .at(self.place.clone())
                .hint("rename one of them"));
        }
        let apart: Vec<Option<usize>> = names.iter().map(|name| beside.iter().position(|b| b == name)).collect();
        match apart.iter().any(Option::is_none) {
            true => Ok(apart),
            false => Err(Error::input("every column is a condition, and none is left to be modelled")
                .at(self.place.clone())
                .hint("name fewer columns")),
        }
    }

    /// Where the record just read is: its line counts from 1 with the header, its row from 0 without.
    fn here(&self, row: usize) -> String {
        let line = self.reader.position().line() - 1;
        format!("line {line} (row {row}, counted from 0 without the header)")
    }

    fn cell_error(&self, record: &ByteRecord, row: usize, col: usize, why: &str) -> Error {
        let text = String::from_utf8_lossy(&record[col]);
        let found = if text.is_empty() { "is empty".to_owned() } else { format!("is {:?}{why}", start_of(&text)) };
        let (here, name) = (self.here(row), start_of(&self.names[col]));
        let error = Error::input(format!("{here}, column {col} ({name:?}) {found}"));
        error.at(self.place.clone()).hint(
            "each cell needs a finite number: fill it in, or remove the row; a column of text can be a condition (--condition), or \
             goes",
        )
    }
}

/// Reads data rows, and the columns of the names `beside` as text beside them.
pub(super) fn rows(input: Input, beside: &[String]) -> Result<View> {
    let mut table = Table::open(input)?;
    let apart = table.apart(beside)?;
    let mut texts: Vec<Vec<String>> = vec![Vec::new(); beside.len()];
    let mut values = Vec::new();
    let mut record = ByteRecord::new();
    let mut row = 0;
    while table.next(&mut record, row)? {
        reserve(&mut values, record.len(), usize::MAX).map_err(|e| e.at(table.place.clone()))?;
        for (col, field) in record.iter().enumerate() {
            if let Some(i) = apart[col] {
                let text = std::str::from_utf8(field).ok().filter(|text| !text.is_empty());
                let text = text.ok_or_else(|| table.cell_error(&record, row, col, ", not UTF-8 text"))?;
                texts[i].push(text.to_owned());
                continue;
            }
            let parsed = std::str::from_utf8(field).ok().and_then(|text| text.parse::<f32>().ok());
            let Some(value) = parsed else {
                return Err(table.cell_error(&record, row, col, ", not a number"));
            };
            if !value.is_finite() {
                return Err(table.cell_error(&record, row, col, ", not a finite 32-bit number"));
            }
            values.push(value);
        }
        row += 1;
    }
    values.shrink_to_fit();
    let Table { place, names, .. } = table;
    let names: Vec<String> = names.into_iter().zip(&apart).filter_map(|(n, i)| i.is_none().then_some(n)).collect();
    let rows = Rows::new(Values::Floats(values), names.len()).and_then(|rows| rows.with_names(names));
    let view = rows.map(View::new).map_err(|e| e.at(place))?;
    if beside.is_empty() {
        return Ok(view);
    }
    view.with_columns(beside.iter().cloned().zip(texts.iter().map(|texts| texts.iter().collect())).collect())
}

/// Reads labels: a header line, then one label a line.
pub(super) fn labels(input: Input) -> Result<Labels> {
    let mut table = Table::open(input)?;
    if table.names.len() != 1 {
        let error = Error::input(format!("labels are one column, and this file has {}", table.names.len()));
        return Err(error.at(table.place));
    }
    let mut labels = Vec::new();
    let mut record = ByteRecord::new();
    while table.next(&mut record, labels.len())? {
        let text = std::str::from_utf8(&record[0]);
        let text = text.map_err(|_| table.cell_error(&record, labels.len(), 0, ", not UTF-8 text"))?;
        labels.push(text.to_owned());
    }
    Ok(labels.iter().collect())
}

fn damaged(place: &str, error: &csv::Error) -> Error {
    Error::input(format!("cannot read the table: {error}")).at(place)
}
