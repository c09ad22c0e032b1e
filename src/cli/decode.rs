//! `elbo decode`: latents to rows.

use super::Common;
use super::model::Subject;
use super::sample::given;
use crate::data::{Memory, load_labels, load_within};
use crate::error::{Error, Result};
use crate::model::join;
use crate::report::matrix::Format;
use crate::task;
use ndarray::Array2;
use std::path::PathBuf;

/// Decode latents from a file: the mean of x for each row
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  elbo encode runs/f fashion-mnist --out z.npy && elbo decode runs/f z.npy --out x.npy
  elbo decode runs/f z.csv --out x.png
  elbo decode runs/f z.npy --out logits.npy --parameters
  elbo decode runs/c z.npy --label 7 --out sevens.png     of a conditional model: every row as a seven
  elbo decode runs/c z.npy --labels y.csv --out x.npy     each row as its own label says")]
pub struct Decode {
    /// A run's folder, or a model's file
    run: PathBuf,
    /// Latents, a column for each: .npy, or .csv with a header
    latents: PathBuf,
    /// File to write: .npy, .csv or .png
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What all rows of a conditional model are conditioned on: a value, or COLUMN=VALUE,…
    #[arg(long, value_name = "LABEL", conflicts_with = "labels")]
    label: Option<String>,
    /// The label of each row, of a model with a condition of one column: a CSV with a header and one column, or
    /// one-dimensional IDX or NPY
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
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
        let latents = load_within(&path, Memory::Bytes(u64::MAX))?;
        if latents.all().is_bytes() {
            return Err(Error::input(
                "numbers of 8 bits without sign are read as pixels, divided by 255, and these are to be latents",
            )
            .at(place)
            .hint("save them as 32-bit floats"));
        }
        let z = latents.all().to_array::<f32>();
        if self.parameters && output.format == Format::Png {
            return Err(Error::input("parameters are no picture").at("--out").hint("write them to .npy or .csv"));
        }
        let decode = if self.parameters { task::decode_parameters } else { task::decode };
        let z = match self.condition(&subject, z.nrows())? {
            Some(c) if z.ncols() == subject.saved.vae.config().latent => join(z.view(), c.view()),
            _ => z,
        };
        let x = decode(&mut subject.inference(), z.view()).map_err(|e| e.at(place))?;
        let names = if self.parameters { (0..x.ncols()).map(|j| format!("eta{j}")).collect() } else { subject.names() };
        output.write(x.view(), &names)?;
        self.common.console().wrote(&output.path, x.dim())
    }

    /// The condition of each row, if one is said.
    fn condition(&self, subject: &Subject, rows: usize) -> Result<Option<Array2<f32>>> {
        if let Some(path) = &self.labels {
            let at = |e: Error| e.at(path.display().to_string());
            let condition = subject.condition("--labels")?;
            let labels = load_labels(path)?;
            labels.expect_rows(rows).map_err(at)?;
            return condition.of_labels(&labels).map(Some).map_err(at);
        }
        self.label.as_deref().map_or(Ok(None), |label| given(subject, Some(label), rows))
    }
}
