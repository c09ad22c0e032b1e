//! The likelihoods beyond Bernoulli, Gaussian and categorical: values against sums, quadrature, closed forms and SciPy; draws
//! against moments; and numbers at the edges of what f32 can say.

use elbo::density::{AnyLikelihood, Gaussian, Likelihood, LikelihoodKind, Variance};
use elbo::tensor::{Isa, Layout, Mat, MatMut, Noise, Params, Real, Stream};
use std::f64::consts::FRAC_PI_2;
use std::sync::Arc;

/// A likelihood, with −0.8, −0.7, … for what it learns.
fn build<F: Real>(name: &str, cols: usize) -> (Arc<dyn AnyLikelihood>, Params<F>) {
    let mut layout = Layout::new();
    let likelihood = name.parse::<LikelihoodKind>().unwrap().build(&mut layout, cols);
    let mut params = Params::zeros(&layout);
    for entry in layout.entries() {
        let values: Vec<F> = (0..entry.slot.count()).map(|i| F::from_f64(-0.8 + 0.1 * i as f64)).collect();
        params.values_mut().pack(&entry.slot, &values);
    }
    (likelihood, params)
}

fn columns(name: &str, eta: usize) -> usize {
    eta / name.parse::<LikelihoodKind>().unwrap().eta_cols(1)
}

/// log p of each row of `x` under one row of η.
fn log_prob(name: &str, x: &[f64], eta: &[f64]) -> Vec<f64> {
    let cols = columns(name, eta.len());
    let (rows, (likelihood, params)) = (x.len() / cols, build::<f64>(name, cols));
    let (etas, mut out) = (eta.repeat(rows), vec![f64::NAN; rows]);
    let (x, etas) = (Mat::new(x, rows, cols, cols), Mat::new(&etas, rows, eta.len(), eta.len()));
    f64::likelihood(&*likelihood).log_prob(Isa::default(), &params, x, etas, &mut out);
    out
}

fn mean(name: &str, eta: &[f64]) -> Vec<f64> {
    let cols = columns(name, eta.len());
    let (likelihood, params) = build::<f64>(name, cols);
    let mut out = vec![f64::NAN; cols];
    let (eta, out_mat) = (Mat::new(eta, 1, eta.len(), eta.len()), MatMut::new(&mut out, 1, cols, cols));
    f64::likelihood(&*likelihood).mean(Isa::default(), &params, eta, out_mat);
    out
}

#[track_caller]
fn close(what: &str, a: f64, b: f64, relative: f64) {
    assert!((a - b).abs() <= relative * a.abs().max(b.abs()), "{what}: {a} and {b}");
}

/// Every value of a discrete column that has a probability above rounding.
fn support(name: &str) -> Vec<f64> {
    match name {
        "discretized-logistic" | "beta-binomial" => (0..256).map(|k| f64::from(k) / 255.0).collect(),
        _ => (0..3000).map(f64::from).collect(),
    }
}

const DISCRETE: [(&str, &[f64]); 13] = [
    ("poisson", &[1.5]),
    ("poisson", &[-3.0]),
    ("poisson", &[5.0]),
    ("negative-binomial", &[2.0]),
    ("negative-binomial", &[-4.0]),
    ("zero-inflated-negative-binomial", &[2.0, 0.3]),
    ("zero-inflated-negative-binomial", &[3.0, -2.0]),
    ("discretized-logistic", &[0.2, -2.0]),
    ("discretized-logistic", &[-0.9, 1.0]),
    ("discretized-logistic", &[0.31, -9.0]),
    ("beta-binomial", &[0.5, 1.5]),
    ("beta-binomial", &[-3.0, -2.0]),
    ("beta-binomial", &[8.0, 9.0]),
];

/// Mean, variance, and fourth central moment of a discrete column by its probabilities; and their sum.
fn moments(name: &str, eta: &[f64]) -> (f64, [f64; 3]) {
    let x = support(name);
    let p: Vec<f64> = log_prob(name, &x, eta).iter().map(|p| p.exp()).collect();
    let expect = |f: &dyn Fn(f64) -> f64| x.iter().zip(&p).map(|(&x, p)| p * f(x)).sum::<f64>();
    let mean = expect(&|x| x);
    (expect(&|_| 1.0), [mean, expect(&|x| (x - mean).powi(2)), expect(&|x| (x - mean).powi(4))])
}

