//! Numbers at the edges of what f32 can say, and sums over many rows, against f64 within the bounds that the
//! documentation states.

use elbo::data::Dataset;
use elbo::density::{AnyLikelihood, DiagonalGaussian, LikelihoodKind, Posterior, Prior, StandardNormal};
use elbo::estimator::{ImportanceBounds, LogSumExp};
use elbo::model::{Draw, VaeConfig};
use elbo::optim::{OptimizerConfig, OptimizerKind};
use elbo::tensor::{Buffer, Exec, Isa, Layout, Mat, MatMut, Noise, Params, Real, Stream};
use elbo::train::{TrainConfig, Trainer};
use elbo_kernels::{Element, reference};
use ndarray::Array2;
use rand::Rng;
use rand_distr::StandardNormal as Normal;
use std::sync::Arc;

const LOG_TAU: f64 = 1.8378770664093453;

/// The largest relative error of one rounding.
fn unit<F: Real>() -> f64 {
    if F::NAME == "f32" { 2f64.powi(-24) } else { 2f64.powi(-53) }
}

/// What is under the normal range may be flushed to zero.
fn tiny<F: Real>() -> f64 {
    if F::NAME == "f32" { 2f64.powi(-125) } else { 2f64.powi(-1021) }
}

fn wide<F: Real>(x: &[F]) -> Vec<f64> {
    x.iter().map(|x| Element::to_f64(*x)).collect()
}

/// A likelihood's value on one row, and its gradient by η with weight `w`.
fn evaluate<F: Real>(name: &str, x: &[F], eta: &[F], w: f64) -> (f64, Vec<f64>) {
    let mut layout = Layout::new();
    let likelihood: Arc<dyn AnyLikelihood> = name.parse::<LikelihoodKind>().unwrap().build(&mut layout, x.len());
    let (likelihood, params, isa) = (F::likelihood(&*likelihood), Params::zeros(&layout), Isa::default());
    let (mut value, mut again, mut d_eta) = ([F::ZERO], [F::ZERO], eta.to_vec());
    let (cols, etas) = (x.len(), eta.len());
    likelihood.log_prob(isa, &params, Mat::new(x, 1, cols, cols), Mat::new(eta, 1, etas, etas), &mut value);
    likelihood.log_prob_grad(
        isa,
        &params,
        Mat::new(x, 1, cols, cols),
        MatMut::new(&mut d_eta, 1, etas, etas),
        &[F::from_f64(w)],
        &mut again,
        &mut likelihood.cache(1),
    );
    assert_eq!(value[0].to_f64().to_bits(), again[0].to_f64().to_bits(), "{name}: one value, with its gradient or not");
    (value[0].to_f64(), wide(&d_eta))
}

const LOGITS: [f64; 19] = [
    1e4, -1e4, 88.5, -88.5, 86.0, -86.0, 80.0, -80.0, 17.0, -17.0, 1.0, -1.0, 1e-7, -1e-7, 1e-30, 1e-40, -1e-40, 0.0,
    -0.0,
];

fn bernoulli_tails<F: Real>() {
    let u = unit::<F>();
    let rounded = |o: f64| Element::to_f64(F::from_f64(o));
    let check = |x: &[f64], logits: &[f64], w: f64| {
        let of = |v: &[f64]| v.iter().map(|x| F::from_f64(*x)).collect::<Vec<F>>();
        let (value, grad) = evaluate("bernoulli", &of(x), &of(logits), w);
        let logits: Vec<f64> = logits.iter().map(|o| rounded(*o)).collect();
        let terms = x.iter().zip(&logits).map(|(x, o)| x * o - o.max(0.0) - (-o.abs()).exp().ln_1p());
        let want: f64 = terms.sum();
        let bound = (x.len() as f64 / 16.0 + 12.0) * u * logits.iter().map(|o| o.abs() + 1.0).sum::<f64>();
        assert!((value - want).abs() <= bound, "{} {x:?} {logits:?}: {value} and {want}, bound {bound}", F::NAME);
        for (d, (x, o)) in x.iter().zip(&logits).enumerate() {
            let mean = reference::sigmoid(*o);
            let (want, bound) = (w * (x - mean), w.abs() * (8.0 * u * mean.max(*x) + tiny::<F>()));
            assert!((grad[d] - want).abs() <= bound, "{} x {x}, o {o}: {} and {want}", F::NAME, grad[d]);
        }
    };
    for x in [0.0, 0.25, 1.0] {
        for w in [1.0, -0.125] {
            LOGITS.iter().for_each(|&o| check(&[x], &[o], w));
            // Many columns, all of them extreme, and more than one group of logarithms and no whole one.
            let many: Vec<f64> = LOGITS.into_iter().cycle().take(5000).collect();
            check(&vec![x; many.len()], &many, w);
        }
    }
}

