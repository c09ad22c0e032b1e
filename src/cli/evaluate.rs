//! `elbo evaluate`: how good a model is.

use super::Common;
use super::console::count;
use super::model::{DataArgs, Rows, Subject};
use crate::density::PosteriorKind;
use crate::error::Result;
use crate::estimator::ObjectiveKind;
use crate::model::{Corruption, Draw};
use crate::task::{self, AggregatePosterior, EvaluationReport, Nll};
use crate::tensor::{Noise, Stream};
use crate::train::ModelInfo;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Latents whose KL is printed; the rest are with `--json`.
const MOST_LATENTS: usize = 24;

/// Measure a model on held-out rows: −ELBO = reconstruction + KL, in nats per example
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  elbo evaluate runs/f                        on the test split of the run's data
  elbo evaluate runs/f --samples 100          and −log p(x) by importance sampling, 100 draws a row
  elbo evaluate runs/f --corrupt mask:0.5     how well what is hidden is made up for
  elbo evaluate runs/f --split train --json   one JSON object on the standard output

--samples S estimates -log p(x) by the importance-weighted bound of S draws a row (Burda et al. 2016),
and by those of 1, 10, 100 ... of the same draws, where they divide S: the first is -ELBO again, and
the last is the tightest.

Of 8-bit values under discretized-logistic or beta-binomial, -log2 p(x) / D is given as well.

The last lines say how the KL falls into parts for the posteriors of up to 2,000 rows together:
what the latents z know of which row it was (mutual information, at most log N of N rows), how far
latents depend on each other (total correlation), and how far each is from the prior by itself
(Hoffman and Johnson 2016; Chen et al. 2018). Near log N the first has no room, and the second takes
the rest: only figures of as many rows compare. A conditional prior is another for each row, and has
no such parts.

