//! `elbo sample`: new rows from the prior, or from a mixture fitted to the posteriors of the training rows.

use super::console::count;
use super::model::Subject;
use super::{Common, MemoryArgs};
use crate::error::{Error, Result};
use crate::model::Inference;
use crate::report::grid;
use crate::report::matrix::Format;
use crate::task::{self, GaussianMixture, LatentSource, Sampling};
use ndarray::Array2;
use std::path::PathBuf;

/// Draw latents from the prior and decode them: new pictures, or new rows of a table
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  elbo sample runs/f --count 64                     a picture: runs/f/samples-<seed>.png
  elbo sample runs/f --count 1000 --out x.npy       numbers, as numpy reads them
  elbo sample runs/f --seed 7 --out more.png        other samples
  elbo sample runs/f --temperature 0.7              closer to each other
  elbo sample runs/f --from mixture:10              from where the training rows are
  elbo sample runs/c --label 7                      of a conditional model: sevens
  elbo sample runs/t --label region=north,age=40    of some columns; the rest as if nothing were said

What is written is the mean of x for each latent. More samples of a seed begin with the same ones.
Rows of a table go to samples-<seed>.csv by default; as .png they are drawn as points or a heat map.

Of a conditional model, labels that --label does not say go in turn, one a sample (in a picture, a
column for each), and numbers are at the training rows' mean.

--from mixture:K fits a mixture of K Gaussians to the posteriors of the training rows, variances
counted in, and draws from that (Ghosh et al. 2020): better samples where the posteriors together
are far from the prior. diagonal:K has fewer numbers to fit, for few rows or many latents.")]
pub struct Sample {
    /// A run's folder, or a model's file
    run: PathBuf,
    /// Data whose training rows a mixture is fitted to: a known name or a path; without it, those that the model was
    /// trained on
    #[arg(value_name = "DATA")]
    data: Option<String>,
    #[command(flatten)]
    memory: MemoryArgs,
    /// Where latents come from: prior, mixture:K (full covariances) or diagonal:K
    #[arg(long, value_name = "SOURCE", value_parser = super::parse::<LatentSource>, default_value = "prior")]
    from: LatentSource,
    /// What deviations of latents are multiplied by: below 1 for samples nearer the middle and each other, above it for
    /// odder ones
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f64,
    /// What samples of a conditional model are conditioned on: a value, or COLUMN=VALUE,…
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// Number of samples
    #[arg(long, value_name = "N", default_value_t = 64)]
    count: usize,
    /// File to write: .png, .npy or .csv
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Pictures side by side that a screen is wide enough for.
const MOST_COLUMNS: usize = 32;

/// The conditions of `count` rows of which a label is given, or none; nothing of a model without a condition.
pub(super) fn given(subject: &Subject, label: Option<&str>, count: usize) -> Result<Option<Array2<f32>>> {
    let condition = match (label, &subject.saved.info.data.condition) {
        (None, None) => return Ok(None),
        _ => subject.condition("--label")?,
    };
    let given = label.map_or_else(|| Ok(Vec::new()), |label| condition.parse(label)).map_err(|e| e.at("--label"))?;
    task::check_size(count, condition.cols())?;
    Ok(Some(condition.rows(&given, count)))
}

impl Sample {
    pub(super) fn run(&self) -> Result<()> {
        let subject = Subject::load(&self.run, &self.common)?;
        let seed = subject.seed(&self.common);
        let output = subject.output(self.out.as_deref(), &format!("samples-{seed}"))?;
        let sampling = Sampling { temperature: self.temperature, ..Sampling::default() };
        sampling.check().map_err(|e| e.at("--temperature"))?;
        let condition = given(&subject, self.label.as_deref(), self.count)?;
        let mut inference = subject.inference();
        let mixture = self.mixture(&subject, &mut inference, seed)?;
        let sampling =
            Sampling { mixture: mixture.as_ref(), condition: condition.as_ref().map(|c| c.view()), ..sampling };
        let x = task::sample_by(&mut inference, self.count, seed, &sampling)?;
        match (output.format, output.image(), self.columns(&subject)) {
            (Format::Png, Some(shape), Some(columns)) => grid::grid(x.view(), shape, columns, &output.path)?,
            _ => output.write(x.view(), &subject.names())?,
        }
        self.common.console().wrote(&output.path, x.dim())
    }

    /// Columns of a picture of which each has a label, where labels go in turn and are not too many.
    fn columns(&self, subject: &Subject) -> Option<usize> {
        let turns = subject.saved.info.data.condition.as_ref()?.turns();
        (self.label.is_none() && (2..=MOST_COLUMNS).contains(&turns)).then_some(turns)
    }

    /// The mixture to draw from, if one is asked for.
    fn mixture(
        &self,
        subject: &Subject,
        inference: &mut Inference<'_, f32>,
        seed: u64,
    ) -> Result<Option<GaussianMixture>> {
        let LatentSource::Mixture(components, covariance) = self.from else {
            return match &self.data {
                None => Ok(None),
                Some(data) => Err(Error::input(format!("the prior needs no data, and {data} was given"))
                    .hint("--from mixture:10 fits a mixture to the posteriors of its training rows")),
            };
        };
        let console = self.common.console();
        let rows = subject.training_rows(self.data.as_deref(), self.memory)?;
        let examples = subject.examples(&rows)?;
        subject.introduce(&console, &rows);
        let fit = task::fit_mixture(inference, &examples, components, covariance, seed)?;
        let value = fit.log_likelihood.last().copied().unwrap_or(f64::NAN);
        console.say(format_args!(
            "{} of {}, fitted to the posteriors: log p(z) at least {value:.4} nats a row after {}{}",
            self.from,
            count(examples.len(), "row"),
            count(fit.log_likelihood.len(), "iteration"),
            if fit.converged { "" } else { "; it was still rising" }
        ));
        Ok(Some(fit.mixture))
    }
}
