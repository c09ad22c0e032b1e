//! The fit against closed forms, against a mixture that is known, and on what has no sensible one.

use super::em::FLOOR;
use super::*;
use crate::task::Encoding;
use crate::tensor::{Exec, Isa, Noise, Stream};
use ndarray::Array2;

const SHAPES: [Covariance; 2] = [Covariance::Full, Covariance::Diagonal];

fn one_thread() -> Exec {
    Exec::with_isa(Isa::default(), 1).unwrap()
}

fn rng(row: usize) -> ChaCha8Rng {
    Noise::new(11).rng(Stream::Check, 0, row as u64, 0)
}

/// Weights, means, and T of the covariances T Tᵀ: two of three that overlap a little, one of them strongly correlated.
const KNOWN: [(f64, [f64; 2], [[f64; 2]; 2]); 3] = [
    (0.5, [0.0, 0.0], [[1.0, 0.0], [0.9, 0.4]]),
    (0.3, [6.0, 1.0], [[0.5, 0.0], [0.0, 0.5]]),
    (0.2, [-2.0, 5.0], [[0.8, 0.0], [-0.3, 0.6]]),
];
/// The posteriors' own variance: that much less is in their means.
const OWN: f64 = 0.04;

/// Posteriors whose aggregate is the known mixture: in the shares of its weights, means from N(m, Σ − OWN).
fn known(count: usize) -> Encoding {
    let mut mean = Array2::zeros((count, 2));
    for (n, mut row) in mean.rows_mut().into_iter().enumerate() {
        let (_, m, t) = KNOWN[[0, 0, 0, 0, 0, 1, 1, 1, 2, 2][n % 10]];
        let mut covariance = Triangle::new(Covariance::Full, 2);
        covariance.add(1.0, &[t[0][0], t[1][0]], &[-OWN, t[1][1] * t[1][1] - OWN]);
        let (factor, mut rng) = (covariance.cholesky().unwrap(), rng(n));
        let eps: [f64; 2] = [rng.sample(StandardNormal), rng.sample(StandardNormal)];
        row.iter_mut().zip(m).zip(factor.times(&eps)).for_each(|((z, m), off)| *z = (m + off) as f32);
    }
    Encoding { mean, log_variance: Array2::from_elem((count, 2), OWN.ln() as f32) }
}

/// Posteriors of all kinds: means in clumps, variances over two orders.
fn various(count: usize, latent: usize) -> Encoding {
    let mean = Array2::from_shape_fn((count, latent), |(n, j)| {
        let noise: f64 = rng(n * latent + j).sample(StandardNormal);
        ((n * (j + 3) % 5) as f64 - 2.0 + 0.7 * noise) as f32
    });
    let log_variance = Array2::from_shape_fn((count, latent), |(n, j)| -(((n * 7 + j * 5) % 9) as f32) / 2.0);
    Encoding { mean, log_variance }
}

fn fit(encoding: &Encoding, count: usize, shape: Covariance) -> MixtureFit {
    GaussianMixture::fit(&one_thread(), encoding, count, shape, 1).unwrap()
}

/// Rounding of a mean of 400 numbers around 10 is 1e-14.
#[test]
fn the_log_likelihood_never_falls() {
    let rows = various(400, 4);
    for (shape, count) in SHAPES.into_iter().flat_map(|shape| [(shape, 2), (shape, 5), (shape, 12)]) {
        let fit = fit(&rows, count, shape);
        let steps = &fit.log_likelihood;
        assert!(fit.converged && steps.len() > 3, "{shape:?} {count}: {steps:?}");
        assert!(steps.windows(2).all(|pair| pair[1] > pair[0] - 1e-11), "{shape:?} {count}: {steps:?}");
        assert!(steps[steps.len() - 1] > steps[0] + 1e-3, "{shape:?} {count}: {steps:?}");
        let weights: f64 = (0..count).map(|c| fit.mixture.weight(c)).sum();
        assert!((weights - 1.0).abs() < 1e-12, "{weights}");
    }
}