#[test]
fn bernoulli_tails_keep_their_digits() {
    bernoulli_tails::<f32>();
    bernoulli_tails::<f64>();
    // The tail itself, and not a difference of ones.
    let (_, grad) = evaluate("bernoulli", &[0f32], &[-80f32], 1.0);
    assert!((grad[0] / -(-80f64).exp() - 1.0).abs() < 1e-6, "{grad:?}");
}

fn categorical_tails<F: Real>() {
    let u = unit::<F>();
    for &a in &LOGITS {
        for &b in &LOGITS {
            let logits = [F::from_f64(a), F::from_f64(b), F::from_f64(-1e4)];
            // Shifted first, so that the reference does not lose what it is to find.
            let top = wide(&logits).into_iter().fold(f64::MIN, f64::max);
            let o: Vec<f64> = wide(&logits).into_iter().map(|o| o - top).collect();
            let mut sum = LogSumExp::default();
            o.iter().for_each(|o| sum.add(*o));
            for class in 0..3 {
                let (value, grad) = evaluate("categorical:3", &[F::from_f64(class as f64)], &logits, 0.5);
                let want = o[class] - sum.value();
                // A difference of logits, and a logarithm of at most 3.
                let bound = 8.0 * u * o[class].abs().max(1.0);
                assert!((value - want).abs() <= bound, "{} {o:?} {class}: {value} and {want}", F::NAME);
                for (c, g) in grad.iter().enumerate() {
                    let softmax = (o[c] - sum.value()).exp();
                    let want = 0.5 * (f64::from(u8::from(c == class)) - softmax);
                    // The shift of a logit is rounded, which the exponential makes relative to its size.
                    assert!((g - want).abs() <= 16.0 * u + tiny::<F>(), "{} {o:?} {class}: {g} and {want}", F::NAME);
                }
            }
        }
    }
}

#[test]
fn categorical_tails_keep_their_digits() {
    categorical_tails::<f32>();
    categorical_tails::<f64>();
}

fn gaussian_extremes<F: Real>() {
    let u = unit::<F>();
    for v in [-80.0, -40.0, -1e-7, 0.0, 1e-40, 3.0, 80.0] {
        for d in [0.0, 1e-30, 1e-10, 0.5, -3.0, 10.0, 1e4] {
            let (x, mean, v) = (F::from_f64(d), F::ZERO, F::from_f64(v));
            let (value, grad) = evaluate("gaussian-predicted", &[x], &[mean, v], 1.0);
            let (d, v) = (Element::to_f64(x), Element::to_f64(v));
            let square = d * d * (-v).exp();
            let (want, size) = (-0.5 * (LOG_TAU + v + square), 0.5 * (LOG_TAU + v.abs() + square));
            if F::NAME == "f32" && square > 1e38 {
                // Overflow is said, not hidden.
                assert!(!value.is_finite() || (value - want).abs() <= 17.0 * u * size, "{d} {v}: {value}");
                continue;
            }
            assert!((value - want).abs() <= 17.0 * u * size, "{} d {d}, v {v}: {value} and {want}", F::NAME);
            let by_mean = d * (-v).exp();
            assert!((grad[0] - by_mean).abs() <= 8.0 * u * by_mean.abs() + tiny::<F>(), "{d} {v}: {}", grad[0]);
            let by_v = 0.5 * (square - 1.0);
            assert!((grad[1] - by_v).abs() <= 8.0 * u * 0.5 * (square + 1.0), "{d} {v}: {} and {by_v}", grad[1]);
        }
    }
}

#[test]
fn gaussians_at_extreme_log_variances() {
    gaussian_extremes::<f32>();
    gaussian_extremes::<f64>();
    // Of a variance too small for f32 to invert the value is no number, whatever the distance: the step is refused.
    for d in [0.0, 1.0] {
        let (value, _) = evaluate("gaussian-predicted", &[d as f32], &[0f32, -100.0], 1.0);
        assert!(!value.is_finite(), "{value}");
    }
}

