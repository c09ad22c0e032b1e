//! The record of a run: `metrics.jsonl`, a line an epoch.

use super::{EpochReport, Metrics};
use crate::error::{Error, Result};
use crate::report::curve::Series;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The record's file in a run folder.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// A line of `metrics.jsonl`: what [`EpochReport`] says. Nats per example. `null` stands for a number that is not finite.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MetricsLine {
    /// The epoch, from 1.
    pub epoch: u64,
    /// Steps since the start of the run.
    pub step: u64,
    /// Means over the epoch's batches.
    pub train: MetricsTerms,
    /// The validation split, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<MetricsTerms>,
    /// The test split, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heldout: Option<MetricsTerms>,
    /// The KL's weight in the last step.
    pub beta: f64,
    /// The KL of z and of each level below it, from z down, of the training rows; none without such levels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kl_by_level: Vec<Option<f64>>,
    /// Latents in use.
    pub active_units: usize,
    /// Training rows a second, evaluation not counted.
    pub samples_per_second: f64,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// Seconds of training, evaluation not counted; of an epoch that was interrupted, those of its last part.
    pub seconds: f64,
}

/// The terms of the objective, as a line has them.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct MetricsTerms {
    /// Reconstruction + KL.
    pub neg_elbo: Option<f64>,
    /// −log p(x|z).
    pub reconstruction: Option<f64>,
    /// KL(q(z|x) ‖ p(z)).
    pub kl: Option<f64>,
    /// The bound on −log p(x) that the objective is, where that is another than −ELBO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neg_bound: Option<f64>,
    /// The estimate of the penalty of the batch's latents, without its weight; of what was trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalty: Option<f64>,
}

impl From<Metrics> for MetricsTerms {
    fn from(m: Metrics) -> Self {
        let finite = |x: f64| x.is_finite().then_some(x);
        MetricsTerms {
            neg_elbo: finite(m.neg_elbo),
            reconstruction: finite(m.reconstruction),
            kl: finite(m.kl),
            neg_bound: m.neg_bound.and_then(finite),
            penalty: m.penalty.and_then(finite),
        }
    }
}

impl From<&EpochReport> for MetricsLine {
    fn from(r: &EpochReport) -> Self {
        MetricsLine {
            epoch: r.epoch,
            step: r.step,
            train: r.train.into(),
            validation: r.validation.map(MetricsTerms::from),
            heldout: r.heldout.map(MetricsTerms::from),
            beta: r.beta,
            kl_by_level: r.kl_by_level.iter().map(|kl| kl.is_finite().then_some(*kl)).collect(),
            active_units: r.active_units,
            samples_per_second: r.samples_per_second,
            learning_rate: r.learning_rate,
            seconds: r.seconds,
        }
    }
}

impl MetricsLine {
    /// The line, without a line feed.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a line is numbers")
    }

    /// The lines of a file.
    ///
    /// # Errors
    /// A file that cannot be read, or a line that is not one of ours.
    pub fn read(path: impl AsRef<Path>) -> Result<Vec<MetricsLine>> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, &e))?;
        let parse = |(i, line): (usize, &str)| {
            let wrong = |e| Error::input(format!("line {} is damaged: {e}", i + 1)).at(path.display().to_string());
            serde_json::from_str(line).map_err(wrong)
        };
        text.lines().enumerate().map(parse).collect()
    }
}

/// The curves of a record: −ELBO by epoch of each split that it has.
pub(super) fn curves(lines: &[MetricsLine]) -> Vec<Series> {
    type Of = fn(&MetricsLine) -> Option<MetricsTerms>;
    let splits: [(&str, Of); 3] =
        [("train", |l| Some(l.train)), ("validation", |l| l.validation), ("held-out", |l| l.heldout)];
    let series = splits.map(|(name, of)| {
        let points = lines.iter().filter_map(|l| Some((l.epoch, of(l)?.neg_elbo.unwrap_or(f64::NAN))));
        Series::new(name, points)
    });
    series.into_iter().filter(|s| !s.points.is_empty()).collect()
}
