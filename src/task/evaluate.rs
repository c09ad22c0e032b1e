//! How well a model does: the objective of training, and an estimate of the likelihood itself.

use super::{Examples, check_samples, check_some};
use crate::density::Domain;
use crate::error::Result;
use crate::estimator::{Elbo, Estimator};
use crate::model::{Draw, Inference};
use crate::tensor::{Noise, Stream};
use crate::train::{Metrics, active_units};
use std::f64::consts::LN_2;

/// An importance-sampled −log p(x), in nats per example.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Nll {
    /// Samples K of each estimate: its expectation, −L_K, falls towards −log p(x) as K grows.
    pub samples: usize,
    /// The mean over rows.
    pub nats: f64,
    /// Its standard error over rows: their standard deviation divided by √rows.
    pub stderr: f64,
}

/// What an evaluation found. Nats per example, means over rows.
#[derive(Clone, PartialEq, Debug)]
pub struct EvaluationReport {
    /// −ELBO: reconstruction + KL, with one draw of z a row.
    pub neg_elbo: f64,
    /// −log p(x|z).
    pub reconstruction: f64,
    /// KL(q(z|x) ‖ p(z)).
    pub kl: f64,
    /// Its part in each latent; empty where the KL has no closed form: of learned priors, of posteriors that are flows, and of
    /// levels below z.
    pub kl_per_latent: Vec<f64>,
    /// The KL of z and of each level below it, from z down; empty without such levels.
    pub kl_by_level: Vec<f64>,
    /// The bound on −log p(x) that the model was trained by, where that is another than −ELBO.
    pub neg_bound: Option<f64>,
    /// The importance-sampled −log p(x), if samples were asked for: by K = 1, 10, 100 … samples as far as they divide S,
    /// and last by S, all from the same draws. They never rise.
    pub nll: Vec<Nll>,
    /// −log₂ p(x) / D, of the last of `nll`, or of −ELBO without samples: where x is 8-bit and the likelihood gives each of
    /// the 256 levels a probability. A density's would be another number, and is not given.
    pub bits_per_dimension: Option<f64>,
    /// Latents in use: those whose posterior mean has a variance above 0.01 over rows.
    pub active_units: usize,
    /// Rows.
    pub rows: usize,
}

/// Evaluates a model on rows. `seed` is that of the draws of z; with the seed of training, the first three figures are
/// those that training reported for the same rows; of a model in bf16, with its [precision](crate::tensor::Params::with_precision).
///
/// With `samples`, also estimates −log p(x) by importance sampling (Burda, Grosse and Salakhutdinov 2016, eq. 8): see
/// [`Inference::importance`].
///
/// # Errors
/// No rows, no samples, or more than 2²⁰ of them; streamed rows that cannot be read; an exemplar prior without its exemplars.
pub fn evaluate(
    inference: &mut Inference<'_, f32>,
    examples: &Examples,
    seed: u64,
    samples: Option<usize>,
) -> Result<EvaluationReport> {
    evaluate_trained(inference, examples, seed, samples, &Elbo::default())
}

/// The same of a model that was trained by another objective, whose bound is reported beside −ELBO; −ELBO is then of as many
/// draws a row as the objective has samples, as in training.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_trained(
    inference: &mut Inference<'_, f32>,
    examples: &Examples,
    seed: u64,
    samples: Option<usize>,
    objective: &dyn Estimator<f32>,
) -> Result<EvaluationReport> {
    let rows = examples.len();
    check_some(rows)?;
    inference.check_prior()?;
    samples.map_or(Ok(()), check_samples)?;
    let draw = |step| Draw { noise: Noise::new(seed), stream: Stream::Evaluate, step };
    let stats = if objective.is_elbo() {
        inference.elbo(rows, &examples.fill(), &draw(0))
    } else {
        inference.objective(rows, &examples.fill(), &draw(0), objective, 1.0)
    };
    let metrics = Metrics::from(&stats);
    let active_units = active_units(inference, examples.view, examples.binarize, examples.noise);
    // Step 1: draws of their own, so that the two figures are independent given the model.
    let nll = samples.map_or_else(Vec::new, |samples| nll(inference, examples, &draw(1), samples));
    examples.view().check_read()?;
    let vae = inference.vae();
    let bits = |nats: f64| nats / (vae.config().inputs as f64 * LN_2);
    let closed = vae.config().closed_form();
    let levels = vae.likelihood::<f32>().domain() == Domain::Bytes;
    Ok(EvaluationReport {
        bits_per_dimension: levels.then(|| bits(nll.last().map_or(metrics.neg_elbo, |last| last.nats))),
        neg_elbo: metrics.neg_elbo,
        reconstruction: metrics.reconstruction,
        kl: metrics.kl,
        kl_per_latent: if closed { stats.kl.iter().map(|kl| kl / rows as f64).collect() } else { Vec::new() },
        kl_by_level: vae.kl_by_level(&stats),
        neg_bound: metrics.neg_bound,
        nll,
        active_units,
        rows,
    })
}

fn nll(inference: &mut Inference<'_, f32>, examples: &Examples, draw: &Draw, samples: usize) -> Vec<Nll> {
    let rows = examples.len();
    // By K, the values of all rows.
    let mut by_size: Vec<(usize, Vec<f64>)> = Vec::new();
    inference.importance(rows, &examples.fill(), draw, samples, |_, bounds| {
        if by_size.is_empty() {
            by_size.extend(bounds.iter().map(|(size, _)| (size, Vec::with_capacity(rows))));
        }
        by_size.iter_mut().zip(bounds.iter()).for_each(|((_, values), (_, bound))| values.push(-bound));
    });
    let summary = |(samples, values): (usize, Vec<f64>)| {
        let (nats, stderr) = mean_and_stderr(&values);
        Nll { samples, nats, stderr }
    };
    by_size.into_iter().map(summary).collect()
}

/// The mean and its standard error, from the sample standard deviation (n − 1); 0 for a single value, whose spread is
/// unknown.
fn mean_and_stderr(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return (mean, 0.0);
    }
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    (mean, (squares / (n - 1.0) / n).sqrt())
}

#[cfg(test)]
mod tests {
    use super::mean_and_stderr;

    #[test]
    fn standard_error_by_hand() {
        // Deviations −2, −1, 0, 3 of the mean 4: squares 14, variance 14/3, over 4 rows.
        let (mean, stderr) = mean_and_stderr(&[2.0, 3.0, 4.0, 7.0]);
        assert_eq!(mean, 4.0);
        assert!((stderr - (14.0f64 / 12.0).sqrt()).abs() < 1e-15);
        assert_eq!(mean_and_stderr(&[5.0]), (5.0, 0.0));
    }
}
