//! More stochastic layers whose nets are linear: what they generate is Gaussian, and log p(x) has a closed form.
//!
//! ```text
//! z_top ~ N(0, I)    z_l = A z_{l+1} + a + e^{s/2} ε    x = W z_1 + b + σ ε
//! ```

use super::linear::{cholesky, solve_lower};
use super::{draw, mean_and_stderr, widen_posterior};
use elbo::density::LikelihoodKind;
use elbo::layer::Activation;
use elbo::model::{Hidden, Inference, PRESETS, PriorSampler, Vae, VaeConfig};
use elbo::tensor::{Exec, Noise, Par, Params, Stream};
use ndarray::{Array1, Array2, s};

const VARIANCE: f64 = 0.4;
const PRIORS: [&str; 2] = ["vae:2x3", "vae:3x4,1x2"];

/// A linear hierarchy whose posteriors are wider than what they stand for, so that weights are bounded; and whose
/// decoders' log-variances are constants, of −0.6 and up.
fn model(prior: &str) -> (Vae, Params<f64>) {
    let config = VaeConfig {
        hidden: vec![],
        latent: 2,
        layer: Hidden::Dense(Activation::Identity),
        prior: prior.parse().unwrap(),
        likelihood: LikelihoodKind::GaussianGiven(VARIANCE),
        ..PRESETS[0].config(4)
    };
    let vae = Vae::new(&config).unwrap();
    let mut params = Params::<f64>::init(vae.layout(), &Noise::new(8));
    widen_posterior(&vae, &mut params, 1.0);
    for entry in vae.layout().entries().iter().filter(|e| e.name.starts_with("prior.") && e.name.contains(".2.")) {
        let mut plain = params.values().unpack(&entry.slot);
        let half = plain.nrows() / 2;
        let (weight, of_encoder) = (entry.name.ends_with("weight"), entry.name.contains("encoder"));
        for (i, mut row) in plain.slice_mut(s![half.., ..]).rows_mut().into_iter().enumerate() {
            row.fill(if weight {
                0.0
            } else if of_encoder {
                0.4
            } else {
                0.5 * i as f64 - 0.6
            });
        }
        params.values_mut().pack(&entry.slot, plain.as_standard_layout().as_slice().unwrap());
    }
    params.refresh(Par::Sequential);
    (vae, params)
}

/// The product of linear layers: y = A x + a.
fn map(vae: &Vae, params: &Params<f64>, names: &[String]) -> (Array2<f64>, Array1<f64>) {
    let plain = |name: String| params.values().unpack(&vae.layout().find(&name).unwrap().slot);
    let each = names.iter().map(|name| {
        (plain(format!("{name}.weight")), plain(format!("{name}.bias")).into_iter().collect::<Array1<f64>>())
    });
    each.reduce(|(a, b), (w, c)| (w.dot(&a), w.dot(&b) + c)).unwrap()
}

/// The mean and the covariance of z_1 that the prior implies.
fn moments(vae: &Vae, params: &Params<f64>) -> (Array1<f64>, Array2<f64>) {
    let levels: Vec<_> = vae.config().prior.levels().unwrap().iter().collect();
    let top = levels.last().unwrap().latent;
    let from_above = |(mean, covariance): (Array1<f64>, Array2<f64>), l: usize| {
        let (a, c) = map(vae, params, &[0, 1, 2].map(|i| format!("prior.{l}.decoder.{i}")));
        let below = a.nrows() / 2;
        let (a, log_variance) = (a.slice(s![..below, ..]), c.slice(s![below..]));
        (
            a.dot(&mean) + c.slice(s![..below]),
            a.dot(&covariance).dot(&a.t()) + Array2::from_diag(&log_variance.mapv(f64::exp)),
        )
    };
    (0..levels.len()).rev().fold((Array1::zeros(top), Array2::eye(top)), from_above)
}