/// The tail beyond 2999 is below 1e-20 for each of these: a mean of 148 or 20, and dispersions of order one.
#[test]
fn discrete_columns_sum_to_one_and_to_their_means() {
    for (name, eta) in DISCRETE {
        let (total, [by_sum, ..]) = moments(name, eta);
        // Up to 3000 terms, each within some roundings of a logarithm that may be 1000.
        close(&format!("{name} {eta:?}"), total, 1.0, 1e-12);
        close(&format!("the mean of {name} {eta:?}"), mean(name, eta)[0], by_sum, 1e-11);
    }
}

#[test]
fn multinomial_counts_of_a_total_sum_to_one() {
    let eta = [0.3, -1.0, 2.0];
    let n = 6;
    let rows: Vec<f64> =
        (0..=n).flat_map(|i| (0..=n - i).flat_map(move |j| [i, j, n - i - j].map(f64::from))).collect();
    let total: f64 = log_prob("multinomial", &rows, &eta).iter().map(|p| p.exp()).sum();
    close("multinomial", total, 1.0, 1e-13);
    // No count at all is certain, whatever the shares.
    assert_eq!(log_prob("multinomial", &[0.0; 3], &eta), [0.0]);
    let e: Vec<f64> = eta.iter().map(|o| o.exp() / eta.iter().map(|o| o.exp()).sum::<f64>()).collect();
    for (trials, name) in [(1.0, "multinomial"), (1000.0, "multinomial:1000")] {
        mean(name, &eta).iter().zip(&e).for_each(|(mean, share)| close(name, *mean, trials * share, 1e-14));
    }
}

/// ∫ f(x) dx = ∫ f(x(t)) x′(t) dt by the trapezium rule in t, where the integrand falls off doubly exponentially: it errs less
/// than any power of the step (Takahasi and Mori, 1974).
fn integral(reach: f64, x: impl Fn(f64) -> (f64, f64), f: impl Fn(&[f64]) -> Vec<f64>) -> f64 {
    const STEPS: i32 = 400;
    let h = reach / f64::from(STEPS);
    let (points, weights): (Vec<f64>, Vec<f64>) = (-STEPS..=STEPS).map(|i| x(f64::from(i) * h)).unzip();
    f(&points).iter().zip(weights).map(|(log_p, w)| log_p.exp() * w * h).sum()
}

#[test]
fn continuous_columns_integrate_to_one() {
    let line = |t: f64| {
        let s = FRAC_PI_2 * t.sinh();
        (s.sinh(), s.cosh() * FRAC_PI_2 * t.cosh())
    };
    for (name, eta) in [
        ("student-t", &[0.3, -0.4][..]),
        ("student-t:4", &[-1.0, 1.0]),
        ("student-t:30", &[0.0, -2.0]),
        ("student-t:1", &[0.5, 0.0]),
    ] {
        // Tails of |x|^−(ν + 1): with ν = e^−0.8 the integrand is below 1e-17 at t = ±5.
        close(name, integral(5.5, line, |x| log_prob(name, x, eta)), 1.0, 1e-11);
    }
    // Each side of the kink: x = m ± eᵗ.
    for (name, eta) in [("laplace", &[0.4][..]), ("laplace-learned", &[0.4]), ("laplace-predicted", &[0.4, 1.3])] {
        let half = |sign: f64| integral(40.0, |t| (0.4 + sign * t.exp(), t.exp()), |x| log_prob(name, x, eta));
        close(name, half(1.0) + half(-1.0), 1.0, 1e-12);
    }
    let unit = |t: f64| {
        let s = FRAC_PI_2 * t.sinh();
        (0.5 * (1.0 + s.tanh()), 0.5 * FRAC_PI_2 * t.cosh() / s.cosh().powi(2))
    };
    for o in [-40.0, -3.0, -0.3, -0.2, -1e-3, 0.0, 1e-9, 0.1, 0.249, 0.251, 1.0, 7.0, 40.0] {
        close("continuous-bernoulli", integral(4.0, unit, |x| log_prob("continuous-bernoulli", x, &[o])), 1.0, 1e-13);
    }
}

