//! How unusual a row is: its −ELBO, and what follows from many of them.

use super::{Examples, check_samples, check_some};
use crate::density::LowerKind;
use crate::error::{Error, Result};
use crate::model::{Draw, Inference, Score};
use crate::tensor::{Noise, Stream};

/// Each row's score: at the posterior's mean, a function of the row alone; or, with `samples` = (number, seed), with the
/// mean reconstruction of that many draws of z.
///
/// # Errors
/// No rows, no samples, or more than 2²⁰ of them; streamed rows that cannot be read; an exemplar prior without its exemplars; no
/// `samples` of a model whose KL is only known from draws.
pub fn scores(
    inference: &mut Inference<'_, f32>,
    examples: &Examples,
    samples: Option<(usize, u64)>,
) -> Result<Vec<Score>> {
    let rows = examples.len();
    check_some(rows)?;
    inference.check_prior()?;
    let mut scores = Vec::with_capacity(rows);
    match samples {
        None if !inference.vae().config().kl_without_draws() => {
            let config = inference.vae().config();
            // Of some posteriors, such as full ones, it is the levels below z that leave no other way.
            let below = match config.lower {
                LowerKind::None => String::new(),
                lower => format!(", with the levels below z, {lower},"),
            };
            let what = format!(
                "the KL of a {} posterior to the prior {}{below} is only known from draws",
                config.posterior, config.prior
            );
            return Err(Error::input(what).hint("--samples 100, for example"));
        }
        None => inference.score(rows, &examples.fill(), |_, score| scores.push(score)),
        Some((samples, seed)) => {
            check_samples(samples)?;
            let draw = Draw { noise: Noise::new(seed), stream: Stream::Evaluate, step: 0 };
            inference.sampled_score(rows, &examples.fill(), &draw, samples, |_, score| scores.push(score));
        }
    }
    examples.view().check_read()?;
    Ok(scores)
}

/// The area under the ROC curve: the probability that a positive row scores higher than a negative one, ties counting
/// half. By midranks (Mann and Whitney 1947), in O(n log n).
///
/// # Errors
/// No positive row, no negative one, another number of labels than scores, or a score that is not a number.
///
/// ```
/// let auc = elbo::task::auc(&[1.0, 2.0, 2.0, 3.0], &[false, false, true, true])?;
/// assert_eq!(auc, 3.5 / 4.0);
/// # Ok::<(), elbo::Error>(())
/// ```
pub fn auc(scores: &[f64], positive: &[bool]) -> Result<f64> {
    if scores.len() != positive.len() {
        return Err(Error::input(format!("{} labels for {} rows", positive.len(), scores.len())));
    }
    if let Some(row) = scores.iter().position(|s| s.is_nan()) {
        return Err(Error::input(format!("the score of row {row} is not a number")));
    }
    let positives = positive.iter().filter(|&&p| p).count();
    let negatives = positive.len() - positives;
    if positives == 0 || negatives == 0 {
        let which = if positives == 0 { "no row is" } else { "every row is" };
        return Err(Error::input(format!("{which} positive: an AUC needs both kinds"))
            .hint("--positive says which label is the anomaly, --split all takes every row"));
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    // Ranks count from 1; equal scores share the mean of theirs. Twice the rank is whole, so the sum is exact.
    let (mut twice_rank_sum, mut below) = (0u128, 0);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let twice_rank = (2 * below + tied.len() + 1) as u128;
        let hits = tied.iter().filter(|&&i| positive[i]).count() as u128;
        twice_rank_sum += twice_rank * hits;
        below += tied.len();
    }
    let (p, n) = (positives as u128, negatives as u128);
    Ok((twice_rank_sum - p * (p + 1)) as f64 / (2 * p * n) as f64)
}