fn kl_extremes<F: Real>() {
    let (prior, isa, u) = (StandardNormal::new(1), Isa::default(), unit::<F>());
    for v in [-1e4, -80.0, -20.0, -1.0, -1e-3, -1e-7, -1e-30, 0.0, 1e-40, 1e-7, 1e-3, 1.0, 20.0, 80.0, 88.0] {
        for m in [0.0, 1e-10, -0.5, 3.0, 1e4] {
            let eta = [F::from_f64(m), F::from_f64(v)];
            let (m, v) = (Element::to_f64(eta[0]), Element::to_f64(eta[1]));
            let (mut kl, mut d_eta) = ([F::ZERO], [F::ZERO; 2]);
            Prior::<F>::kl(&prior, isa, Mat::new(&eta, 1, 2, 2), MatMut::new(&mut kl, 1, 1, 1));
            let want = 0.5 * (m * m + reference::exp_minus_1_minus_x(v));
            let got = kl[0].to_f64();
            assert!(got >= 0.0 && (got - want).abs() <= 20.0 * u * want + tiny::<F>(), "{m} {v}: {got} and {want}");
            let weight = [F::from_f64(0.25)];
            let (weight, d) = (Mat::new(&weight, 1, 1, 1), MatMut::new(&mut d_eta, 1, 2, 2));
            Prior::<F>::kl_grad(&prior, isa, Mat::new(&eta, 1, 2, 2), weight, d);
            for (got, want) in wide(&d_eta).into_iter().zip([0.25 * m, 0.125 * v.exp_m1()]) {
                assert!((got - want).abs() <= 20.0 * u * want.abs() + tiny::<F>(), "{m} {v}: {got} and {want}");
            }
        }
    }
}

#[test]
fn kl_at_extreme_log_variances() {
    kl_extremes::<f32>();
    kl_extremes::<f64>();
    // Too wide for f32: infinite, and no silent number.
    let mut kl = [0f32];
    StandardNormal::new(1).kl(Isa::default(), Mat::new(&[0.0, 100.0], 1, 2, 2), MatMut::new(&mut kl, 1, 1, 1));
    assert_eq!(kl, [f32::INFINITY]);
}

/// log p(z) − log q(z|x) from ε does not lose what rounding took from z; from z it does, by nats.
#[test]
fn the_log_ratio_of_a_narrow_posterior_keeps_its_digits() {
    let (posterior, prior, isa) = (DiagonalGaussian::new(2), StandardNormal::new(2), Isa::default());
    let eps = [1.25f32, -0.75];
    let mut from_z_errs: f64 = 0.0;
    for v in [-40.0, -33.0, -25.0, -10.0, 0.0, 4.0] {
        let eta = [3.0f32, -7.0, v, v];
        let (eta, eps) = (Mat::new(&eta, 1, 4, 4), Mat::new(&eps, 1, 2, 2));
        let mut z = [0f32; 2];
        posterior.sample(isa, eta, eps, MatMut::new(&mut z, 1, 2, 2));
        let z = Mat::new(&z, 1, 2, 2);
        let mut ratio = [f64::NAN];
        posterior.log_ratio(&prior, eta, eps, z, &mut ratio);
        let exact = |j: usize| {
            let (v, e) = (f64::from(v), f64::from(eps.row(0)[j]));
            let z = f64::from(eta.row(0)[j]) + (0.5 * v).exp() * e;
            -0.5 * (z * z - v - e * e)
        };
        let want = exact(0) + exact(1);
        // z is rounded to 2⁻²⁴ of its size, up to 11, and enters squared.
        assert!((ratio[0] - want).abs() < 4.0 * 121.0 * unit::<f32>(), "{v}: {} and {want}", ratio[0]);
        let (mut log_p, mut log_q) = ([0f32], [0f32]);
        Prior::<f32>::log_prob(&prior, isa, z, &mut log_p);
        posterior.log_prob(isa, z, eta, &mut log_q);
        from_z_errs = from_z_errs.max((f64::from(log_p[0]) - f64::from(log_q[0]) - want).abs());
    }
    assert!(from_z_errs > 0.5, "the plain way errs by {from_z_errs}");
}

