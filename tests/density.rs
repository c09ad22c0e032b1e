//! Values of densities against closed forms written here: they sum or integrate to 1, their samples have their
//! means, and configurations read and print.

use elbo::density::{
    AnyLikelihood, DiagonalGaussian, Domain, Gaussian, Likelihood, LikelihoodKind, Posterior, Prior, StandardNormal,
    Variance,
};
use elbo::tensor::{Buffer, Isa, Layout, Mat, MatMut, Noise, Params, Real, Stream};
use rand::Rng;
use std::f64::consts::PI;
use std::sync::Arc;

const KINDS: [&str; 7] = [
    "bernoulli",
    "gaussian",
    "gaussian:0.3",
    "gaussian-learned",
    "gaussian-per-dimension",
    "gaussian-predicted",
    "categorical:3",
];

/// Those whose values `tests/likelihoods.rs` checks.
const MORE_KINDS: [&str; 15] = [
    "continuous-bernoulli",
    "gaussian-optimal",
    "laplace",
    "laplace-learned",
    "laplace-predicted",
    "student-t",
    "student-t:4",
    "poisson",
    "negative-binomial",
    "zero-inflated-negative-binomial",
    "multinomial",
    "multinomial:1000",
    "discretized-logistic",
    "beta-binomial",
    "student-t:0.5",
];

/// A likelihood, with log-variances −0.8, −0.7, … where it learns them.
fn build(name: &str, cols: usize) -> (Arc<dyn AnyLikelihood>, Params<f64>) {
    let mut layout = Layout::new();
    let likelihood = name.parse::<LikelihoodKind>().unwrap().build(&mut layout, cols);
    let mut params = Params::zeros(&layout);
    for entry in layout.entries() {
        let values: Vec<f64> = (0..entry.slot.count()).map(|i| -0.8 + 0.1 * i as f64).collect();
        params.values_mut().pack(&entry.slot, &values);
    }
    (likelihood, params)
}

/// log p of each row of `x` under one row of η.
fn log_prob(name: &str, x: &[f64], eta: &[f64]) -> Vec<f64> {
    let (rows, cols) = (x.len() / dims(name, eta), dims(name, eta));
    let (likelihood, params) = build(name, cols);
    let etas = eta.repeat(rows);
    let mut out = vec![f64::NAN; rows];
    let (x, etas) = (Mat::new(x, rows, cols, cols), Mat::new(&etas, rows, eta.len(), eta.len()));
    f64::likelihood(&*likelihood).log_prob(Isa::default(), &params, x, etas, &mut out);
    out
}

fn dims(name: &str, eta: &[f64]) -> usize {
    match name {
        "gaussian-predicted" => eta.len() / 2,
        "categorical:3" => eta.len() / 3,
        _ => eta.len(),
    }
}

#[track_caller]
fn assert_close(a: f64, b: f64, relative: f64) {
    assert!((a - b).abs() <= relative * a.abs().max(b.abs()), "{a} and {b}");
}

#[test]
fn discrete_likelihoods_sum_to_one() {
    let logits = [0.3, -2.0, 4.0, 0.0, -0.7, 1.1];
    let every = |classes: usize, cols: u32| -> Vec<f64> {
        let digits = |i: usize| (0..cols).map(move |d| (i / classes.pow(d) % classes) as f64);
        (0..classes.pow(cols)).flat_map(digits).collect()
    };
    for (name, x, eta) in [
        ("bernoulli", every(2, 6), &logits[..]),
        ("bernoulli", every(2, 1), &[-40.0]),
        ("categorical:3", every(3, 2), &logits[..]),
    ] {
        let total: f64 = log_prob(name, &x, eta).iter().map(|p| p.exp()).sum();
        // 64 terms, each within a few roundings.
        assert_close(total, 1.0, 1e-14);
    }
}

/// The trapezium rule converges faster than any power on a Gaussian: with ten standard deviations on each side, and a
/// step of no more than half of one, nothing but rounding is left.
fn integral(half_width: f64, f: impl Fn(&[f64]) -> Vec<f64>) -> f64 {
    let steps = 1000;
    let h = half_width / steps as f64;
    let x: Vec<f64> = (-steps..=steps).map(|i| 0.4 + f64::from(i) * h).collect();
    f(&x).iter().sum::<f64>() * h
}

