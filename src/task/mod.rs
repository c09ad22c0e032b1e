//! What a person does with a trained model, one file each. Every task is a function of a model at work
//! ([`Inference`](crate::model::Inference)) and of rows as the model sees them ([`Examples`]).
//!
//! Encodings, reconstructions and scores go by the posterior's mean, so they are functions of the row alone; what draws
//! at random says so and takes a seed.

mod aggregate;
mod bench;
mod breakdown;
mod encode;
mod evaluate;
#[cfg(feature = "files")]
pub mod exchange;
mod interpolate;
mod mixture;
mod probe;
#[cfg(feature = "files")]
pub mod reproduce;
mod sample;
mod score;

pub use crate::tensor::{Cores, core_round_trip};
pub use aggregate::{AggregatePosterior, aggregate_posterior};
pub use bench::{Bench, BenchReport, fma_peak};
pub use breakdown::{BETWEEN, StageTime};
pub use encode::{Encoding, decode, decode_parameters, encode, originals, reconstruct};
pub use evaluate::{EvaluationReport, Nll, evaluate, evaluate_trained};
pub use interpolate::{Endpoint, endpoint, interpolate};
pub use mixture::{Covariance, GaussianMixture, MixtureFit};
pub use probe::{Accuracy, Labelled, ProbeResult, probe};
pub use sample::{LatentSource, Sampling, fit_mixture, sample, sample_by, sample_latents, sample_latents_by};
pub use score::{auc, flagged, quantile, scores};

use crate::data::{Binarize, View, expect_memory};
use crate::error::{Error, Result};
use crate::model::Vae;
use crate::tensor::Noise;
use crate::train::{check_data, filler};

/// Rows as a model sees them: some rows of a data set, binarized as in training.
#[derive(Clone, Debug)]
pub struct Examples<'a> {
    view: &'a View,
    binarize: Binarize,
    noise: Noise,
}

impl<'a> Examples<'a> {
    /// Rows for a model. `seed` is that of the model's training: a dynamic binarization becomes that seed's fixed one, so
    /// that a row looks the same in every task.
    ///
    /// # Errors
    /// Rows that the model cannot take: other columns, or values on which its likelihood is not defined (with the first
    /// offending row and column).
    pub fn new(vae: &Vae, view: &'a View, binarize: Binarize, seed: u64) -> Result<Self> {
        check_data(vae, view, binarize)?;
        Ok(Examples { view, binarize, noise: Noise::new(seed) })
    }
    /// The rows themselves.
    pub fn view(&self) -> &'a View {
        self.view
    }
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.view.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.view.is_empty()
    }
    /// The first `rows` of them, as a view; all if there are fewer.
    pub fn first(view: &View, rows: usize) -> View {
        view.slice(0..rows.min(view.len()))
    }
    /// Writes row `r` as the model sees it.
    fn fill(&self) -> impl Fn(usize, &mut [f32]) + Sync + '_ {
        filler(self.view, self.binarize, self.noise)
    }
}

/// The most numbers that a task holds at once: 2³¹ of them are 8 GB.
const MOST_NUMBERS: usize = 1 << 31;
/// The most samples of one row.
const MOST_SAMPLES: usize = 1 << 20;

/// Refuses a result that is a slip of the keyboard rather than a wish.
pub(crate) fn check_size(rows: usize, cols: usize) -> Result<()> {
    match rows.checked_mul(cols) {
        Some(n) if n <= MOST_NUMBERS => {
            let what = format!("{rows} rows of {cols} columns");
            expect_memory(4 * n as u64, &what).map_err(|e| e.hint("ask for fewer"))
        }
        _ => {
            Err(Error::input(format!("{rows} rows of {cols} columns are more than 2^31 numbers")).hint("ask for fewer"))
        }
    }
}

/// Refuses no samples, or more than anyone means.
pub(crate) fn check_samples(samples: usize) -> Result<()> {
    if (1..=MOST_SAMPLES).contains(&samples) {
        return Ok(());
    }
    Err(Error::input(format!("{samples} samples of a row; the number must be between 1 and {MOST_SAMPLES}"))
        .hint("--samples 100 is usual, --samples 5000 thorough"))
}

/// Refuses to work on nothing.
fn check_some(rows: usize) -> Result<()> {
    match rows {
        0 => Err(Error::input("there are no rows to work on")),
        _ => Ok(()),
    }
}