/// 20,000 draws: a mean's deviation is √(v/n), a covariance's at most √(2 v v'/n); five of them are met by chance once in
/// a million.
#[test]
fn the_prior_s_draws_have_the_moments_of_the_chain() {
    const DRAWS: usize = 20_000;
    for prior in PRIORS {
        let ((vae, params), ex) = (model(prior), Exec::sequential().unwrap());
        let (mean, covariance) = moments(&vae, &params);
        let inference = Inference::new(&vae, &params, &ex);
        let sampler: PriorSampler<f64> = inference.prior_sampler();
        let at = |temperature: f64, row: usize| {
            let mut z = [0.0; 2];
            sampler.sample_at(temperature, &mut Noise::new(4).rng(Stream::Sample, 0, row as u64, 0), &mut z);
            z
        };
        let z = Array2::from_shape_vec((DRAWS, 2), (0..DRAWS).flat_map(|r| at(1.0, r)).collect()).unwrap();
        let n = DRAWS as f64;
        let found = z.mean_axis(ndarray::Axis(0)).unwrap();
        let centred = &z - &mean;
        let second = centred.t().dot(&centred) / n;
        for i in 0..2 {
            assert!((found[i] - mean[i]).abs() < 5.0 * (covariance[[i, i]] / n).sqrt(), "{prior}: {found}, {mean}");
            for j in 0..2 {
                let bound = 5.0 * (2.0 * covariance[[i, i]] * covariance[[j, j]] / n).sqrt();
                assert!((second[[i, j]] - covariance[[i, j]]).abs() < bound, "{prior}: {second}, {covariance}");
            }
        }
        // Of linear nets, deviations at every level times T are the draw's way from the mean times T.
        for (row, t) in [(0, 0.3), (1, 2.0)] {
            for ((scaled, plain), mean) in at(t, row).into_iter().zip(at(1.0, row)).zip(&mean) {
                assert!((scaled - mean - t * (plain - mean)).abs() < 1e-12, "{prior} at {t}");
            }
        }
    }
}

/// The weights' variance is some three times the square of their mean, so that the bound by 2,000 samples is some 3/4000 below
/// log p(x); a mean of 240 such estimates is known to about 0.0025.
#[test]
fn importance_sampling_over_all_levels_finds_log_px() {
    const ROWS: usize = 20;
    for prior in PRIORS {
        let ((vae, params), ex) = (model(prior), Exec::sequential().unwrap());
        let x = Array2::from_shape_fn((ROWS, 4), |(r, c)| ((r * 7 + c * 3) % 11) as f64 / 5.0 - 1.0);
        let (mean, covariance) = moments(&vae, &params);
        let (w, b) = map(&vae, &params, &["decoder.0".to_owned()]);
        let l = cholesky(&(w.dot(&covariance).dot(&w.t()) + Array2::<f64>::eye(4) * VARIANCE));
        let exact = |row: usize| {
            let off = solve_lower(&l, (&x.row(row) - &w.dot(&mean) - &b).view());
            -0.5 * (4.0 * std::f64::consts::TAU.ln() + off.dot(&off)) - l.diag().mapv(f64::ln).sum()
        };
        let exact = (0..ROWS).map(exact).sum::<f64>() / ROWS as f64;

        let mut inference = Inference::new(&vae, &params, &ex);
        let fill = |r: usize, to: &mut [f64]| to.iter_mut().zip(x.row(r)).for_each(|(to, x)| *to = *x);
        let mut of = |samples: usize| {
            let one = |repetition: u64| {
                let mut sum = 0.0;
                inference.importance(ROWS, &fill, &draw(repetition), samples, |_, b| sum += b.log_likelihood());
                sum / ROWS as f64
            };
            mean_and_stderr(&(0..12).map(one).collect::<Vec<f64>>())
        };
        let (found, stderr) = of(2000);
        assert!(stderr < 0.01, "{prior}: {stderr}");
        assert!((found - exact).abs() < 4.0 * stderr + 0.002, "{prior}: {found} ± {stderr}, exactly {exact}");
        let (elbo, stderr) = of(1);
        assert!(elbo < exact - 4.0 * stderr - 0.1, "{prior}: one sample's bound {elbo} ± {stderr} is below {exact}");
    }
}