#[test]
fn gaussians_integrate_to_one() {
    for (name, eta) in [
        ("gaussian", &[0.4][..]),
        ("gaussian:0.3", &[0.4]),
        ("gaussian:7", &[0.4]),
        ("gaussian-learned", &[0.4]),
        ("gaussian-per-dimension", &[0.4]),
        ("gaussian-predicted", &[0.4, 1.3]),
        ("gaussian-predicted", &[0.4, -5.0]),
    ] {
        let total = integral(30.0, |x| log_prob(name, x, eta).iter().map(|p| p.exp()).collect());
        assert_close(total, 1.0, 1e-12);
    }
}

fn normal(x: f64, mean: f64, variance: f64) -> f64 {
    (-(x - mean).powi(2) / (2.0 * variance)).exp() / (2.0 * PI * variance).sqrt()
}

#[test]
fn values_are_the_textbook_formulas() {
    let (x, eta) = ([0.0, 1.0, 0.25], [0.3, -1.2, 2.0]);
    let cross_entropy = |(x, o): (f64, f64)| {
        let p = 1.0 / (1.0 + (-o).exp());
        x * p.ln() + (1.0 - x) * (1.0 - p).ln()
    };
    let pairs = || x.into_iter().zip(eta);
    assert_close(log_prob("bernoulli", &x, &eta)[0], pairs().map(cross_entropy).sum(), 1e-14);
    for (name, variances) in [
        ("gaussian", [1.0; 3]),
        ("gaussian:0.3", [0.3; 3]),
        ("gaussian-learned", [(-0.8f64).exp(); 3]),
        ("gaussian-per-dimension", [(-0.8f64).exp(), (-0.7f64).exp(), (-0.6f64).exp()]),
    ] {
        let want: f64 = pairs().zip(variances).map(|((x, m), v)| normal(x, m, v).ln()).sum();
        assert_close(log_prob(name, &x, &eta)[0], want, 1e-14);
    }
    let predicted = [0.3, -1.2, 2.0, 0.5, -0.5, 0.0];
    let want: f64 = (0..3).map(|d| normal(x[d], predicted[d], predicted[d + 3].exp()).ln()).sum();
    assert_close(log_prob("gaussian-predicted", &x, &predicted)[0], want, 1e-14);
    let softmax = |o: &[f64], c: usize| o[c].exp() / o.iter().map(|o| o.exp()).sum::<f64>();
    let want = softmax(&predicted[..3], 2).ln() + softmax(&predicted[3..], 0).ln();
    assert_close(log_prob("categorical:3", &[2.0, 0.0], &predicted)[0], want, 1e-14);
}

#[test]
fn every_variance_is_another_density() {
    let (x, eta) = ([0.0, 1.0, 0.25, 0.9], [0.3, -1.2, 2.0, 0.1]);
    let (two, per_dimension) = ([0.0, 1.0], "gaussian-per-dimension");
    let of = |name| log_prob(name, &x, &eta)[0];
    let mut values = vec![of("bernoulli"), of("gaussian"), of("gaussian:0.3"), of("gaussian:0.4")];
    values.extend([of("gaussian-learned"), of(per_dimension), log_prob("gaussian-predicted", &two, &eta)[0]]);
    for i in 0..values.len() {
        assert!(values[..i].iter().all(|v| (v - values[i]).abs() > 1e-3), "{values:?}");
    }
}

