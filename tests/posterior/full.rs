//! The full covariance by itself: values against linear algebra, derivatives against differences.

use super::{assert_passed, buffer, flat, uniform};
use elbo::density::{DiagonalGaussian, FullGaussian, Posterior, Prior, StandardNormal};
use elbo::gradcheck::check_coordinates;
use elbo::tensor::{Buffer, Isa, Mat};

const L: usize = 5;
const E: usize = 2 * L + L * (L - 1) / 2;
const N: usize = 3;
const K: usize = 2;

const PATH: [f64; N * K] = [0.7, -1.3, 0.4, 2.0, -0.6, 0.9];
const SCORE: [f64; N * K] = [-0.2, 0.8, 1.1, -0.5, 0.3, -1.7];

struct Point {
    q: FullGaussian,
    prior: StandardNormal,
    eta: Vec<f64>,
    eps: Buffer<f64>,
}

fn point() -> Point {
    let (eta, eps) = (uniform(1, N * E), buffer(N * K, &uniform(2, N * K * L)));
    Point { q: FullGaussian::new(L), prior: StandardNormal::new(L), eta, eps }
}

fn z(p: &Point, eta: &[f64]) -> Buffer<f64> {
    let mut z = Buffer::new(N * K, L);
    p.q.sample(Isa::default(), buffer(N, eta).rows(N), p.eps.rows(N * K), z.rows_mut(N * K));
    z
}

fn log_prob(p: &Point, z: &Buffer<f64>, eta: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; N * K];
    p.q.log_prob(Isa::default(), z.rows(N * K), buffer(N, eta).rows(N), &mut out);
    out
}

fn weigh(values: &[f64], weights: &[f64]) -> f64 {
    values.iter().zip(weights).map(|(v, w)| v * w).sum()
}

/// T, (L, L), of a row of η.
fn triangle(eta: &[f64]) -> [[f64; L]; L] {
    let mut t = [[0.0; L]; L];
    let mut below = eta[2 * L..].iter();
    for i in 0..L {
        (0..i).for_each(|j| t[i][j] = *below.next().unwrap());
        t[i][i] = (0.5 * eta[L + i]).exp();
    }
    t
}

/// Σ = T Tᵀ; z, KL and log-variances by their definitions. Sums of some ten terms of order one: 1e-13 is a hundred roundings.
#[test]
fn values_are_those_of_linear_algebra() {
    let (p, isa) = (point(), Isa::default());
    let (eta, found) = (buffer(N, &p.eta), z(&p, &p.eta));
    let mut kl = Buffer::new(N, L);
    p.q.kl(isa, &p.prior, eta.rows(N), kl.rows_mut(N));
    for r in 0..N {
        let row = &p.eta[r * E..][..E];
        let t = triangle(row);
        for k in 0..K {
            let eps = p.eps.rows(N * K).row(r * K + k);
            for i in 0..L {
                let expected = row[i] + (0..=i).map(|j| t[i][j] * eps[j]).sum::<f64>();
                assert!((found.rows(N * K).row(r * K + k)[i] - expected).abs() < 1e-13);
            }
        }
        let variance = |i: usize| t[i].iter().map(|t| t * t).sum::<f64>();
        let log_det: f64 = row[L..2 * L].iter().sum();
        let whole = 0.5 * ((0..L).map(|i| variance(i) + row[i] * row[i] - 1.0).sum::<f64>() - log_det);
        let parts = kl.rows(N).row(r);
        assert!((parts.iter().sum::<f64>() - whole).abs() < 1e-13, "the parts sum to the KL");
        for i in 0..L {
            // The mean over ε of the KL of z_i given the latents before it: its mean varies by what is left of the diagonal.
            let moved = variance(i) - t[i][i] * t[i][i];
            let chain = 0.5 * (row[i] * row[i] + moved + row[L + i].exp() - 1.0 - row[L + i]);
            assert!((parts[i] - chain).abs() < 1e-13 && parts[i] >= 0.0, "latent {i}: {} {chain}", parts[i]);
        }
        let mut log_variances = [0.0; L];
        p.q.log_variances(row, &mut log_variances);
        (0..L).for_each(|i| assert!((log_variances[i] - variance(i).ln()).abs() < 1e-13));
    }
    // log q at its own draw by ε, and by solving for it.
    let mut of = vec![0.0; N * K];
    p.q.log_prob_of(eta.rows(N), p.eps.rows(N * K), &mut of);
    for (of, at) in of.iter().zip(log_prob(&p, &found, &p.eta)) {
        assert!((of - at).abs() < 1e-12, "{of} {at}");
    }
}

#[test]
fn draws_and_kl_by_eta() {
    let (p, isa) = (point(), Isa::default());
    let (eta, c, w) = (buffer(N, &p.eta), buffer(N * K, &uniform(3, N * K * L)), buffer(N, &uniform(4, N * L)));
    let mut deta = Buffer::new(N, E);
    p.q.sample_grad(isa, eta.rows(N), p.eps.rows(N * K), c.rows(N * K), deta.rows_mut(N));
    let check =
        check_coordinates("z", &p.eta, &flat(&deta), |eta| (weigh(&flat(&z(&p, eta)), &flat(&c)), Default::default()));
    assert_passed(&check, "z by η");

    let mut deta = Buffer::new(N, E);
    p.q.kl_grad(isa, &p.prior, eta.rows(N), w.rows(N), deta.rows_mut(N));
    let check = check_coordinates("kl", &p.eta, &flat(&deta), |eta| {
        let mut kl = Buffer::new(N, L);
        p.q.kl(isa, &p.prior, buffer(N, eta).rows(N), kl.rows_mut(N));
        (weigh(&flat(&kl), &flat(&w)), Default::default())
    });
    assert_passed(&check, "KL by η");
}

