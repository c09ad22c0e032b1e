//! `elbo reconstruct`: rows through the latents and back.

use super::Common;
use super::model::{DataArgs, Subject};
use super::output::Output;
use crate::error::Result;
use crate::report::matrix::Format;
use crate::report::{grid, points};
use crate::task::{self, Examples};
use ndarray::ArrayView2;
use std::path::PathBuf;

/// Encode rows and decode the posterior's mean: originals above their reconstructions
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  elbo reconstruct runs/f fashion-mnist              16 pairs: runs/f/reconstructions-<split>.png
  elbo reconstruct runs/f fashion-mnist --count 64 --out pairs.png
  elbo reconstruct runs/f fashion-mnist --out x.npy  the reconstructions of every row, as numbers")]
pub struct Reconstruct {
    /// A run's folder, or a model's file
    run: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// The first N rows; without it 16 for a picture and all for numbers
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// File to write: .png (pairs), .npy or .csv (reconstructions)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Pairs of a picture, and of a line of it.
const PAIRS: usize = 16;
const LINE: usize = 16;

impl Reconstruct {
    pub(super) fn run(&self) -> Result<()> {
        let console = self.common.console();
        let subject = Subject::load(&self.run, &self.common)?;
        let mut rows = subject.rows(&self.data)?;
        let output = subject.output(self.out.as_deref(), &format!("reconstructions-{}", rows.split))?;
        let count = match (self.count, output.format) {
            (Some(count), _) => count,
            (None, Format::Png) => PAIRS,
            (None, _) => rows.view.len(),
        };
        rows.view = Examples::first(&rows.view, count);
        let examples = subject.examples(&rows)?;
        subject.introduce(&console, &rows);
        let x = task::reconstruct(&mut subject.inference(), &examples)?;
        match output.format {
            Format::Png => draw(task::originals(&examples)?.view(), x.view(), &output)?,
            _ => output.write(x.view(), &subject.names())?,
        }
        console.wrote(&output.path, x.dim())
    }
}

fn draw(originals: ArrayView2<'_, f32>, x: ArrayView2<'_, f32>, output: &Output) -> Result<()> {
    match output.image() {
        Some(shape) => grid::pairs(originals, x, shape, LINE, &output.path),
        None => points::table(originals, Some(x), &output.path),
    }
}