/// Row r of η belongs to row r / k of x.
#[test]
fn samples_of_a_row_share_its_x() {
    let (x, eta) = ([0.1, 0.9, 1.0, 0.0], [0.5, -0.5, 1.5, 2.5, -1.0, 0.0, 0.25, 3.0]);
    for name in ["bernoulli", "gaussian", "gaussian-learned", "gaussian-per-dimension"] {
        let (likelihood, params) = build(name, 2);
        let mut out = vec![0.0; 4];
        let (x_all, eta_all) = (Mat::new(&x, 2, 2, 2), Mat::new(&eta, 4, 2, 2));
        f64::likelihood(&*likelihood).log_prob(Isa::default(), &params, x_all, eta_all, &mut out);
        for r in 0..4 {
            let alone = log_prob(name, &x[r / 2 * 2..][..2], &eta[2 * r..][..2]);
            assert_eq!(out[r], alone[0], "{name}, row {r}");
        }
    }
}

#[test]
fn samples_have_the_mean_that_mean_says() {
    const DRAWS: usize = 40_000;
    let eta = [0.7, -1.5, 0.0, 2.5, -0.4, 1.2];
    for name in KINDS {
        let cols = dims(name, &eta);
        let (likelihood, params) = build(name, cols);
        let likelihood = f64::likelihood(&*likelihood);
        let mut mean = vec![f64::NAN; cols];
        likelihood.mean(Isa::default(), &params, Mat::new(&eta, 1, 6, 6), MatMut::new(&mut mean, 1, cols, cols));
        let (mut sum, mut squares, mut x) = (vec![0.0; cols], vec![0.0; cols], vec![0.0; cols]);
        let mut rng = Noise::new(3).rng(Stream::Check, 0, 0, 0);
        for _ in 0..DRAWS {
            likelihood.sample(&params, &eta, &mut rng, &mut x);
            for d in 0..cols {
                sum[d] += x[d];
                squares[d] += (x[d] - mean[d]).powi(2);
            }
        }
        for d in 0..cols {
            let variance = match name {
                "bernoulli" => mean[d] * (1.0 - mean[d]),
                "gaussian" => 1.0,
                "gaussian:0.3" => 0.3,
                "gaussian-learned" => (-0.8f64).exp(),
                "gaussian-per-dimension" => (-0.8 + 0.1 * d as f64).exp(),
                "gaussian-predicted" => eta[cols + d].exp(),
                _ => {
                    let e = [0, 1, 2].map(|c| eta[3 * d + c].exp());
                    (0..3).map(|c| e[c] * (c as f64 - mean[d]).powi(2)).sum::<f64>() / e.iter().sum::<f64>()
                }
            };
            let n = DRAWS as f64;
            // Four standard errors; a kurtosis of at most 10 bounds the variance's own.
            let off = (sum[d] / n - mean[d]).abs() / (variance / n).sqrt();
            assert!(off < 4.0, "{name}[{d}]: mean {} is {off} standard errors from {}", sum[d] / n, mean[d]);
            let ratio = squares[d] / n / variance;
            assert!((ratio - 1.0).abs() < 4.0 * (9.0 / n).sqrt(), "{name}[{d}]: variance is {ratio} of {variance}");
        }
    }
}

/// ∫ q (log q − log p), with the posterior's and the prior's own log-densities, is the closed form.
#[test]
fn kl_is_the_integral_of_its_definition() {
    let (posterior, prior, isa) = (DiagonalGaussian::new(1), StandardNormal::new(1), Isa::default());
    for eta in [[0.4, 0.0], [-1.0, -3.0], [2.0, 1.0], [0.0, 0.3], [0.0, 0.0]] {
        let total = integral(40.0, |z| {
            let z_all = Mat::new(z, z.len(), 1, 1);
            let (mut log_q, mut log_p) = (vec![0.0; z.len()], vec![0.0; z.len()]);
            posterior.log_prob(isa, z_all, Mat::new(&eta, 1, 2, 2), &mut log_q);
            prior.log_prob(isa, z_all, &mut log_p);
            log_q.iter().zip(log_p).map(|(q, p)| q.exp() * (q - p)).collect()
        });
        let mut kl = [f64::NAN];
        prior.kl(isa, Mat::new(&eta, 1, 2, 2), MatMut::new(&mut kl, 1, 1, 1));
        assert!((kl[0] - total).abs() < 1e-12, "{eta:?}: {} and {total}", kl[0]);
        let [m, v] = eta;
        assert!((kl[0] - 0.5 * (m * m + v.exp() - 1.0 - v)).abs() < 1e-15);
    }
}