/// Figures of scipy.stats (SciPy 1.17: `poisson`, `nbinom`, `multinomial`, `t`, `laplace` and `betabinom`'s log-probabilities, and
/// differences of `logistic.cdf`), which come from other formulas; SciPy's own error is some 1e-13 of them.
#[test]
fn values_are_scipy_s() {
    let figures: [(&str, &[f64], &[f64], f64); 19] = [
        ("poisson", &[3.0], &[1.2], -1.5118763919646026),
        ("poisson", &[40.0], &[2.0], -37.70969581368804),
        ("negative-binomial", &[0.0], &[1.0], -0.8775294066818075),
        ("negative-binomial", &[5.0], &[2.0], -3.1694543724452156),
        ("negative-binomial", &[300.0], &[-1.0], -243.53032937050253),
        ("zero-inflated-negative-binomial", &[0.0], &[1.0, 0.4], -0.26715171241345415),
        ("zero-inflated-negative-binomial", &[5.0], &[2.0, -1.0], -3.4827160599634377),
        ("multinomial", &[4.0, 1.0, 7.0], &[0.3, -1.0, 2.0], -4.0242498942922005),
        ("student-t:4", &[2.5], &[0.3, -0.5], -4.121033802362875),
        ("student-t:0.5", &[-30.0], &[1.0, 1.0], -6.484251936317959),
        ("student-t", &[2.5], &[0.3, -0.5], -3.313234677009583),
        ("laplace", &[2.5], &[0.3], -2.8931471805599456),
        ("laplace-learned", &[2.5], &[0.3], -4.789337223243375),
        ("laplace-predicted", &[2.5], &[0.3, 1.1], -2.5254635646957206),
        ("beta-binomial", &[17.0 / 255.0], &[0.5, 1.5], -4.847482613196123),
        ("beta-binomial", &[255.0 / 255.0], &[-2.0, 3.0], -73.98144617916164),
        ("discretized-logistic", &[0.0 / 255.0], &[-0.5, -1.0], -1.5793024656086192),
        ("discretized-logistic", &[100.0 / 255.0], &[0.1, -2.0], -5.3659005017526),
        ("discretized-logistic", &[255.0 / 255.0], &[0.7, 0.5], -0.7869632496704322),
    ];
    for (name, x, eta, want) in figures {
        close(&format!("{name} {x:?} {eta:?}"), log_prob(name, x, eta)[0], want, 1e-11);
    }
}

/// The paper's own form, log C(λ) with C = 2 artanh(1 − 2λ)/(1 − 2λ), where it is not 0/0.
#[test]
fn continuous_bernoulli_is_the_paper_s() {
    for o in [-5.0f64, -1.0, -0.3, 0.3, 2.0, 6.0] {
        let lambda = 1.0 / (1.0 + (-o).exp());
        let (c, x) = (2.0 * (1.0 - 2.0 * lambda).atanh() / (1.0 - 2.0 * lambda), 0.3);
        let want = x * lambda.ln() + (1.0 - x) * (1.0 - lambda).ln() + c.ln();
        close("continuous-bernoulli", log_prob("continuous-bernoulli", &[x], &[o])[0], want, 1e-13);
        let want = lambda / (2.0 * lambda - 1.0) + 1.0 / (2.0 * (1.0 - 2.0 * lambda).atanh());
        close("its mean", mean("continuous-bernoulli", &[o])[0], want, 1e-13);
    }
}

/// Around λ = ½, where the normaliser is 0/0: at 2,001 logits from −1 to 1, and at 160 closer to 0 by and by, against
/// Σ oⁿ/(n + 1)! and Σ n oⁿ⁻¹/(n + 1)!, whose terms all have one sign for o > 0; o < 0 by A(−o) = A(o) − o.
#[test]
fn the_continuous_bernoulli_s_normaliser_near_one_half() {
    let exact = |o: f64| {
        // From the smallest term on, without the leading 1, so that its logarithm keeps its digits.
        let term = |n: i32| (1..=n + 1).fold(1.0, |t, i| if i <= n { t * o / f64::from(i) } else { t / f64::from(i) });
        let rest: f64 = (1..=24).rev().map(term).sum();
        let slope: f64 = (1..=24).rev().map(|n| f64::from(n) * term(n)).sum::<f64>() / o;
        (rest.ln_1p(), slope / (1.0 + rest))
    };
    let dense = (1..=1000).map(|i| f64::from(i) / 1000.0);
    let close_by = (0..80).map(|i| 10f64.powf(-0.2 * f64::from(i)));
    for o in dense.chain(close_by) {
        let (log, by_o) = exact(o);
        for (o, log, by_o) in [(o, log, by_o), (-o, log - o, 1.0 - by_o)] {
            let found = -log_prob("continuous-bernoulli", &[0.0], &[o])[0];
            // Some roundings of numbers of order o and, of the logarithm of a quotient, of order 1.
            assert!((found - log).abs() <= 1e-15 * (o.abs() + 0.5), "{o:e}: {found:e} and {log:e}");
            let found = mean("continuous-bernoulli", &[o])[0];
            assert!((found - by_o).abs() <= 3e-15, "{o:e}: mean {found} and {by_o}");
        }
    }
    assert_eq!(
        (log_prob("continuous-bernoulli", &[0.7], &[0.0])[0], mean("continuous-bernoulli", &[0.0])[0]),
        (0.0, 0.5)
    );
}