#[test]
fn log_sum_exp_at_the_edges() {
    const INF: f64 = f64::INFINITY;
    let of = |x: &[f64]| {
        let mut sum = LogSumExp::default();
        x.iter().for_each(|x| sum.add(*x));
        sum.value()
    };
    for (x, want) in [
        (&[][..], -INF),
        (&[-INF; 5], -INF),
        (&[-INF, 3.0, -INF], 3.0),
        (&[1.0, INF, -INF, 2.0], INF),
        (&[INF, INF], INF),
        (&[-1e308, -1e308], -1e308),
        (&[f64::MAX, f64::MAX], f64::MAX),
        (&[-1e4, 1e4], 1e4),
    ] {
        assert_eq!(of(x), want, "{x:?}");
    }
    for x in [&[f64::NAN][..], &[1.0, f64::NAN, 2.0], &[f64::NAN, INF], &[INF, f64::NAN], &[-INF, f64::NAN, -INF]] {
        assert!(of(x).is_nan(), "{x:?}");
    }
    // 60,000 numbers over a range of e^±40, rising, falling and mixed, within 2n · 2⁻⁵³ of the compensated sum.
    let mut rng = Noise::new(1).rng(Stream::Check, 0, 0, 0);
    let mut x: Vec<f64> = (0..60_000).map(|_| rng.random_range(-40.0..40.0)).collect();
    let want = reference::sum(&x.iter().map(|x| x.exp()).collect::<Vec<f64>>()).ln();
    let bound = 2.0 * 60_000.0 * unit::<f64>();
    let mixed = of(&x);
    x.sort_unstable_by(f64::total_cmp);
    let rising = of(&x);
    x.reverse();
    for found in [mixed, rising, of(&x)] {
        assert!((found - want).abs() <= bound, "{found} and {want}");
    }
}

#[test]
fn importance_bounds_at_the_edges() {
    let of = |weights: &[f64]| {
        let mut bounds = ImportanceBounds::new(weights.len());
        weights.iter().for_each(|w| bounds.add(*w));
        bounds.iter().collect::<Vec<_>>()
    };
    let (inf, sizes) = (f64::INFINITY, |b: &[(usize, f64)]| b.iter().map(|b| b.0).collect::<Vec<_>>());
    assert_eq!(of(&[-3.0]), [(1, -3.0)]);
    assert_eq!(sizes(&of(&[0.0; 7])), [1, 7]);
    assert_eq!(sizes(&of(&[0.0; 10])), [1, 10]);
    assert_eq!(sizes(&of(&[0.0; 150])), [1, 10, 150]);
    assert_eq!(sizes(&of(&[0.0; 5000])), [1, 10, 100, 1000, 5000]);
    // A weight of 0 among ten: the mean of logarithms is −∞, the logarithm of the mean is not.
    let mut weights = [0.0; 10];
    weights[4] = -inf;
    let found = of(&weights);
    assert!(found[0] == (1, -inf) && (found[1].1 - 0.9f64.ln()).abs() < 1e-15, "{found:?}");
    assert_eq!(of(&[-inf; 10]), [(1, -inf), (10, -inf)]);
    assert!(of(&[0.0, f64::NAN, 1.0]).iter().all(|b| b.1.is_nan()));
    // The same memory again.
    let mut bounds = ImportanceBounds::new(3);
    [9.0; 3].into_iter().for_each(|w| bounds.add(w));
    bounds.restart(2);
    [1.0, 1.0].into_iter().for_each(|w| bounds.add(w));
    assert_eq!(bounds.log_likelihood(), 1.0);
}

const MANY: usize = 60_000;

/// A linear network of two columns and one latent.
fn small(config: impl Fn(&mut TrainConfig), data: &Array2<f32>) -> Trainer {
    let mut c = TrainConfig::preset("tabular", 2).unwrap();
    c.vae = VaeConfig { hidden: vec![], latent: 1, ..c.vae };
    c.epochs = 1;
    config(&mut c);
    Trainer::new(c, Dataset::from_array(data.view()).unwrap(), Exec::new(1).unwrap()).unwrap()
}