#[test]
fn posterior_and_prior_log_densities_are_the_formulas() {
    let (eta, z) = ([0.3, -1.0, 2.0, 0.5, -0.7, 0.0], [0.1, 0.2, 0.3, -1.0, 1.0, 2.0]);
    let (posterior, prior, isa) = (DiagonalGaussian::new(3), StandardNormal::new(3), Isa::default());
    let (mut log_q, mut log_p) = ([0.0; 2], [0.0; 2]);
    posterior.log_prob(isa, Mat::new(&z, 2, 3, 3), Mat::new(&eta, 1, 6, 6), &mut log_q);
    prior.log_prob(isa, Mat::new(&z, 2, 3, 3), &mut log_p);
    for r in 0..2 {
        let z = &z[3 * r..][..3];
        assert_close(log_q[r], (0..3).map(|j| normal(z[j], eta[j], eta[j + 3].exp()).ln()).sum(), 1e-14);
        assert_close(log_p[r], z.iter().map(|z| normal(*z, 0.0, 1.0).ln()).sum(), 1e-14);
    }
    let mut mean = [0.0; 3];
    Posterior::<f64>::mean(&posterior, Mat::new(&eta, 1, 6, 6), MatMut::new(&mut mean, 1, 3, 3));
    assert_eq!(mean, eta[..3]);
}

#[test]
fn posterior_samples_have_its_moments() {
    const DRAWS: usize = 40_000;
    let (posterior, prior) = (DiagonalGaussian::new(2), StandardNormal::new(2));
    let eta = [0.3, -1.0, 1.0, -2.0];
    let (mut eps, mut z) = (Buffer::<f64>::new(DRAWS, 2), Buffer::new(DRAWS, 2));
    let mut rng = Noise::new(4).rng(Stream::Check, 0, 0, 0);
    let mut rows = eps.rows_mut(DRAWS);
    (0..DRAWS).for_each(|r| Prior::<f64>::sample(&prior, &mut rng, rows.row(r)));
    posterior.sample(Isa::default(), Mat::new(&eta, 1, 4, 4), eps.rows(DRAWS), z.rows_mut(DRAWS));
    for (samples, mean, variance) in [(&eps, [0.0; 2], [1.0; 2]), (&z, [0.3, -1.0], [1f64.exp(), (-2f64).exp()])] {
        for j in 0..2 {
            let (column, n) = (samples.view(DRAWS).column(j).to_owned(), DRAWS as f64);
            let off = (column.sum() / n - mean[j]) / (variance[j] / n).sqrt();
            let ratio = column.mapv(|z| (z - mean[j]).powi(2)).sum() / n / variance[j];
            assert!(off.abs() < 4.0 && (ratio - 1.0).abs() < 4.0 * (2.0 / n).sqrt(), "{off} {ratio}");
        }
    }
}

#[test]
fn kinds_read_print_and_build() {
    for name in
        KINDS.into_iter().chain(MORE_KINDS).chain(["gaussian:0.05", "categorical:65536", "multinomial:16777216"])
    {
        let kind: LikelihoodKind = name.parse().unwrap();
        assert_eq!(kind.to_string(), name);
        let cols = if name == "categorical:65536" { 1 } else { 5 };
        let mut layout = Layout::new();
        let likelihood = layout.scope("likelihood", |l| kind.build(l, cols));
        let likelihood = f32::likelihood(&*likelihood);
        assert_eq!((likelihood.cols(), likelihood.eta_cols()), (cols, kind.eta_cols(cols)), "{name}");
        assert_eq!(likelihood.domain(), kind.domain(), "{name}");
        let slots: Vec<_> = layout.entries().iter().map(|e| (e.name.as_str(), e.slot.count())).collect();
        match name {
            "gaussian-learned" | "gaussian-optimal" => assert_eq!(slots, [("likelihood.log_variance", 1)]),
            "laplace-learned" => assert_eq!(slots, [("likelihood.log_scale", 1)]),
            "student-t" => assert_eq!(slots, [("likelihood.log_degrees", 1)]),
            "negative-binomial" | "zero-inflated-negative-binomial" => {
                assert_eq!(slots, [("likelihood.log_inverse_dispersion", 5)]);
            }
            "gaussian-per-dimension" => assert_eq!(slots, [("likelihood.log_variance", 5)]),
            _ => assert!(slots.is_empty(), "{name}"),
        }
    }
    assert_eq!(LikelihoodKind::Bernoulli.domain(), Domain::Unit);
    assert_eq!(LikelihoodKind::Categorical(4).domain(), Domain::Classes(4));
    assert_eq!(LikelihoodKind::Categorical(65536).eta_cols(usize::MAX / 2), usize::MAX);
}