Without --seed the draws of z are those that training evaluated with, so the figures are those of
the model's epoch in metrics.jsonl; of a run in bf16 but for rounding, for a model is used in f32.")]
pub struct Evaluate {
    /// A run's folder, or a model's file
    run: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// Also estimate −log p(x), with this many importance samples a row
    #[arg(long, value_name = "S")]
    samples: Option<usize>,
    /// Let the encoder see the rows corrupted, which are still to be explained as they are: none, mask:SHARE or noise:DEVIATION
    #[arg(long, value_name = "HOW")]
    corrupt: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Evaluate {
    pub(super) fn run(&self) -> Result<()> {
        let console = self.common.console();
        let subject = Subject::load(&self.run, &self.common)?;
        let rows = subject.rows(&self.data)?;
        let examples = subject.examples(&rows)?;
        subject.introduce(&console, &rows);
        let (info, seed) = (&subject.saved.info, subject.seed(&self.common));
        let objective = info.settings.objective_for(subject.saved.vae.config())?;
        let corruption: Corruption = self.corrupt.as_deref().unwrap_or("none").parse()?;
        let draw = Draw { noise: Noise::new(seed), stream: Stream::Evaluate, step: 0 };
        let mut inference = subject.inference().corrupted(corruption, draw);
        let report = task::evaluate_trained(&mut inference, &examples, seed, self.samples, &objective)?;
        let config = subject.saved.vae.config();
        // A prior that follows the condition is another for each row; and q(z_j) of other posteriors is no such sum.
        let aggregate = match (config.posterior, config.conditional_prior) {
            (PosteriorKind::Diagonal, false) => Some(task::aggregate_posterior(&mut inference, &examples, seed)?),
            _ => None,
        };
        let mut json = to_json(&report, &rows, info);
        if let Some(aggregate) = &aggregate {
            json["aggregate"] = json!({
                "rows": aggregate.rows,
                "kl": aggregate.kl,
                "mutual_information": aggregate.mutual_information,
                "marginal_kl": aggregate.marginal_kl,
                "total_correlation": aggregate.total_correlation,
                "dimension_kl": aggregate.dimension_kl,
            });
        }
        if corruption != Corruption::None {
            json["corrupt"] = corruption.to_string().into();
        }
        let of_posteriors = match (&aggregate, config.posterior) {
            (None, posterior) if posterior != PosteriorKind::Diagonal => format!(
                "{}\nfigures of the posteriors together are of diagonal ones, and these are {posterior}",
                by_latent(&report)
            ),
            (aggregate, _) => {
                let parts = |a: &AggregatePosterior| together(a, !report.kl_by_level.is_empty());
                by_latent(&report) + &aggregate.as_ref().map_or_else(String::new, parts)
            }
        };
        console.report(&json, text(&report, &label(info)) + &of_posteriors)
    }
}

/// What the bound is called that a model was trained by.
fn label(info: &ModelInfo) -> String {
    let kind: ObjectiveKind = info.settings.objective.as_deref().and_then(|o| o.parse().ok()).unwrap_or_default();
    kind.label(info.settings.samples.unwrap_or(1))
}

fn to_json(r: &EvaluationReport, rows: &Rows, info: &ModelInfo) -> Value {
    let mut json = json!({
        "neg_elbo": r.neg_elbo,
        "reconstruction": r.reconstruction,
        "kl": r.kl,
        "kl_per_latent": r.kl_per_latent,
        "active_units": r.active_units,
        "rows": r.rows,
        "data": rows.name,
        "split": rows.split.name(),
        "selected": info.selected,
        "epoch": info.epoch,
    });
    if !r.kl_by_level.is_empty() {
        json["kl_by_level"] = json!(r.kl_by_level);
    }
    if let Some(bound) = r.neg_bound {
        json["neg_bound"] = bound.into();
        json["bound"] = label(info).into();
    }
    if let Some(nll) = r.nll.last() {
        json["nll"] = nll.nats.into();
        json["nll_stderr"] = nll.stderr.into();
        json["samples"] = nll.samples.into();
        let bound = |n: &Nll| json!({ "samples": n.samples, "nll": n.nats, "nll_stderr": n.stderr });
        json["bounds"] = r.nll.iter().map(bound).collect::<Value>();
    }
    if let Some(bits) = r.bits_per_dimension {
        json["bits_per_dimension"] = bits.into();
    }
    json
}

fn text(r: &EvaluationReport, label: &str) -> String {
    let bound = r.neg_bound.map_or_else(String::new, |bound| format!("\n-{label} {bound:.4}, the objective"));
    let mut text = format!(
        "-ELBO {:.4} = reconstruction {:.4} + KL {:.4} nats per example{bound}\nactive units {}, rows {}",
        r.neg_elbo, r.reconstruction, r.kl, r.active_units, r.rows
    );
    for Nll { samples, nats, stderr } in &r.nll {
        let a_row = if *samples == 1 { "sample a row" } else { "samples a row" };
        text += &format!("\n-log p(x) {nats:.4} ± {stderr:.4} (standard error over rows), {samples} {a_row}");
    }
    if let Some(bits) = r.bits_per_dimension {
        text += &format!("\n{bits:.4} bits per dimension");
    }
    text
}

/// How the KL falls into parts by latent or by level, where it has such.
fn by_latent(r: &EvaluationReport) -> String {
    if !r.kl_by_level.is_empty() {
        let each: Vec<String> = r.kl_by_level.iter().map(|kl| format!("{kl:.4}")).collect();
        return format!("\nKL of each level, from z down: {}", each.join(" "));
    }
    if r.kl_per_latent.is_empty() {
        return String::new();
    }
    let mut kl = r.kl_per_latent.clone();
    kl.sort_unstable_by(|a, b| b.total_cmp(a));
    let shown: Vec<String> = kl.iter().take(MOST_LATENTS).map(|kl| format!("{kl:.2}")).collect();
    let rest = if kl.len() > MOST_LATENTS { " …" } else { "" };
    format!("\nKL of each latent, greatest first: {}{rest}", shown.join(" "))
}

/// How the KL falls into parts of the posteriors together; of z alone, where there are levels below it.
fn together(a: &AggregatePosterior, levels: bool) -> String {
    let of_z = if levels { "posteriors of z of" } else { "posteriors of" };
    let to_prior = match a.dimension_kl {
        Some(by_dimension) => {
            format!("total correlation {:.4} + KL by dimension {by_dimension:.4}", a.total_correlation)
        }
        None => format!("KL of them together {:.4} (total correlation {:.4})", a.marginal_kl, a.total_correlation),
    };
    let (rows, most) = (count(a.rows, "row"), (a.rows as f64).ln());
    format!(
        "\n{of_z} {rows}, a draw of each: KL {:.4} = mutual information {:.4} (at most {most:.4}) + {to_prior}",
        a.kl, a.mutual_information
    )
}
