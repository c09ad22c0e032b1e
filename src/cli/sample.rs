//! `elbo sample`: new rows from the prior.

use super::Common;
use super::model::Subject;
use crate::error::Result;
use crate::task;
use std::path::PathBuf;

/// Draw latents from the prior and decode them: new pictures, or new rows of a table
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  elbo sample runs/f --count 64                     a picture: runs/f/samples-<seed>.png
  elbo sample runs/f --count 1000 --out x.npy       numbers, as numpy reads them
  elbo sample runs/f --seed 7 --out more.png        other samples

What is written is the mean of x for each latent. More samples of a seed begin with the same ones.
Rows of a table go to samples-<seed>.csv by default; as .png they are drawn as points or a heat map.")]
pub struct Sample {
    /// A run's folder, or a model's file
    run: PathBuf,
    /// Number of samples
    #[arg(long, value_name = "N", default_value_t = 64)]
    count: usize,
    /// File to write: .png, .npy or .csv
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

impl Sample {
    pub(super) fn run(&self) -> Result<()> {
        let subject = Subject::load(&self.run, &self.common)?;
        let seed = subject.seed(&self.common);
        let output = subject.output(self.out.as_deref(), &format!("samples-{seed}"))?;
        let x = task::sample(&mut subject.inference(), self.count, seed)?;
        output.write(x.view(), &subject.names())?;
        self.common.console().wrote(&output.path, x.dim())
    }
}
