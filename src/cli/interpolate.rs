//! `elbo interpolate`: a line through the latent space.

use super::Common;
use super::model::{DataArgs, Subject};
use crate::error::Result;
use crate::report::grid;
use crate::report::matrix::Format;
use crate::task::{self, Endpoint};
use std::path::PathBuf;

/// Decode points on the line between two rows, or two classes
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  elbo interpolate runs/f fashion-mnist --from 3 --to 17 --steps 10
  elbo interpolate runs/f fashion-mnist --from class:0 --to class:9 --out line.png

--from and --to are row numbers of the split, from 0, or class:LABEL for the mean latent of the
split's rows with that label. Without --out the picture is runs/f/interpolation.png.")]
pub struct Interpolate {
    /// A run's folder, or a model's file
    run: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// Where the line starts: a row number, or class:LABEL
    #[arg(long, value_name = "ROW", value_parser = super::parse::<Endpoint>)]
    from: Endpoint,
    /// Where it ends
    #[arg(long, value_name = "ROW", value_parser = super::parse::<Endpoint>)]
    to: Endpoint,
    /// Points on the line, both ends included
    #[arg(long, value_name = "N", default_value_t = 10)]
    steps: usize,
    /// File to write: .png, .npy or .csv
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

impl Interpolate {
    pub(super) fn run(&self) -> Result<()> {
        let console = self.common.console();
        let subject = Subject::load(&self.run, &self.common)?;
        let output = subject.output(self.out.as_deref(), "interpolation")?;
        let rows = subject.rows(&self.data)?;
        let examples = subject.examples(&rows)?;
        subject.introduce(&console, &rows);
        let ends = (&self.from, &self.to);
        let x = task::interpolate(&mut subject.inference(), &examples, ends, self.steps)?;
        match (output.format, output.image()) {
            // One line, so that it reads from left to right.
            (Format::Png, Some(shape)) => grid::grid(x.view(), shape, self.steps, &output.path)?,
            _ => output.write(x.view(), &subject.names())?,
        }
        console.wrote(&output.path, x.dim())
    }
}