/// Far from a level's ends the probability is the logistic density times the level's width.
#[test]
fn a_wide_discretized_logistic_is_its_density() {
    for (level, m, s) in [(100.0, 0.3, 2.0), (30.0, -0.5, 4.0), (1.0, 0.0, 9.0)] {
        let z = ((2.0 * level / 255.0 - 1.0) - m) * f64::exp(-s);
        let density = (-z).exp() / (s.exp() * (1.0 + (-z).exp()).powi(2));
        let found = log_prob("discretized-logistic", &[level / 255.0], &[m, s])[0];
        // The midpoint rule errs by δ²/24 of the second derivative.
        assert!((found - (density * 2.0 / 255.0).ln()).abs() < (2.0 / 255.0 * f64::exp(-s)).powi(2), "{level} {m} {s}");
    }
    // The tails take what is left: of a location far outside, black and white are certain.
    assert!(log_prob("discretized-logistic", &[0.0, 1.0], &[-9.0, 9.0, -3.0, -3.0])[0].abs() < 1e-60);
}

#[test]
fn limits_join() {
    // Beta-binomial with α = β = 1 knows nothing of the level.
    for x in [0.0, 0.2, 1.0] {
        close("beta-binomial", log_prob("beta-binomial", &[x], &[0.0, 0.0])[0], -256f64.ln(), 1e-12);
    }
    // NB of infinite r is the Poisson; a loss that never happens leaves NB; t of infinite ν is the Gaussian.
    let nb = |rho: f64, x: f64, o: f64| {
        let (likelihood, mut params) = build::<f64>("negative-binomial", 1);
        let mut layout = Layout::new();
        "negative-binomial".parse::<LikelihoodKind>().unwrap().build(&mut layout, 1);
        params.values_mut().set(&layout.entries()[0].slot, 0, 0, rho);
        let mut out = [f64::NAN];
        let (x, o) = ([x], [o]);
        let (x, eta) = (Mat::new(&x, 1, 1, 1), Mat::new(&o, 1, 1, 1));
        f64::likelihood(&*likelihood).log_prob(Isa::default(), &params, x, eta, &mut out);
        out[0]
    };
    for (x, o) in [(0.0, 1.0), (3.0, 0.5), (40.0, 3.0)] {
        let poisson = log_prob("poisson", &[x], &[o])[0];
        // (x − μ)²/2r and less: 1e3/1e17.
        [40.0, 60.0, 600.0].iter().for_each(|&rho| close("negative-binomial", nb(rho, x, o), poisson, 1e-13));
        let inflated = log_prob("zero-inflated-negative-binomial", &[x], &[o, -80.0])[0];
        close("zero-inflated", inflated, log_prob("negative-binomial", &[x], &[o])[0], 1e-13);
        let t = log_prob("student-t:1e9", &[x], &[o, 0.7])[0];
        // x⁴/4ν
        close("student-t", t, log_prob("gaussian-predicted", &[x], &[o, 1.4])[0], 1e-5);
    }
}

