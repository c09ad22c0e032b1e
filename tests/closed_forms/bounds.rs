//! The importance-weighted bounds around an exact log p(x), under a posterior that is far from the true one.

use super::linear::Linear;
use super::{draw, mean_and_stderr, widen_posterior};
use elbo::estimator::LogSumExp;
use elbo::model::{Inference, Preset, Vae, VaeConfig};
use elbo::tensor::{Exec, Isa, Noise, Params, Stream};
use ndarray::{Array1, Array2};
use rand::Rng;
use rand_distr::StandardNormal;

const COLS: usize = 4;
const LATENT: usize = 2;

/// A linear network that was never trained, and rows that it knows nothing of.
fn subject(rows: usize) -> (Vae, Params<f32>, Array2<f32>) {
    let likelihood = "gaussian".parse().unwrap();
    let config =
        VaeConfig { hidden: vec![], latent: LATENT, likelihood, ..Preset::named("tabular").unwrap().config(COLS) };
    let vae = Vae::new(&config).unwrap();
    let mut params = Params::init(vae.layout(), &Noise::new(3));
    widen_posterior(&vae, &mut params, 1.0);
    let mut rng = Noise::new(4).rng(Stream::Data, 0, 0, 0);
    let x = Array2::from_shape_fn((rows, COLS), |_| rng.sample::<f64, _>(StandardNormal) as f32);
    (vae, params, x)
}

/// By row, then by K.
fn bounds(vae: &Vae, p: &Params<f32>, ex: &Exec, x: &Array2<f32>, step: u64, samples: usize) -> Vec<Vec<(usize, f64)>> {
    let mut found = Vec::new();
    let fill = |r: usize, out: &mut [f32]| out.copy_from_slice(x.row(r).to_slice().unwrap());
    Inference::new(vae, p, ex).importance(x.nrows(), &fill, &draw(step), samples, |r, bounds| {
        assert_eq!(r, found.len());
        found.push(bounds.iter().collect());
    });
    found
}

/// log of the mean of K weights of which the first is of a draw from the exact posterior and the others are from q: in
/// expectation at least log p(x), and falling with K; the first draws are the same for every K. For K = 1 its gap is KL(p(z|x) ‖ q) (Grosse, Ghahramani and Adams
/// 2015, arXiv:1511.02543, for this simplest of their chains).
fn upper_bound(model: &Linear, x: &Array2<f32>, row: usize, size: usize, repetition: u64, q: &Array2<f64>) -> f64 {
    let x = x.row(row).mapv(f64::from);
    let mut rng = Noise::new(5).rng(Stream::Check, repetition, row as u64, 0);
    let mut normal = || Array1::from_shape_fn(LATENT, |_| rng.sample::<f64, _>(StandardNormal));
    let (mean, root) = model.exact_posterior(x.view());
    let mut sum = LogSumExp::default();
    sum.add(model.log_weight(x.view(), (mean + root.dot(&normal())).view()));
    for _ in 1..size {
        let eps = normal();
        let z = Array1::from_shape_fn(LATENT, |l| q[[row, l]] + (0.5 * q[[row, LATENT + l]]).exp() * eps[l]);
        sum.add(model.log_weight(x.view(), z.view()));
    }
    sum.value() - (size as f64).ln()
}

