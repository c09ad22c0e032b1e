//! `elbo score`: how unusual each row is.

use super::model::{DataArgs, Rows, Subject};
use super::output::check_writable;
use super::{Common, Console};
use crate::data::load_labels;
use crate::error::{Error, Result};
use crate::files::atomic;
use crate::model;
use crate::task;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::PathBuf;

/// Score each row by its −ELBO: the higher, the more unusual
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  elbo score runs/f fashion-mnist --out scores.csv
  elbo score runs/f table.csv --labels labels.csv --positive fraud --json    and the AUC
  elbo score runs/f table.csv --contamination 0.05 --out scores.csv          and a threshold

The CSV's header is row,neg_elbo,reconstruction,kl; it goes to --out, or to the standard output
unless --json is given. Scores are taken at the posterior's mean; --samples S takes the mean of S
draws instead. Without draws, a KL to a mixture is an upper bound, and one to a flow
or a VAE an estimate; of a posterior that is a flow, or a full covariance under a learned prior, it is
only known from draws: --samples.

--quantile Q puts the threshold at the Q quantile of these scores, --contamination F at the 1 - F
quantile (linear interpolation, as numpy's default); flagged are the rows above it.

--labels has one label a row, in the split's order; without it, the data's own labels are used.")]
pub struct Score {
    /// A run's folder, or a model's file
    run: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// CSV file to write
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Average the reconstruction over this many draws of z
    #[arg(long, value_name = "S")]
    samples: Option<usize>,
    /// Labels: a CSV with a header and one column, or one-dimensional IDX or NPY
    #[arg(long, value_name = "FILE", requires = "positive")]
    labels: Option<PathBuf>,
    /// The label that is the anomaly
    #[arg(long, value_name = "LABEL")]
    positive: Option<String>,
    /// Share of rows taken for anomalies, above 0 and below 1
    #[arg(long, value_name = "F", conflicts_with = "quantile")]
    contamination: Option<f64>,
    /// Quantile of the scores, between 0 and 1, that is the threshold
    #[arg(long, value_name = "Q")]
    quantile: Option<f64>,
    #[command(flatten)]
    common: Common,
}

impl Score {
    pub(super) fn run(&self) -> Result<()> {
        let console = self.common.console();
        let quantile = self.threshold_quantile()?;
        if let Some(out) = &self.out {
            check_out(out)?;
        }
        let subject = Subject::load(&self.run, &self.common)?;
        let rows = subject.rows(&self.data)?;
        let positive = self.positives(&rows)?;
        let examples = subject.examples(&rows)?;
        subject.introduce(&console, &rows);
        let samples = self.samples.map(|samples| (samples, subject.seed(&self.common)));
        let scores = task::scores(&mut subject.inference(), &examples, samples)?;
        let values: Vec<f64> = scores.iter().map(model::Score::neg_elbo).collect();
        let auc = positive.map(|p| task::auc(&values, &p)).transpose()?;
        let threshold = quantile.map(|q| task::quantile(&values, q)).transpose()?;
        let found = Found { auc, threshold: threshold.map(|t| (t, task::flagged(&values, t))) };
        match &self.out {
            Some(out) => atomic::write(out, |w| write_csv(w, &scores))?,
            None if !console.json => console.data(|w| write_csv(w, &scores))?,
            None => {}
        }
        self.report(&console, &scores, &found)
    }

    fn threshold_quantile(&self) -> Result<Option<f64>> {
        match (self.contamination, self.quantile) {
            (Some(c), _) if c > 0.0 && c < 1.0 => Ok(Some(1.0 - c)),
            (Some(c), _) => Err(Error::input(format!("--contamination {c} is not a share between 0 and 1"))
                .hint("--contamination 0.05 flags about one row in twenty")),
            (None, Some(q)) if !(0.0..=1.0).contains(&q) => {
                Err(Error::input(format!("--quantile {q} is not between 0 and 1")))
            }
            (None, q) => Ok(q),
        }
    }

    /// For each row, whether it is an anomaly, if that was asked.
    fn positives(&self, rows: &Rows) -> Result<Option<Vec<bool>>> {
        let Some(label) = &self.positive else { return Ok(None) };
        let Some(path) = &self.labels else {
            let mut positive = vec![false; rows.view.len()];
            let found = rows.view.positions_of(label).map_err(|e| {
                let e = e.at(rows.name.clone());
                if rows.view.labels().is_none() { e.hint("--labels FILE has a label for each row") } else { e }
            })?;
            found.iter().for_each(|&p| positive[p as usize] = true);
            return Ok(Some(positive));
        };
        let at = |e: Error| e.at(path.display().to_string());
        let labels = load_labels(path)?;
        labels.expect_rows(rows.view.len()).map_err(at)?;
        labels.matches(label).map(Some).map_err(at)
    }

    fn report(&self, console: &Console, scores: &[model::Score], found: &Found) -> Result<()> {
        let mean = |f: fn(&model::Score) -> f64| scores.iter().map(f).sum::<f64>() / scores.len() as f64;
        let (neg_elbo, reconstruction, kl) = (mean(model::Score::neg_elbo), mean(|s| s.reconstruction), mean(|s| s.kl));
        console.say(format_args!(
            "{} rows, mean -ELBO {neg_elbo:.4} = reconstruction {reconstruction:.4} + KL {kl:.4}",
            scores.len()
        ));
        let mut json =
            json!({ "rows": scores.len(), "neg_elbo": neg_elbo, "reconstruction": reconstruction, "kl": kl });
        if let Some(auc) = found.auc {
            console.say(format_args!("AUC {auc:.4}"));
            json["auc"] = auc.into();
        }
        if let Some((threshold, flagged)) = found.threshold {
            console.say(format_args!("threshold {threshold:.4}: {flagged} of {} rows lie above", scores.len()));
            json["threshold"] = threshold.into();
            json["flagged"] = Value::from(flagged);
        }
        if let Some(out) = &self.out {
            console.say(format_args!("wrote {}", out.display()));
            json["out"] = out.display().to_string().into();
        }
        if console.json { console.data(|w| writeln!(w, "{json}")) } else { Ok(()) }
    }
}

/// What follows from all scores.
struct Found {
    auc: Option<f64>,
    threshold: Option<(f64, usize)>,
}

fn check_out(out: &std::path::Path) -> Result<()> {
    // A device such as /dev/stdout has no ending, and means what it says.
    let device = out.exists() && !out.is_file() && !out.is_dir();
    if !device && !out.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv")) {
        return Err(Error::input("scores are a table: the file must end in .csv").at(out.display().to_string()));
    }
    check_writable(out)
}

fn write_csv(w: &mut dyn Write, scores: &[model::Score]) -> io::Result<()> {
    writeln!(w, "row,neg_elbo,reconstruction,kl")?;
    for (row, s) in scores.iter().enumerate() {
        writeln!(w, "{row},{},{},{}", s.neg_elbo(), s.reconstruction, s.kl)?;
    }
    Ok(())
}
