//! The importance-sampled likelihood against quadrature over a single latent, for every likelihood and a decoder that is
//! not linear.

use super::{draw, mean_and_stderr, widen_posterior};
use elbo::density::Domain;
use elbo::layer::Activation;
use elbo::model::{Hidden, Inference, Preset, Vae, VaeConfig};
use elbo::tensor::{Exec, Mat, Noise, Params, Stream};
use ndarray::Array2;
use rand::Rng;

const COLS: usize = 5;
const ROWS: usize = 8;

const KINDS: [&str; 16] = [
    "bernoulli",
    "gaussian",
    "gaussian:0.3",
    "gaussian-learned",
    "gaussian-per-dimension",
    "gaussian-predicted",
    "categorical:3",
    "continuous-bernoulli",
    "laplace-learned",
    "student-t",
    "poisson",
    "negative-binomial",
    "zero-inflated-negative-binomial",
    "multinomial",
    "discretized-logistic",
    "beta-binomial",
];

/// log ∫ N(z; 0, 1) p(x|z) dz of each row, by the trapezium rule: at ±9 the prior's density is 1e-18 of its greatest, and on
/// a smooth integrand the rule errs less than any power of the step.
fn exact(vae: &Vae, params: &Params<f64>, ex: &Exec, x: &Array2<f64>) -> Vec<f64> {
    const POINTS: usize = 2001;
    let z = |i: usize| 9.0 * (2.0 * i as f64 / (POINTS - 1) as f64 - 1.0);
    let likelihood = vae.likelihood::<f64>();
    let mut sums = vec![elbo::estimator::LogSumExp::default(); ROWS];
    Inference::new(vae, params, ex).decode(POINTS, &|i, out: &mut [f64]| out[0] = z(i), |i, eta, _| {
        let log_prior = -0.5 * (z(i) * z(i) + (2.0 * std::f64::consts::PI).ln());
        for (row, sum) in x.rows().into_iter().zip(&mut sums) {
            let mut log_px = [f64::NAN];
            let (row, eta) = (Mat::new(row.to_slice().unwrap(), 1, COLS, COLS), Mat::new(eta, 1, eta.len(), eta.len()));
            likelihood.log_prob(ex.isa(), params, row, eta, &mut log_px);
            sum.add(log_prior + log_px[0]);
        }
    });
    sums.iter().map(|sum| sum.value() + (18.0 / (POINTS - 1) as f64).ln()).collect()
}

#[test]
fn importance_sampling_agrees_with_quadrature_for_every_likelihood() {
    const SAMPLES: usize = 1000;
    let ex = Exec::new(0).unwrap();
    for kind in KINDS {
        let config = VaeConfig {
            hidden: vec![7],
            layer: Hidden::Dense(Activation::Tanh),
            latent: 1,
            likelihood: kind.parse().unwrap(),
            ..Preset::named("tabular").unwrap().config(COLS)
        };
        let vae = Vae::new(&config).unwrap();
        let mut params: Params<f64> = Params::<f32>::init(vae.layout(), &Noise::new(11)).cast();
        // Twice the usual weights in the decoder, so that x depends on z by more than a straight line.
        widen_posterior(&vae, &mut params, 2.0);
        let mut rng = Noise::new(12).rng(Stream::Data, 0, 0, 0);
        let x = Array2::from_shape_fn((ROWS, COLS), |_| match config.likelihood.domain() {
            Domain::Unit => f64::from(rng.random_range(0..2)),
            Domain::Classes(classes) => rng.random_range(0..classes) as f64,
            Domain::Counts => f64::from(rng.random_range(0..4)),
            Domain::Bytes => f64::from(rng.random_range(80..180)) / 255.0,
            Domain::Real => rng.random_range(-1.0..1.0),
        });
        let exact = exact(&vae, &params, &ex, &x);
        let mut inference = Inference::new(&vae, &params, &ex);
        let fill = |r: usize, out: &mut [f64]| out.copy_from_slice(x.row(r).to_slice().unwrap());
        let mut errors = vec![Vec::new(); ROWS];
        for repetition in 0..16 {
            inference.importance(ROWS, &fill, &draw(repetition), SAMPLES, |r, bounds| {
                // p̂(x)/p(x) − 1: unbiased, unlike its logarithm.
                errors[r].push((bounds.log_likelihood() - exact[r]).exp_m1());
            });
        }
        let all: Vec<(f64, f64)> = errors.iter().map(|e| mean_and_stderr(e)).collect();
        let worst = all.iter().map(|(mean, stderr)| mean.abs() / stderr).fold(0.0, f64::max);
        let widest = all.iter().map(|(_, stderr)| *stderr).fold(0.0, f64::max);
        println!("{kind}: worst of {ROWS} rows {worst:.2} standard errors, the widest of which is {widest:.1e}");
        // Sixteen repetitions: Student's t of 15 degrees is beyond 5 once in 6000.
        assert!(worst < 5.0, "{kind}: {all:?}, exact {exact:?}");
        // And small enough to tell: a constant missed would be log 2π or the like.
        assert!(widest < 0.05, "{kind}: {all:?}");
    }
}
