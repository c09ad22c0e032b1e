//! `elbo decode`: latents to rows.

use super::Common;
use super::model::Subject;
use crate::data::{Memory, load_within};
use crate::error::{Error, Result};
use crate::report::matrix::Format;
use crate::task;
use std::path::PathBuf;

/// Decode latents from a file: the mean of x for each row
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  elbo encode runs/f fashion-mnist --out z.npy && elbo decode runs/f z.npy --out x.npy
  elbo decode runs/f z.csv --out x.png
  elbo decode runs/f z.npy --out logits.npy --parameters")]
pub struct Decode {
    /// A run's folder, or a model's file
    run: PathBuf,
    /// Latents, a column for each: .npy, or .csv with a header
    latents: PathBuf,
    /// File to write: .npy, .csv or .png
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write the likelihood's parameters (logits, say), not the mean of x; to .npy or .csv
    #[arg(long)]
    parameters: bool,
    #[command(flatten)]
    common: Common,
}

impl Decode {
    pub(super) fn run(&self) -> Result<()> {
        let subject = Subject::load(&self.run, &self.common)?;
        let output = subject.output(Some(&self.out), "")?;
        let place = self.latents.display().to_string();
        if !self.latents.is_file() {
            return Err(Error::input("there is no such file of latents").at(place));
        }
        // A path that cannot be taken for a known name.
        let path = if self.latents.is_absolute() { place.clone() } else { format!("./{place}") };
        let z = load_within(&path, Memory::Bytes(u64::MAX))?.all().to_array::<f32>();
        if self.parameters && output.format == Format::Png {
            return Err(Error::input("parameters are no picture").at("--out").hint("write them to .npy or .csv"));
        }
        let decode = if self.parameters { task::decode_parameters } else { task::decode };
        let x = decode(&mut subject.inference(), z.view()).map_err(|e| e.at(place))?;
        let names = if self.parameters { (0..x.ncols()).map(|j| format!("eta{j}")).collect() } else { subject.names() };
        output.write(x.view(), &names)?;
        self.common.console().wrote(&output.path, x.dim())
    }
}