#[test]
fn continuous_draws_have_the_moments() {
    const DRAWS: usize = 40_000;
    let cb = |o: f64| 1.0 / (o * o) - 1.0 / (4.0 * (0.5 * o).sinh().powi(2));
    for (name, eta, variance, kurtosis) in [
        ("continuous-bernoulli", vec![3.0], cb(3.0), 9.0),
        ("continuous-bernoulli", vec![-20.0], cb(20.0), 9.0),
        ("continuous-bernoulli", vec![1e-12], 1.0 / 12.0, 1.8),
        ("laplace", vec![0.7], 2.0, 6.0),
        ("laplace-learned", vec![0.7], 2.0 * (-1.6f64).exp(), 6.0),
        ("laplace-predicted", vec![-0.2, 1.1], 2.0 * 2.2f64.exp(), 6.0),
        ("student-t:8", vec![0.4, -0.5], 8.0 / 6.0 * (-1f64).exp(), 4.5),
        ("gaussian-optimal", vec![0.4], (-0.8f64).exp(), 3.0),
    ] {
        let want = [mean(name, &eta)[0], variance, kurtosis * variance * variance];
        assert_moments(name, &eta, want, DRAWS);
    }
}

#[test]
fn discrete_draws_have_the_moments() {
    for (name, eta) in DISCRETE {
        assert_moments(name, eta, moments(name, eta).1, 20_000);
    }
}

/// Mean and variance of draws of one column, within four standard errors of what they should be.
fn assert_moments(name: &str, eta: &[f64], [mean, variance, fourth]: [f64; 3], draws: usize) {
    let (likelihood, params) = build::<f64>(name, 1);
    let (mut rng, mut x, n) = (Noise::new(8).rng(Stream::Check, 0, 0, 0), [0.0], draws as f64);
    let (mut sum, mut squares) = (0.0, 0.0);
    for _ in 0..draws {
        f64::likelihood(&*likelihood).sample(&params, eta, &mut rng, &mut x);
        assert!(likelihood_domain(name).contains(x[0]), "{name} {eta:?} drew {}", x[0]);
        sum += x[0] - mean;
        squares += (x[0] - mean).powi(2);
    }
    let off = (sum / n).abs() / (variance / n).sqrt();
    assert!(off < 4.0, "{name} {eta:?}: the mean is {off} standard errors from {mean}");
    let off = (squares / n - variance).abs() / ((fourth - variance * variance) / n).sqrt();
    assert!(off < 4.0, "{name} {eta:?}: the variance {} is {off} standard errors from {variance}", squares / n);
}

fn likelihood_domain(name: &str) -> elbo::density::Domain {
    name.parse::<LikelihoodKind>().unwrap().domain()
}

#[test]
fn multinomial_draws_fill_the_trials() {
    let eta = [0.3, -1.0, 2.0, -1e4];
    let (likelihood, params) = build::<f64>("multinomial:1000", 4);
    let (mut rng, mut x, mut sum, shares) =
        (Noise::new(9).rng(Stream::Check, 0, 0, 0), [0.0; 4], [0.0; 4], mean("multinomial", &eta));
    const DRAWS: usize = 2000;
    for _ in 0..DRAWS {
        f64::likelihood(&*likelihood).sample(&params, &eta, &mut rng, &mut x);
        assert_eq!(x.iter().sum::<f64>(), 1000.0);
        sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
    }
    for (sum, p) in sum.into_iter().zip(shares) {
        let n = 1000.0 * DRAWS as f64;
        assert!((sum - n * p).abs() <= 4.0 * (n * p * (1.0 - p)).sqrt(), "{sum} of {n}, expected a share of {p}");
    }
}

/// Value and gradient of one column in f32, with what it learns at `learned`.
fn in_f32(name: &str, x: f32, eta: &[f32], learned: f32) -> (f32, Vec<f32>) {
    let mut layout = Layout::new();
    let likelihood = name.parse::<LikelihoodKind>().unwrap().build(&mut layout, 1);
    let (mut params, likelihood) = (Params::<f32>::zeros(&layout), f32::likelihood(&*likelihood));
    for entry in layout.entries() {
        params.values_mut().set(&entry.slot, 0, 0, learned);
    }
    let (mut cache, mut value, mut grad, n) = (likelihood.cache(1), [f32::NAN], eta.to_vec(), eta.len());
    let (x, isa) = ([x], Isa::default());
    let eta = MatMut::new(&mut grad, 1, n, n);
    likelihood.log_prob_grad(isa, &params, Mat::new(&x, 1, 1, 1), eta, &[1.0], &mut value, &mut cache);
    grad.extend(cache.buffers.first().map(|b| b.rows(1).row(0)[0]));
    (value[0], grad)
}

