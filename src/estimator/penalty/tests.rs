//! Estimates against exact values that need no batch.

use super::{BatchLatents, Penalty};
use crate::tensor::{Isa, Noise, Stream};
use rand::Rng;
use rand_distr::StandardNormal;

fn penalty(text: &str) -> Penalty {
    text.parse().unwrap()
}

/// A batch from (z, μ) by row, all of one variance.
fn batch(rows: &[(Vec<f64>, Vec<f64>)], variance: f64, examples: usize) -> BatchLatents {
    let mut all = BatchLatents::default();
    let (b, latent) = (rows.len(), rows[0].0.len());
    all.resize(b, latent, examples);
    for (i, (z, mean)) in rows.iter().enumerate() {
        for l in 0..latent {
            (all.z[l * b + i], all.mean[l * b + i]) = (z[l], mean[l]);
            all.precision[l * b + i] = 1.0 / variance;
            all.norm[l * b + i] = -0.5 * (std::f64::consts::TAU * variance).ln();
        }
    }
    all
}

fn estimate(penalty: Penalty, all: &BatchLatents) -> f64 {
    let (mut scratch, mut dz, mut log_q) =
        (vec![0.0; Penalty::scratch(all.rows)], vec![0.0; all.latent], vec![0.0; all.latent + 1]);
    (0..all.rows).map(|i| penalty.row(Isa::default(), all, i, &mut scratch, &mut dz, &mut log_q)).sum()
}

fn normals(n: usize, seed: u64) -> impl FnMut() -> Vec<f64> {
    let mut rng = Noise::new(seed).rng(Stream::Check, 0, 0, 0);
    move || (0..n).map(|_| rng.sample(StandardNormal)).collect()
}

/// Averaged over every choice of the other rows, the estimate of the density is the density.
#[test]
fn stratified_weights_estimate_the_aggregate_density_without_bias() {
    const N: usize = 5;
    let (mut draw, variance) = (normals(1, 3), 0.4);
    let means: Vec<f64> = (0..N).map(|_| draw()[0]).collect();
    let z = means[2] + 0.3;
    let density = |mean: f64| (-0.5 * (z - mean).powi(2) / variance).exp() / (std::f64::consts::TAU * variance).sqrt();
    let exact = means.iter().map(|m| density(*m)).sum::<f64>() / N as f64;
    let (mut sum, mut choices) = (0.0, 0.0);
    for a in (0..N).filter(|a| *a != 2) {
        for b in (0..N).filter(|b| *b != 2 && *b != a) {
            let rows = [2, a, b].map(|n| (vec![z], vec![means[n]]));
            let all = batch(&rows, variance, N);
            let (mut scratch, mut dz, mut log_q) = (vec![0.0; Penalty::scratch(3)], vec![0.0], vec![0.0; 2]);
            penalty("tc:1").row(Isa::default(), &all, 0, &mut scratch, &mut dz, &mut log_q);
            assert_eq!(log_q[0], log_q[1], "of one latent both are the same");
            sum += log_q[1].exp();
            choices += 1.0;
        }
    }
    assert!((sum / choices - exact).abs() < 1e-14, "{} and {exact}", sum / choices);
}

/// μ ~ N(0, C) and z ~ N(μ, s²): q(z) is Gaussian with covariance C + s², and its total correlation −½ log (1 − ρ²).
#[test]
fn total_correlation_of_a_gaussian_aggregate() {
    const B: usize = 1500;
    let variance: f64 = 0.1;
    for covariance in [0.0, 0.8] {
        let mut draw = normals(4, 7);
        let rows: Vec<(Vec<f64>, Vec<f64>)> = (0..B)
            .map(|_| {
                let e = draw();
                let mean = vec![e[0], covariance * e[0] + (1.0 - covariance * covariance).sqrt() * e[1]];
                (mean.iter().zip(&e[2..]).map(|(m, e)| m + variance.sqrt() * e).collect(), mean)
            })
            .collect();
        let rho = covariance / (1.0 + variance);
        let exact = -0.5 * (1.0 - rho * rho).ln();
        let found = estimate(penalty("tc:1"), &batch(&rows, variance, B));
        // The log density ratio has a deviation below 1: 0.03 is the standard error of its mean. The density of 1,500 kernels is
        // itself a few percent off.
        assert!((found - exact).abs() < 0.09, "covariance {covariance}: {found}, not {exact}");
    }
}

/// z ~ N(0, s²) against y ~ N(0, 1) in L dimensions: with γ = 1/2L, E k of a difference of variance a is (1 + 2γa)^(−L/2).
#[test]
fn mmd_of_two_gaussians() {
    const B: usize = 1200;
    const L: usize = 3;
    let mut draw = normals(L, 11);
    let gamma = 0.5 / L as f64;
    for deviation in [0.2, 1.0, 2.0] {
        let rows: Vec<(Vec<f64>, Vec<f64>)> =
            (0..B).map(|_| (draw().iter().map(|e| deviation * e).collect(), vec![0.0; L])).collect();
        let mut all = batch(&rows, 1.0, B);
        all.prior = (0..B).flat_map(|_| draw()).collect();
        let mean = |variance: f64| (1.0 + 2.0 * gamma * variance).powf(-0.5 * L as f64);
        let s = deviation * deviation;
        let exact = mean(2.0 * s) + mean(2.0) - 2.0 * mean(1.0 + s);
        let found = estimate(penalty("mmd-gaussian:1"), &all);
        // k lies in [0, 1]; a mean over 1,200 rows is known to 0.01 or better where the two differ, and to 1/B where not.
        let error = if deviation == 1.0 { 4.0 / B as f64 } else { 0.03 };
        assert!((found - exact).abs() < error, "deviation {deviation}: {found}, not {exact}");
        let by_scales = estimate(penalty("mmd:1"), &all);
        assert!(if deviation == 1.0 { by_scales.abs() < 0.02 } else { by_scales > 0.1 }, "{deviation}: {by_scales}");
    }
}

#[test]
fn a_single_row_has_no_penalty() {
    for text in ["tc:3", "mmd:3", "mmd-gaussian:3"] {
        let mut all = batch(&[(vec![0.3, 4.0], vec![0.1, 2.0])], 0.5, 10);
        all.prior = vec![0.1, -1.0];
        assert_eq!(estimate(penalty(text), &all), 0.0);
    }
}

#[test]
fn weights_that_are_none() {
    for text in ["tc", "tc:", "mmd:-1", "mmd:nan", "mmd-gaussian:inf"] {
        let error = text.parse::<Penalty>().unwrap_err().to_string();
        assert!(error.contains("a number from 0 up"), "{text}: {error}");
    }
}
