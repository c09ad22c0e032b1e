//! `elbo encode`: rows to latents.

use super::Common;
use super::model::{DataArgs, Subject};
use super::output::Output;
use crate::error::{Error, Result};
use crate::task;
use std::path::PathBuf;

/// Write each row's posterior mean, and its log-variance if asked
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  elbo encode runs/f fashion-mnist --out z.npy
  elbo encode runs/f table.csv --split all --out z.csv --with-variance

Rows keep their order. The columns are z0, z1, … and, with --with-variance, log_variance0, …
Under a flow (--posterior planar or iaf) z is the base's mean taken through the flow, which is not the
mean of z, and there are no variances.")]
pub struct Encode {
    /// A run's folder, or a model's file
    run: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// File to write: .npy or .csv (.png draws points or a heat map)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Add the posterior's log-variances as further columns
    #[arg(long)]
    with_variance: bool,
    #[command(flatten)]
    common: Common,
}

impl Encode {
    pub(super) fn run(&self) -> Result<()> {
        let console = self.common.console();
        let output = Output::new(&self.out, None, true)?;
        let subject = Subject::load(&self.run, &self.common)?;
        let posterior = subject.saved.vae.config().posterior;
        if self.with_variance && !posterior.is_gaussian() {
            return Err(Error::input(format!("the variances of a posterior {posterior} have no closed form"))
                .hint("leave --with-variance out"));
        }
        let rows = subject.rows(&self.data)?;
        let examples = subject.examples(&rows)?;
        subject.introduce(&console, &rows);
        let encoding = task::encode(&mut subject.inference(), &examples)?;
        let names = encoding.names(self.with_variance);
        let table = if self.with_variance { encoding.both() } else { encoding.mean };
        output.write(table.view(), &names)?;
        console.wrote(&output.path, table.dim())
    }
}
