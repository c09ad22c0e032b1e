//! Levels below z whose networks are linear: what they generate is Gaussian, and log p(x) has a closed form.
//!
//! ```text
//! z_L ~ N(0, I)    z_l = A z_{l+1} + a + e^{s/2} ε    x = W [z_L | … | z_1] + b + σ ε, of a ladder W z_1
//! ```

use super::linear::{cholesky, solve_lower};
use super::{draw, mean_and_stderr, widen_posterior};
use elbo::density::{LikelihoodKind, LowerKind};
use elbo::layer::Activation;
use elbo::model::{Draw, Hidden, Inference, PRESETS, Vae, VaeConfig};
use elbo::tensor::{Exec, Noise, Par, Params, Stream};
use ndarray::{Array1, Array2, Axis, concatenate, s};
use rand::Rng;
use rand_distr::StandardNormal;

const VARIANCE: f64 = 0.4;
const FORMS: [&str; 2] = ["hvae:3x4,2x2", "ladder:3x4,2x2"];
const LATENT: usize = 2;
const COLS: usize = 4;

/// A linear hierarchy whose posteriors are wider than what they stand for, so that weights are bounded, and whose
/// log-variances are constants: of the levels' priors from −0.6 up.
fn model(lower: &str) -> (Vae, Params<f64>) {
    let config = VaeConfig {
        hidden: vec![],
        latent: LATENT,
        layer: Hidden::Dense(Activation::Identity),
        lower: lower.parse().unwrap(),
        likelihood: LikelihoodKind::GaussianGiven(VARIANCE),
        ..PRESETS[0].config(COLS)
    };
    let vae = Vae::new(&config).unwrap();
    let mut params = Params::<f64>::init(vae.layout(), &Noise::new(8));
    widen_posterior(&vae, &mut params, 1.0);
    for entry in vae.layout().entries() {
        let of_prior = entry.name.contains(".prior.2.");
        if !of_prior && !entry.name.contains(".posterior.out.") && !entry.name.contains(".evidence.") {
            continue;
        }
        let mut plain = params.values().unpack(&entry.slot);
        let half = plain.nrows() / 2;
        for (i, mut row) in plain.slice_mut(s![half.., ..]).rows_mut().into_iter().enumerate() {
            let constant = if of_prior { 0.5 * i as f64 - 0.6 } else { 0.6 };
            row.fill(if entry.vector { constant } else { 0.0 });
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

/// The mean and the covariance of W [z_L | … | z_1] + b.
fn moments(vae: &Vae, params: &Params<f64>) -> (Array1<f64>, Array2<f64>) {
    let (mut mean, mut covariance, mut last) = (Array1::zeros(LATENT), Array2::eye(LATENT), LATENT);
    for (l, level) in vae.config().lower.levels().unwrap().iter().enumerate() {
        let (a, c) = map(vae, params, &[0, 1, 2].map(|i| format!("lower.{l}.prior.{i}")));
        // From all latents so far, of which the last ones count.
        let mut from = Array2::zeros((level.latent, mean.len()));
        from.slice_mut(s![.., mean.len() - last..]).assign(&a.slice(s![..level.latent, ..]));
        let own = Array2::from_diag(&c.slice(s![level.latent..]).mapv(f64::exp));
        let across = from.dot(&covariance);
        let below = concatenate![Axis(1), across, across.dot(&from.t()) + own];
        mean = concatenate![Axis(0), mean, from.dot(&mean) + c.slice(s![..level.latent])];
        covariance = concatenate![Axis(0), concatenate![Axis(1), covariance, across.t()], below];
        last = level.latent;
    }
    let (w, b) = map(vae, params, &["decoder.0".to_owned()]);
    let seen = if let LowerKind::Ladder(_) = vae.config().lower { last } else { mean.len() };
    let from = mean.len() - seen;
    let (mean, covariance) = (mean.slice(s![from..]).to_owned(), covariance.slice(s![from.., from..]).to_owned());
    (w.dot(&mean) + b, w.dot(&covariance).dot(&w.t()))
}

/// Draws from z down have the moments of the chain, and deviations at every level times T are the draw's way from the mean times T.
/// Of 20,000 draws a mean's deviation is √(v/n), a covariance's at most √(2 v v'/n); five of them are met by chance once in a million.
#[test]
fn what_is_generated_has_the_moments_of_the_chain() {
    const DRAWS: usize = 20_000;
    for form in FORMS {
        let ((vae, params), ex) = (model(form), Exec::sequential().unwrap());
        let (mean, covariance) = moments(&vae, &params);
        let mut inference = Inference::new(&vae, &params, &ex);
        let draw = Draw { noise: Noise::new(4), stream: Stream::Sample, step: 0 };
        let mut at = |temperature: f64, rows: usize| {
            let mut x = Array2::zeros((rows, COLS));
            let z = |r: usize, z: &mut [f64]| {
                let mut rng = draw.noise.rng(Stream::Sample, 0, r as u64, 0);
                z.iter_mut().for_each(|z| *z = temperature * rng.sample::<f64, _>(StandardNormal));
            };
            inference.generate(rows, &z, (&draw, temperature), |r, _, mean| {
                x.row_mut(r).iter_mut().zip(mean).for_each(|(x, m)| *x = *m);
            });
            x
        };
        let (x, n) = (at(1.0, DRAWS), DRAWS as f64);
        let found = x.mean_axis(Axis(0)).unwrap();
        let centred = &x - &mean;
        let second = centred.t().dot(&centred) / n;
        for i in 0..COLS {
            assert!((found[i] - mean[i]).abs() < 5.0 * (covariance[[i, i]] / n).sqrt(), "{form}: {found}, {mean}");
            for j in 0..COLS {
                let bound = 5.0 * (2.0 * covariance[[i, i]] * covariance[[j, j]] / n).sqrt();
                assert!((second[[i, j]] - covariance[[i, j]]).abs() < bound, "{form}: {second}, {covariance}");
            }
        }
        for t in [0.3, 2.0] {
            for (row, plain) in at(t, 3).rows().into_iter().zip(x.rows()) {
                for ((scaled, plain), mean) in row.iter().zip(plain).zip(&mean) {
                    assert!((scaled - mean - t * (plain - mean)).abs() < 1e-12, "{form} at {t}");
                }
            }
        }
    }
}

/// The weights' variance is some seventeen times the square of their mean (of the ladder, five), so that the bound by 2,000 samples is
/// some 17/4000 below log p(x); a mean of 240 such estimates is known to about 0.006.
#[test]
fn importance_sampling_over_all_levels_finds_log_px() {
    const ROWS: usize = 20;
    for form in FORMS {
        let ((vae, params), ex) = (model(form), Exec::sequential().unwrap());
        let x = Array2::from_shape_fn((ROWS, COLS), |(r, c)| ((r * 7 + c * 3) % 11) as f64 / 5.0 - 1.0);
        let (mean, covariance) = moments(&vae, &params);
        let l = cholesky(&(covariance + Array2::<f64>::eye(COLS) * VARIANCE));
        let exact = |row: usize| {
            let off = solve_lower(&l, (&x.row(row) - &mean).view());
            -0.5 * (COLS as f64 * std::f64::consts::TAU.ln() + off.dot(&off)) - l.diag().mapv(f64::ln).sum()
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
        println!("{form}: {found} ± {stderr}, exactly {exact}");
        assert!(stderr < 0.01, "{form}: {stderr}");
        assert!((found - exact).abs() < 4.0 * stderr + 0.005, "{form}: {found} ± {stderr}, exactly {exact}");
        let (elbo, stderr) = of(1);
        assert!(elbo < exact - 4.0 * stderr - 0.1, "{form}: one sample's bound {elbo} ± {stderr} is below {exact}");
    }
}
