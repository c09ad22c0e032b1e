//! `elbo probe`: what the latents know of labels.

use super::model::{Rows, Subject};
use super::{Common, MemoryArgs};
use crate::data::{Labels, load_labels};
use crate::error::{Error, Result};
use crate::task::{self, Accuracy, Labelled, ProbeResult};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Classify held-out rows from latents and from the rows themselves, with few labels and with all
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  elbo probe runs/mnist-mlp-400
  elbo probe runs/f mnist-full --few 100,1000
  elbo probe runs/f table.csv --labels labels.csv --json

Classifiers learn on the training rows and are measured on the test rows; of one set without such, on
those that the run set aside for validation, or else on a fifth of the rows by the seed. Two are fitted, on the posterior's means and on the rows:
multinomial logistic regression on standardised columns (L2 penalty as scikit-learn's C = 1), to its
optimum; and the vote of the nearest neighbours. Nothing of the model changes. The encoder of a
conditional model sees the rows' own labels: what its latents know beside them is what can be found.

--labels has one label for each row of all splits, training rows first; without it, the data's own
labels are used.")]
pub struct Probe {
    /// A run's folder, or a model's file
    run: PathBuf,
    /// Data: a known name or a path; without it, the data that the model was trained on
    #[arg(value_name = "DATA")]
    data: Option<String>,
    #[command(flatten)]
    memory: MemoryArgs,
    /// Labels: a CSV with a header and one column, or one-dimensional IDX or NPY
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Also learn from so many labels only, as evenly among the classes as they go
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    few: Vec<usize>,
    /// Neighbours that vote
    #[arg(long, value_name = "K", default_value_t = 5)]
    neighbours: usize,
    #[command(flatten)]
    common: Common,
}

impl Probe {
    pub(super) fn run(&self) -> Result<()> {
        let console = self.common.console();
        let subject = Subject::load(&self.run, &self.common)?;
        let seed = subject.seed(&self.common);
        let (known, heldout) = subject.known_and_heldout(self.data.as_deref(), self.memory, seed)?;
        let [classes, heldout_classes] = self.classes(&known, &heldout)?;
        let (examples, heldout_examples) = (subject.examples(&known)?, subject.examples(&heldout)?);
        subject.introduce(&console, &known);
        let results = task::probe(
            &mut subject.inference(),
            Labelled { examples: &examples, classes: &classes },
            Labelled { examples: &heldout_examples, classes: &heldout_classes },
            &self.few,
            self.neighbours,
            seed,
        )?;
        let count = classes.iter().chain(&heldout_classes).max().map_or(0, |most| most + 1);
        console.say(format_args!(
            "{} rows of {count} classes held out, {} neighbours",
            heldout_classes.len(),
            self.neighbours
        ));
        if results.iter().any(|r| !r.latent.converged || !r.input.converged) {
            console.say("note: a regression stopped short of its optimum");
        }
        let accuracy = |a: &Accuracy| json!({ "linear": a.linear, "neighbours": a.neighbours });
        let result =
            |r: &ProbeResult| json!({ "labels": r.labels, "latent": accuracy(&r.latent), "input": accuracy(&r.input) });
        let json = json!({
            "heldout": heldout_classes.len(),
            "classes": count,
            "neighbours": self.neighbours,
            "results": results.iter().map(result).collect::<Value>(),
        });
        console.report(&json, text(&results))
    }

    /// The class of each row, from the file or the data's own labels.
    fn classes(&self, known: &Rows, heldout: &Rows) -> Result<[Vec<usize>; 2]> {
        let view = &known.view;
        let of = |labels: &Labels| {
            [known, heldout].map(|rows| {
                (0..rows.view.len()).map(|position| labels.codes()[rows.view.id(position)] as usize).collect()
            })
        };
        if let Some(path) = &self.labels {
            let at = |e: Error| e.at(path.display().to_string());
            let labels = load_labels(path)?;
            labels.expect_rows(view.rows().len()).map_err(at)?;
            return Ok(of(&labels));
        }
        view.labels().map(of).ok_or_else(|| {
            Error::input("the data have no labels").at(known.name.clone()).hint("give them with --labels FILE")
        })
    }
}

fn text(results: &[ProbeResult]) -> String {
    let mut text = String::from("  labels  linear: latents    input  nearest: latents    input");
    for ProbeResult { labels, latent, input } in results {
        text += &format!(
            "\n{labels:>8} {:>16.4} {:>8.4} {:>17.4} {:>8.4}",
            latent.linear, input.linear, latent.neighbours, input.neighbours
        );
    }
    text
}