/// The aggregate's own moments, the posteriors' variances among them, and of those the likelihood in closed form:
/// −½ (L log 2π + log det Σ + L).
#[test]
fn one_component_has_the_aggregate_s_moments() {
    let rows = various(300, 3);
    let z = rows.mean.mapv(f64::from);
    let mean = z.mean_axis(ndarray::Axis(0)).unwrap();
    let variance = rows.log_variance.mapv(|v| f64::from(v).exp()).mean_axis(ndarray::Axis(0)).unwrap();
    let centred = &z - &mean;
    let full = centred.t().dot(&centred) / 300.0;
    for shape in SHAPES {
        let fit = fit(&rows, 1, shape);
        assert_eq!((fit.mixture.count(), fit.mixture.weight(0)), (1, 1.0));
        for i in 0..3 {
            assert!((fit.mixture.mean(0)[i] - mean[i]).abs() < 1e-12);
            for j in 0..3 {
                let expected = match (i == j, shape) {
                    (true, _) => full[[i, i]] + variance[i] + FLOOR,
                    (false, Covariance::Full) => full[[i, j]],
                    (false, Covariance::Diagonal) => 0.0,
                };
                assert!((fit.mixture.covariance(0, i, j) - expected).abs() < 1e-12, "{shape:?} {i} {j}");
            }
        }
        let c = |i, j| fit.mixture.covariance(0, i, j);
        let det = c(0, 0) * (c(1, 1) * c(2, 2) - c(1, 2) * c(2, 1)) - c(0, 1) * (c(1, 0) * c(2, 2) - c(1, 2) * c(2, 0))
            + c(0, 2) * (c(1, 0) * c(2, 1) - c(1, 1) * c(2, 0));
        let expected = -0.5 * (3.0 * (std::f64::consts::TAU.ln() + 1.0) + det.ln());
        assert!((fit.log_likelihood[0] - expected).abs() < 1e-10, "{shape:?}: {} {expected}", fit.log_likelihood[0]);
    }
}

/// With 4,000 rows a component of 800 has a mean within σ/√800 = 0.035 σ, and a variance within √(2/800) = 5%: four times
/// as much is allowed. Its density is then that of the known mixture; one without covariances cannot be.
#[test]
fn a_known_mixture_is_recovered() {
    let rows = known(4000);
    let full = fit(&rows, 3, Covariance::Full);
    for (weight, mean, t) in KNOWN {
        let near = |c: &usize| full.mixture.mean(*c).iter().zip(mean).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let c = (0..3).min_by(|a, b| near(a).total_cmp(&near(b))).unwrap();
        assert!((full.mixture.weight(c) - weight).abs() < 0.02, "{} {weight}", full.mixture.weight(c));
        for i in 0..2 {
            let deviation = (0..=i).map(|k| t[i][k] * t[i][k]).sum::<f64>().sqrt();
            assert!(
                (full.mixture.mean(c)[i] - mean[i]).abs() < 0.14 * deviation,
                "{:?} {mean:?}",
                full.mixture.mean(c)
            );
            for j in 0..2 {
                let (found, expected) = (full.mixture.covariance(c, i, j), t[i][0] * t[j][0] + t[i][1] * t[j][1]);
                let size = t[0][0] * (t[1][0].powi(2) + t[1][1].powi(2)).sqrt();
                assert!((found - expected).abs() < 0.2 * size.max(expected), "{c} {i} {j}: {found} {expected}");
            }
        }
    }
    let diagonal = fit(&rows, 3, Covariance::Diagonal);
    let value = |fit: &MixtureFit| fit.log_likelihood[fit.log_likelihood.len() - 1];
    // Of the half that is correlated by 0.914, ½ log (1 − 0.914²) = −0.9 nats a row, less what is gained elsewhere.
    assert!(value(&full) > value(&diagonal) + 0.2, "{} {}", value(&full), value(&diagonal));
    // log p by hand, at the first mean: the other components are far below the rounding of this check.
    let z = full.mixture.mean(0).to_vec();
    let [a, b, d] = [(0, 0), (0, 1), (1, 1)].map(|(i, j)| full.mixture.covariance(0, i, j));
    let by_hand = full.mixture.weight(0).ln() - std::f64::consts::TAU.ln() - 0.5 * (a * d - b * b).ln();
    assert!((full.mixture.log_prob(&z) - by_hand).abs() < 1e-3, "{} {by_hand}", full.mixture.log_prob(&z));
}