#[test]
fn wrong_kinds_are_errors_that_help() {
    for (text, part) in [
        ("bernoulii", "did you mean `bernoulli`?"),
        ("gaussian-predict", "did you mean `gaussian-predicted`?"),
        ("weibull", "expected bernoulli, continuous-bernoulli, gaussian, gaussian:VARIANCE"),
        ("poison", "did you mean `poisson`?"),
        ("student-t:0", "between 0.01 and 1e9"),
        ("student-t:x", "`x` is no number of degrees of freedom"),
        ("multinomial:0", "1 to 16777216 trials, not 0"),
        ("multinomial:-1", "`-1` is no number of trials"),
        ("", "unknown likelihood"),
        ("bernoulli:2", "unknown likelihood `bernoulli:2`"),
        ("gaussian:", "`` is no variance"),
        ("gaussian:x", "`x` is no variance"),
        ("gaussian:0", "between 1e-30 and 1e30"),
        ("gaussian:-1", "and -1 does not"),
        ("gaussian:nan", "and NaN does not"),
        ("gaussian:1e-40", "between 1e-30 and 1e30"),
        ("categorical:0", "not 0"),
        ("categorical:70000", "1 to 65536 classes, not 70000"),
        ("categorical:99999999999999999999", "is no number of classes"),
        ("categorical:-3", "`-3` is no number of classes"),
    ] {
        let error = text.parse::<LikelihoodKind>().unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
        assert!(text.is_empty() || text == "weibull" || error.contains("hint"), "{text}: {error}");
    }
}

#[test]
#[should_panic(expected = "7 is no class below 3")]
fn what_is_no_class_is_not_scored() {
    log_prob("categorical:3", &[7.0], &[0.0; 3]);
}

#[test]
#[should_panic(expected = "3 rows cannot belong to 2 in equal parts")]
fn rows_that_do_not_match_are_a_mistake() {
    let gaussian = Gaussian::new(&mut Layout::new(), 1, Variance::Unit);
    let (params, values) = (Params::zeros(&Layout::new()), [0.0; 3]);
    gaussian.log_prob(Isa::default(), &params, Mat::new(&values, 2, 1, 1), Mat::new(&values, 3, 1, 1), &mut [0.0; 3]);
}

/// Far from 0, where e^o overflows or vanishes, −softplus(±o) still is what it is.
#[test]
fn extreme_logits_keep_their_accuracy() {
    let mut rng = Noise::new(5).rng(Stream::Check, 0, 0, 0);
    for _ in 0..100 {
        let o = rng.random_range(-1e4f64..1e4);
        for (x, signed) in [(1.0, -o), (0.0, o)] {
            let want = -(signed.max(0.0) + (-signed.abs()).exp().ln_1p());
            let got = log_prob("bernoulli", &[x], &[o])[0];
            // The sum x·o − max(o, 0) − … is absolute in o.
            assert!((got - want).abs() <= 1e-15 * o.abs().max(1.0), "{x}, {o}: {got} and {want}");
        }
        let o = o / 20.0;
        let want = o - (o.max(-o) + (-2.0 * o.abs()).exp().ln_1p());
        let got = log_prob("categorical:3", &[0.0], &[o, -1e4, -o])[0];
        assert!((got - want).abs() <= 1e-14 * o.abs().max(1.0), "{o}: {got} and {want}");
    }
}