/// The `q` quantile of some values, by linear interpolation between the two nearest: numpy's default (Hyndman and Fan
/// 1996, definition 7).
///
/// # Errors
/// A `q` outside [0, 1], no values, or one that is not a number.
///
/// ```
/// assert_eq!(elbo::task::quantile(&[4.0, 1.0, 3.0, 2.0], 0.5)?, 2.5);
/// # Ok::<(), elbo::Error>(())
/// ```
pub fn quantile(values: &[f64], q: f64) -> Result<f64> {
    if !(0.0..=1.0).contains(&q) {
        return Err(Error::input(format!("a quantile of {q} is not between 0 and 1")));
    }
    check_some(values.len())?;
    if let Some(row) = values.iter().position(|v| v.is_nan()) {
        return Err(Error::input(format!("the score of row {row} is not a number")));
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let place = q * (sorted.len() - 1) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let (low, high) = (sorted[below], sorted[(below + 1).min(sorted.len() - 1)]);
    // Where nothing is between, nothing is taken of an infinite neighbour: 0 · ∞ is not a number, nor ∞ − ∞.
    Ok(if part == 0.0 || low == high { low } else { low + part * (high - low) })
}

/// How many values lie above a threshold.
pub fn flagged(values: &[f64], threshold: f64) -> usize {
    values.iter().filter(|&&v| v > threshold).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Every pair of a positive and a negative row.
    fn pairs(scores: &[f64], positive: &[bool]) -> f64 {
        let (mut wins, mut count) = (0.0, 0.0);
        for (a, _) in scores.iter().zip(positive).filter(|(_, p)| **p) {
            for (b, _) in scores.iter().zip(positive).filter(|(_, p)| !**p) {
                wins += if a > b {
                    1.0
                } else if a == b {
                    0.5
                } else {
                    0.0
                };
                count += 1.0;
            }
        }
        wins / count
    }

    #[test]
    fn auc_counts_pairs() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for levels in [2, 5, 1000] {
            for n in [2, 3, 17, 200] {
                let scores: Vec<f64> = (0..n).map(|_| f64::from(rng.random_range(0..levels)) - 2.0).collect();
                let mut positive: Vec<bool> = (0..n).map(|_| rng.random()).collect();
                (positive[0], positive[1]) = (true, false);
                // Both are a whole number of halves over a whole number of pairs: exact.
                assert_eq!(auc(&scores, &positive).unwrap(), pairs(&scores, &positive), "{scores:?} {positive:?}");
            }
        }
    }

    #[test]
    fn auc_of_known_orders() {
        let labels = [false, false, true, true];
        assert_eq!(auc(&[1.0, 2.0, 3.0, 4.0], &labels), Ok(1.0));
        assert_eq!(auc(&[4.0, 3.0, 2.0, 1.0], &labels), Ok(0.0));
        assert_eq!(auc(&[7.0; 4], &labels), Ok(0.5));
        assert_eq!(auc(&[1.0, -0.0, 0.0, f64::INFINITY], &labels), Ok(0.625));
    }

    #[test]
    fn auc_refuses_what_has_none() {
        for (scores, labels) in [
            (&[1.0, 2.0][..], &[true, true][..]),
            (&[1.0, 2.0], &[false, false]),
            (&[f64::NAN, 1.0], &[true, false]),
            (&[1.0], &[]),
        ] {
            assert!(auc(scores, labels).is_err(), "{scores:?} {labels:?}");
        }
    }

    #[test]
    fn quantiles_as_numpy() {
        // numpy.quantile([3, 1, 4, 1, 5, 9, 2, 6], q)
        let values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0];
        for (q, expected) in [(0.0, 1.0), (0.1, 1.0), (0.25, 1.75), (0.5, 3.5), (0.9, 6.9), (0.95, 7.95), (1.0, 9.0)] {
            let found = quantile(&values, q).unwrap();
            assert!((found - expected).abs() < 1e-12, "{q}: {found}, expected {expected}");
        }
        assert_eq!(quantile(&[7.0], 0.3), Ok(7.0));
        assert_eq!(quantile(&[1.0, f64::INFINITY, f64::INFINITY], 0.9), Ok(f64::INFINITY));
        assert!(quantile(&[], 0.5).is_err() && quantile(&[1.0], 1.5).is_err() && quantile(&[f64::NAN], 0.5).is_err());
    }

    #[test]
    fn a_quantile_flags_the_rest() {
        let values: Vec<f64> = (0..1000).map(f64::from).collect();
        let threshold = quantile(&values, 0.95).unwrap();
        assert_eq!(flagged(&values, threshold), 50);
    }
}