#[test]
fn the_bound_rises_with_its_samples_and_brackets_the_exact_value() {
    const ROWS: usize = 64;
    const REPETITIONS: u64 = 12;
    let (vae, params, x) = subject(ROWS);
    let ex = Exec::new(0).unwrap();
    let model = Linear::of(&vae, &params, 1.0);
    let exact = model.log_px(&x.mapv(f64::from));
    let mean_exact = exact.iter().sum::<f64>() / ROWS as f64;
    let mut q = Array2::zeros((ROWS, 2 * LATENT));
    let fill = |r: usize, out: &mut [f32]| out.copy_from_slice(x.row(r).to_slice().unwrap());
    Inference::new(&vae, &params, &ex).encode(ROWS, &fill, |r, mean, log_variance| {
        q.row_mut(r).iter_mut().zip(mean.iter().chain(log_variance)).for_each(|(q, e)| *q = f64::from(*e));
    });

    let sizes = [1, 10, 100, 1000];
    let (mut lower, mut upper) = (vec![Vec::new(); sizes.len()], vec![Vec::new(); sizes.len()]);
    for repetition in 0..REPETITIONS {
        let found = bounds(&vae, &params, &ex, &x, repetition, 1000);
        for row in &found {
            assert!(row.iter().map(|b| b.0).eq(sizes), "{row:?}");
            // Of nested groups it rises in every row (Jensen), but for the rounding of a thousand terms.
            assert!(row.windows(2).all(|b| b[0].1 <= b[1].1 + 1e-10), "{row:?}");
        }
        for (i, &size) in sizes.iter().enumerate() {
            lower[i].push(found.iter().map(|row| row[i].1).sum::<f64>() / ROWS as f64);
            let above = (0..ROWS).map(|row| upper_bound(&model, &x, row, size, repetition, &q));
            upper[i].push(above.sum::<f64>() / ROWS as f64);
        }
    }
    let paired = |a: &[f64], b: &[f64]| mean_and_stderr(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>());
    let [below, above] = [&lower, &upper].map(|all| all.iter().map(|v| mean_and_stderr(v)).collect::<Vec<_>>());
    for (i, size) in sizes.iter().enumerate() {
        let ((l, l_err), (u, u_err)) = (below[i], above[i]);
        println!("K {size}: {l:.5} ± {l_err:.5} ≤ {mean_exact:.5} ≤ {u:.5} ± {u_err:.5}");
        // Four standard errors of twelve repetitions.
        assert!(l - 4.0 * l_err <= mean_exact && mean_exact <= u + 4.0 * u_err, "K {size}");
    }
    for (i, size) in sizes.iter().enumerate().skip(1).take(2) {
        let ((rise, rise_err), (fall, fall_err)) = (paired(&lower[i], &lower[i - 1]), paired(&upper[i - 1], &upper[i]));
        assert!(
            rise > 4.0 * rise_err && fall > 4.0 * fall_err,
            "to K {size}: {rise} ± {rise_err}, {fall} ± {fall_err}"
        );
    }
    // −L_1 is −ELBO, here in closed form.
    let neg_elbo = model.neg_elbo(&x.mapv(f64::from));
    assert!((below[0].0 + neg_elbo).abs() < 4.0 * below[0].1, "L_1 {:?}, ELBO {}", below[0], -neg_elbo);
    // From both sides it closes as 1/K, where weights have a variance at all; K = 1000 leaves room to a tenth for the
    // noise of both.
    let width = |i: usize| above[i].0 - below[i].0;
    assert!(width(3) < 0.1 * width(0), "{} of {}", width(3), width(0));
}

/// Draws are a function of seed, row and sample: not of threads, blocks, or how many rows and samples were asked for.
#[test]
fn estimates_do_not_depend_on_threads_or_blocks() {
    let (vae, params, x) = subject(37);
    let ex = |threads| Exec::with_isa(Isa::default(), threads).unwrap();
    for samples in [1, 7, 40] {
        let all = bounds(&vae, &params, &ex(1), &x, 0, samples);
        for threads in [2, 3, 7] {
            assert_eq!(bounds(&vae, &params, &ex(threads), &x, 0, samples), all, "{threads} threads");
        }
        for rows in [1, 5, 8, 20] {
            let first = x.slice(ndarray::s![..rows, ..]).to_owned();
            assert_eq!(bounds(&vae, &params, &ex(2), &first, 0, samples), all[..rows], "{rows} rows");
        }
        assert_ne!(bounds(&vae, &params, &ex(1), &x, 1, samples), all);
    }
}