/// Logits as far as ±1e4, in f32: finite, and where one is said not to be, said so.
#[test]
fn extreme_logits_are_finite() {
    const FAR: [f32; 11] = [-1e4, -700.0, -88.5, -40.0, -1e-6, 0.0, 1e-6, 40.0, 88.5, 700.0, 1e4];
    let bytes = [0.0f32, 1.0 / 255.0, 0.5019608, 254.0 / 255.0, 1.0];
    let counts = [0.0f32, 1.0, 17.0, 16_777_216.0];
    let real = [0.0f32, 0.7, -1e4];
    let learned = [-60.0f32, -1.0, 0.0, 5.0, 60.0];
    for (name, xs) in [
        ("continuous-bernoulli", &[0.0f32, 0.3, 1.0][..]),
        ("discretized-logistic", &bytes),
        ("beta-binomial", &bytes),
        ("multinomial", &counts),
        ("negative-binomial", &counts),
        ("zero-inflated-negative-binomial", &counts),
        ("student-t", &real),
        ("student-t:0.01", &real),
        ("student-t:1e9", &real),
    ] {
        let two = name.parse::<LikelihoodKind>().unwrap().eta_cols(1) == 2;
        for (&x, &first) in xs.iter().flat_map(|x| FAR.iter().map(move |o| (x, o))) {
            for &second in &FAR[..if two { FAR.len() } else { 1 }] {
                for &learned in &learned {
                    let eta = if two { vec![first, second] } else { vec![first] };
                    let (value, grad) = in_f32(name, x, &eta, learned);
                    assert!(value.is_finite(), "{name}: log p({x} | {eta:?}, {learned}) is {value}");
                    assert!(grad.iter().all(|g| g.is_finite()), "{name} {x} {eta:?} {learned}: {grad:?}");
                }
            }
        }
    }
    // The documented limits: no finite value, and no wrong one.
    assert!(!in_f32("poisson", 3.0, &[100.0], 0.0).0.is_finite());
    assert!(in_f32("poisson", 3.0, &[88.0], 0.0).0.is_finite());
    assert!(!in_f32("laplace-predicted", 0.0, &[1.0, -100.0], 0.0).0.is_finite());
    assert!(in_f32("laplace-predicted", 0.0, &[1.0, -88.0], 0.0).0.is_finite());
}

/// The closed form is where the gradient of a learned variance is zero, whatever it was before.
#[test]
fn the_optimal_variance_is_the_mean_squared_error() {
    let (x, means) = ([0.3f64, -1.0, 0.7, 2.0, 0.1, 0.4], [0.0f64, 0.2, 1.0, -0.5, 0.3, 0.9]);
    let error = x.iter().zip(means).map(|(x, m)| (x - m).powi(2)).sum::<f64>() / 6.0;
    for (variance, refits) in [(Variance::Optimal, true), (Variance::Learned, false)] {
        for before in [-3.0, 0.0, 2.5] {
            let mut layout = Layout::new();
            let gaussian = Gaussian::new(&mut layout, 3, variance);
            let (mut params, slot) = (Params::<f64>::zeros(&layout), gaussian.log_variance().unwrap());
            params.values_mut().set(&slot, 0, 0, before);
            let mut out = [0.0; 2];
            let (x, eta) = (Mat::new(&x, 2, 3, 3), Mat::new(&means, 2, 3, 3));
            gaussian.log_prob(Isa::default(), &params, x, eta, &mut out);
            match gaussian.optimum(&params, -(out[0] + out[1]) / 2.0) {
                Some((of, v)) => assert!(refits && of == slot && (v - error.ln()).abs() < 1e-14, "{before}: {v}"),
                None => assert!(!refits),
            }
        }
    }
    // No error at all: the authors' bound, by and by, and not minus infinity.
    let mut layout = Layout::new();
    let gaussian = Gaussian::new(&mut layout, 1, Variance::Optimal);
    let (mut params, slot, mut out) = (Params::<f64>::zeros(&layout), gaussian.log_variance().unwrap(), [0.0]);
    for _ in 0..5 {
        gaussian.log_prob(Isa::default(), &params, Mat::new(&[0.5], 1, 1, 1), Mat::new(&[0.5], 1, 1, 1), &mut out);
        let (slot, v) = gaussian.optimum(&params, -out[0]).unwrap();
        params.values_mut().set(&slot, 0, 0, v);
    }
    assert_eq!(params.values().get(&slot, 0, 0), -12.0);
}