/// Through z alone, at a fixed z alone, and both with one weight, which is the derivative of log q at its own draw.
#[test]
fn log_q_by_eta_in_both_ways() {
    let p = point();
    let (eta, fixed) = (buffer(N, &p.eta), z(&p, &p.eta));
    let grad = |path: &[f64], score: &[f64]| {
        let (mut deta, mut work) = (Buffer::new(N, E), Buffer::new(N * K, L));
        p.q.log_prob_of_grad(eta.rows(N), p.eps.rows(N * K), path, score, work.rows_mut(N * K), deta.rows_mut(N));
        flat(&deta)
    };
    let none = [0.0; N * K];
    let check = check_coordinates("path", &p.eta, &grad(&PATH, &none), |eta| {
        (weigh(&log_prob(&p, &z(&p, eta), &p.eta), &PATH), Default::default())
    });
    assert_passed(&check, "through z");
    let check = check_coordinates("score", &p.eta, &grad(&none, &SCORE), |eta| {
        (weigh(&log_prob(&p, &fixed, eta), &SCORE), Default::default())
    });
    assert_passed(&check, "at a fixed z");
    let both = grad(&PATH, &SCORE);
    let sum: Vec<f64> = grad(&PATH, &none).iter().zip(grad(&none, &SCORE)).map(|(a, b)| a + b).collect();
    assert!(both.iter().zip(&sum).all(|(a, b)| (a - b).abs() < 1e-13));
    let check = check_coordinates("both", &p.eta, &grad(&SCORE, &SCORE), |eta| {
        (weigh(&log_prob(&p, &z(&p, eta), eta), &SCORE), Default::default())
    });
    assert_passed(&check, "both");
}

/// With nothing below the diagonal it is the diagonal Gaussian: draws, KL, log q and their derivatives to the bit; log q through
/// z and at a fixed z apart to rounding, for a is multiplied by e^{v/2} again: four roundings, of 2⁻⁵³ each.
#[test]
fn without_covariances_it_is_the_diagonal_one() {
    let (p, isa, plain) = (point(), Isa::default(), DiagonalGaussian::new(L));
    let base: Vec<f64> = p.eta.chunks(E).flat_map(|row| row[..2 * L].to_vec()).collect();
    let full: Vec<f64> = base.chunks(2 * L).flat_map(|row| [row, &[0.0; E - 2 * L]].concat()).collect();
    let (small, wide, eps) = (buffer(N, &base), buffer(N, &full), p.eps.rows(N * K));
    let (c, w) = (buffer(N * K, &uniform(3, N * K * L)), buffer(N, &uniform(4, N * L)));
    let run = |q: &dyn Posterior<f64>, eta: Mat<f64>, path: &[f64]| {
        let (mut z, mut log_q, mut work) = (Buffer::new(N * K, L), vec![0.0; N * K], Buffer::new(N * K, L));
        let (mut deta, mut of_log_q) = (Buffer::new(N, q.eta_cols()), Buffer::new(N, q.eta_cols()));
        q.sample(isa, eta, eps, z.rows_mut(N * K));
        q.log_prob_of(eta, eps, &mut log_q);
        q.sample_grad(isa, eta, eps, c.rows(N * K), deta.rows_mut(N));
        q.log_prob_of_grad(eta, eps, path, &SCORE, work.rows_mut(N * K), of_log_q.rows_mut(N));
        let first = |b: &Buffer<f64>| b.view(N).slice(ndarray::s![.., ..2 * L]).iter().copied().collect::<Vec<f64>>();
        (flat(&z), log_q, first(&deta), first(&of_log_q))
    };
    assert_eq!(run(&p.q, wide.rows(N), &SCORE), run(&plain, small.rows(N), &SCORE));
    let (found, expected) = (run(&p.q, wide.rows(N), &PATH).3, run(&plain, small.rows(N), &PATH).3);
    assert!(
        found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-15 * (1.0 + b.abs())),
        "{found:?} {expected:?}"
    );
    let (mut a, mut b) = (Buffer::new(N, L), Buffer::new(N, L));
    p.q.kl(isa, &p.prior, wide.rows(N), a.rows_mut(N));
    p.prior.kl(isa, small.rows(N), b.rows_mut(N));
    assert_eq!(flat(&a), flat(&b));
    let (mut a, mut b) = (Buffer::new(N, E), Buffer::new(N, 2 * L));
    p.q.kl_grad(isa, &p.prior, wide.rows(N), w.rows(N), a.rows_mut(N));
    p.prior.kl_grad(isa, small.rows(N), w.rows(N), b.rows_mut(N));
    assert!((0..N).all(|r| a.rows(N).row(r)[..2 * L] == *b.rows(N).row(r)));
}