/// Samples have the mixture's moments, and at temperature T those of T²Σ: 20,000 draws know a variance to 1%.
#[test]
fn samples_follow_the_mixture() {
    let fit = fit(&known(1000), 1, Covariance::Full);
    for temperature in [1.0, 0.5] {
        let mut z = Array2::<f32>::zeros((20_000, 2));
        for (r, mut row) in z.rows_mut().into_iter().enumerate() {
            fit.mixture.sample(temperature, &mut rng(r), row.as_slice_mut().unwrap());
        }
        let z = z.mapv(f64::from);
        let mean = z.mean_axis(ndarray::Axis(0)).unwrap();
        let centred = &z - &mean;
        let found = centred.t().dot(&centred) / 20_000.0;
        for (i, j) in [(0, 0), (0, 1), (1, 1)] {
            let expected = temperature * temperature * fit.mixture.covariance(0, i, j);
            let size = temperature * temperature * fit.mixture.covariance(0, 0, 0).max(fit.mixture.covariance(0, 1, 1));
            assert!((found[[i, j]] - expected).abs() < 0.04 * size, "{temperature} {i} {j}: {found} {expected}");
        }
        assert!((mean[0] - fit.mixture.mean(0)[0]).abs() < 0.1, "{mean}");
    }
}

#[test]
fn threads_change_nothing_and_the_seed_does() {
    let rows = various(500, 3);
    let of = |threads, seed| {
        let ex = Exec::with_isa(Isa::default(), threads).unwrap();
        GaussianMixture::fit(&ex, &rows, 7, Covariance::Full, seed).unwrap()
    };
    assert_eq!(of(1, 1), of(3, 1));
    assert_ne!(of(1, 1).mixture, of(1, 2).mixture);
}

/// Rows that are all the same, of which most components die; and as many components as rows.
#[test]
fn what_has_no_spread_is_fitted_all_the_same() {
    let same = Encoding { mean: Array2::ones((20, 2)), log_variance: Array2::from_elem((20, 2), -200.0) };
    for shape in SHAPES {
        let fit = fit(&same, 4, shape);
        assert!(fit.converged && fit.log_likelihood.iter().all(|x| x.is_finite()), "{fit:?}");
        let mut z = [f32::NAN; 2];
        for r in 0..50 {
            fit.mixture.sample(1.0, &mut rng(r), &mut z);
            // The floor's deviation is 0.001.
            assert!(z.iter().all(|z| (z - 1.0).abs() < 0.01), "{z:?}");
        }
        let each = self::fit(&various(20, 2), 20, shape);
        assert!(each.log_likelihood.iter().all(|x| x.is_finite()), "{each:?}");
    }
}

#[test]
fn what_cannot_be_fitted_is_said() {
    let said = |encoding: &Encoding, count| {
        GaussianMixture::fit(&one_thread(), encoding, count, Covariance::Full, 1).unwrap_err().to_string()
    };
    assert!(said(&various(5, 2), 6).contains("6 components for 5 rows"));
    assert!(said(&various(5, 2), 0).contains("0 components"));
    let mut bad = various(5, 2);
    bad.mean[[3, 1]] = f32::NAN;
    assert!(said(&bad, 1).contains("row 3 is not finite in latent 1"));
    bad.mean[[3, 1]] = 0.0;
    bad.log_variance[[2, 0]] = 1e6;
    assert!(said(&bad, 1).contains("row 2 is not finite in latent 0"));
}