/// Sums over rows are f64: within n · 2⁻⁵³ of their size, where f32 would be off by far more.
#[test]
fn means_over_sixty_thousand_rows() {
    let mut rng = Noise::new(2).rng(Stream::Data, 0, 0, 0);
    // One row in ten thousand is far out, and makes the sum large before most rows are added.
    let x = Array2::from_shape_fn((MANY, 2), |(r, _)| {
        rng.sample::<f32, _>(Normal) + if r % 10_000 == 0 { 300.0 } else { 5.0 }
    });
    let trainer = small(|_| (), &x);
    let mut inference = trainer.inference();
    let draw = Draw { noise: Noise::new(3), stream: Stream::Evaluate, step: 0 };
    let fill = |r: usize, out: &mut [f32]| out.copy_from_slice(x.row(r).to_slice().unwrap());
    let stats = inference.elbo(MANY, &fill, &draw);
    // The same draws, row by row.
    let (mut reconstructions, mut kls) = (Vec::new(), Vec::new());
    inference.sampled_score(MANY, &fill, &draw, 1, |_, score| {
        reconstructions.push(score.reconstruction);
        kls.push(score.kl);
    });
    for (found, values) in [(stats.reconstruction, &reconstructions), (stats.kl[0], &kls)] {
        let (want, size) = (reference::sum(values), values.iter().map(|v| v.abs()).sum::<f64>());
        let bound = MANY as f64 * unit::<f64>() * size;
        assert!((found - want).abs() <= bound, "{found} and {want}");
        let single: f32 = values.iter().fold(0.0, |sum, v| sum + *v as f32);
        assert!((f64::from(single) - want).abs() > 1e3 * bound, "f32 would do as well: {single} and {want}");
    }
}

/// The gradient over a batch of 60,000 rows, all of one sign: from a step of plain SGD whose rate is 1. A weight's is summed
/// 2048 rows at a time, a bias's row after row.
#[test]
fn gradients_over_sixty_thousand_rows() {
    let x = Array2::from_shape_fn((MANY, 2), |(_, d)| if d == 0 { 3.0 } else { -1.7 });
    let mut trainer = small(
        |c| {
            c.batch_size = MANY;
            c.optimizer = OptimizerConfig { learning_rate: 1.0, ..OptimizerConfig::new(OptimizerKind::Sgd) };
        },
        &x,
    );
    let plain = |t: &Trainer, name: &str| {
        t.params().values().unpack(&t.vae().layout().find(name).unwrap().slot).iter().map(|x| f64::from(*x)).collect()
    };
    let names = ["decoder.0.weight", "decoder.0.bias", "encoder.mean.weight", "encoder.mean.bias"];
    let before: Vec<Vec<f64>> = names.iter().map(|n| plain(&trainer, n)).collect();
    let log_variance: [Vec<f64>; 2] =
        ["encoder.log_variance.weight", "encoder.log_variance.bias"].map(|n| plain(&trainer, n));
    trainer.run(&mut ()).unwrap();
    let after: Vec<Vec<f64>> = names.iter().map(|n| plain(&trainer, n)).collect();

    // The reference in f64. Every row is the same, so only the noise tells them apart, and their order does not matter.
    let (x, [w, b, a, c]) = ([3.0, f64::from(-1.7f32)], [0, 1, 2, 3].map(|i| &before[i]));
    let mean = a[0] * x[0] + a[1] * x[1] + c[0];
    let deviation = (0.5 * (log_variance[0][0] * x[0] + log_variance[0][1] * x[1] + log_variance[1][0])).exp();
    let mut eps = Buffer::<f32>::new(MANY, 1);
    Draw { noise: Noise::new(0), stream: Stream::Train, step: 0 }.fill(0, 0, 1, MANY, &mut eps);
    let (mut dw, mut db, mut sizes) = ([0.0; 2], [0.0; 2], [[0.0; 2]; 2]);
    for r in 0..MANY {
        let z = mean + deviation * f64::from(eps.rows(MANY).row(r)[0]);
        for d in 0..2 {
            let delta = (w[d] * z + b[d] - x[d]) / MANY as f64;
            dw[d] += delta * z;
            db[d] += delta;
            sizes[0][d] += (delta * z).abs();
            sizes[1][d] += delta.abs();
        }
    }
    let u = unit::<f32>();
    for (what, i, gradient, rows) in [("weight", 0, dw, 2048.0 + 30.0), ("bias", 1, db, MANY as f64)] {
        for d in 0..2 {
            let found = before[i][d] - after[i][d];
            let relative = (found - gradient[d]).abs() / sizes[i][d];
            println!("{what} {d}: {found:.7}, in f64 {:.7}, off by {relative:.1e} of the terms' size", gradient[d]);
            // A chain's bound, and 32 roundings for the deltas and the step.
            assert!(relative <= (rows + 32.0) * u, "{what} {d}: {found}, in f64 {}", gradient[d]);
        }
    }
}
