//! Priors without a KL in closed form: the density by itself, and as a part of the model.

use super::{ALL, GRADIENTS, sampled, small};
use elbo::data::Dataset;
use elbo::density::{ComponentGrad, Components, PriorKind};
use elbo::estimator::{Elbo, PathGradient};
use elbo::gradcheck::{check_coordinates, check_vae};
use elbo::model::{Draw, Inference, PRESETS, PriorSampler, VaeConfig};
use elbo::tensor::{Buffer, Exec, Isa, Noise, Stream};
use elbo::train::{TrainConfig, Trainer};
use ndarray::Array2;
use rand::Rng;

const PRIORS: [PriorKind; 2] = [PriorKind::Mixture(3), PriorKind::Vamp(4)];
const C: usize = 3;
const L: usize = 9;
const ROWS: usize = 4;

/// Means, log-variances and logits of C components, one after the other; and rows of z.
fn point() -> (Vec<f64>, Vec<f64>) {
    let mut rng = Noise::new(1).rng(Stream::Check, 0, 0, 0);
    let mut some = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f64>>();
    (some(C * (2 * L + 1)), some(ROWS * L))
}

fn components(at: &[f64]) -> Components<f64> {
    let mut components = Components::new(C, L);
    for c in 0..C {
        let (mean, v) = at[c * 2 * L..(c + 1) * 2 * L].split_at(L);
        components.set(Isa::default(), c, mean, v);
    }
    components.set_weights(at[C * 2 * L..].iter().copied());
    components
}

fn rows(z: &[f64]) -> Buffer<f64> {
    let mut buffer = Buffer::new(ROWS, L);
    buffer.view_mut(ROWS).iter_mut().zip(z).for_each(|(to, z)| *to = *z);
    buffer
}

fn log_prob(components: &Components<f64>, z: &Buffer<f64>) -> (Vec<f64>, Buffer<f64>) {
    let (mut out, mut shares) = (vec![0.0; ROWS], Buffer::new(ROWS, C));
    components.log_prob(Isa::default(), z.rows(ROWS), shares.rows_mut(ROWS), &mut out);
    (out, shares)
}

const WEIGHTS: [f64; ROWS] = [0.7, -1.3, 0.4, 2.0];

#[test]
fn a_mixture_s_gradients() {
    let (at, z) = point();
    let f = |at: &[f64], z: &[f64]| {
        let log_p = log_prob(&components(at), &rows(z)).0;
        (log_p.iter().zip(WEIGHTS).map(|(p, w)| p * w).sum(), Default::default())
    };
    let (mixture, z_rows) = (components(&at), rows(&z));
    let (_, shares) = log_prob(&mixture, &z_rows);
    let mut dz = Buffer::new(ROWS, L);
    mixture.log_prob_grad(Isa::default(), z_rows.rows(ROWS), shares.rows(ROWS), &WEIGHTS, dz.rows_mut(ROWS));
    let dz: Vec<f64> = dz.view(ROWS).iter().copied().collect();
    let by_z = check_coordinates("z", &z, &dz, |z| f(&at, z));
    assert!(by_z.passed() && by_z.compared == ROWS * L, "{by_z:?}");

    let mut d = vec![0.0; at.len()];
    let (own, logits) = d.split_at_mut(C * 2 * L);
    for (c, (own, logit)) in own.chunks_mut(2 * L).zip(logits).enumerate() {
        let (mean, log_variance) = own.split_at_mut(L);
        let mut grad = ComponentGrad { mean, log_variance, logit: Some(logit) };
        mixture.component_grad(Isa::default(), c, z_rows.rows(ROWS), shares.rows(ROWS), &WEIGHTS, &mut grad);
    }
    let by_parameter = check_coordinates("components", &at, &d, |at| f(at, &z));
    assert!(by_parameter.passed(), "{by_parameter:?}");
}

/// Against the definition, and one component against the normal density.
#[test]
fn a_mixture_s_density() {
    let (at, z) = point();
    let (mixture, z_rows) = (components(&at), rows(&z));
    let (log_p, shares) = log_prob(&mixture, &z_rows);
    let total: f64 = at[C * 2 * L..].iter().map(|logit| logit.exp()).sum();
    for (r, z) in z.chunks(L).enumerate() {
        let each: Vec<f64> = (0..C)
            .map(|c| {
                let (mean, v) = at[c * 2 * L..(c + 1) * 2 * L].split_at(L);
                let normal = z.iter().zip(mean).zip(v).map(|((z, m), v)| {
                    (-0.5 * (z - m).powi(2) / v.exp()).exp() / (std::f64::consts::TAU * v.exp()).sqrt()
                });
                at[C * 2 * L + c].exp() / total * normal.product::<f64>()
            })
            .collect();
        let p: f64 = each.iter().sum();
        assert!((log_p[r] - p.ln()).abs() < 1e-12, "{} {}", log_p[r], p.ln());
        for (share, one) in shares.rows(ROWS).row(r).iter().zip(&each) {
            assert!((share - one / p).abs() < 1e-12);
        }
    }
}

/// Far from every component the density is below the least number, and its logarithm and shares are not.
#[test]
fn a_mixture_far_away_is_finite() {
    let (at, _) = point();
    let (log_p, shares) = log_prob(&components(&at), &rows(&[1e3; ROWS * L]));
    assert!(log_p.iter().all(|p| p.is_finite() && *p < -1e6), "{log_p:?}");
    let sum: f64 = shares.rows(ROWS).row(0).iter().sum();
    assert!((sum - 1.0).abs() < 1e-12);
}

/// Of one component the bound is the KL; of many it is above the mean of log q − log p over draws, by at most the entropy of
/// the weights.
#[test]
fn the_kl_s_bound_is_above_the_kl() {
    let (at, _) = point();
    let mixture = components(&at);
    let (mean, v) = (vec![0.3; L], vec![-0.5; L]);
    let mut rng = Noise::new(2).rng(Stream::Check, 1, 0, 0);
    const DRAWS: usize = 20_000;
    let (mut total, mut squares) = (0.0, 0.0);
    let (mut z, mut shares, mut out) = (Buffer::new(1, L), Buffer::new(1, C), [0.0]);
    for _ in 0..DRAWS {
        let mut log_q = 0.0;
        for ((z, mean), v) in z.rows_mut(1).row(0).iter_mut().zip(&mean).zip(&v) {
            let eps: f64 = rng.sample(rand_distr::StandardNormal);
            *z = mean + f64::exp(0.5 * v) * eps;
            log_q -= 0.5 * (std::f64::consts::TAU.ln() + v + eps * eps);
        }
        mixture.log_prob(Isa::default(), z.rows(1), shares.rows_mut(1), &mut out);
        total += log_q - out[0];
        squares += (log_q - out[0]).powi(2);
    }
    let n = DRAWS as f64;
    let (kl, error) = (total / n, ((squares / n - (total / n).powi(2)) / n).sqrt());
    let bound = mixture.kl_bound(&mean, &v);
    assert!(bound > kl - 5.0 * error && bound < kl + (C as f64).ln(), "{kl} ± {error}, bound {bound}");

    let mut one = Components::new(1, L);
    one.set(Isa::default(), 0, &[0.0; L], &[0.0; L]);
    let closed: f64 = mean.iter().zip(&v).map(|(m, v)| 0.5 * (m * m + v.exp() - 1.0 - v)).sum();
    assert!((one.kl_bound(&mean, &v) - closed).abs() < 1e-12);
}

#[test]
fn draws_have_the_mixture_s_moments() {
    let mut mixture = Components::<f64>::new(2, 1);
    mixture.set(Isa::default(), 0, &[-2.0], &[0.0]);
    mixture.set(Isa::default(), 1, &[3.0], &[2.0f64.ln()]);
    mixture.set_weights([0.0, 3f64.ln()].into_iter());
    const DRAWS: usize = 40_000;
    let mut rng = Noise::new(3).rng(Stream::Sample, 0, 0, 0);
    let draws: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let mut z = [0.0];
            mixture.sample(&mut rng, &mut z);
            z[0]
        })
        .collect();
    let mean = draws.iter().sum::<f64>() / DRAWS as f64;
    let variance = draws.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / DRAWS as f64;
    // ¼ · −2 + ¾ · 3, and ¼ (1 + 4) + ¾ (2 + 9) − 1.75²; five standard errors of a mean, and of a variance of kurtosis < 3.
    let expected = (1.75, 0.25 * 5.0 + 0.75 * 11.0 - 1.75f64.powi(2));
    assert!((mean - expected.0).abs() < 5.0 * (expected.1 / DRAWS as f64).sqrt(), "{mean}");
    assert!((variance / expected.1 - 1.0).abs() < 5.0 * (2.0 / DRAWS as f64).sqrt(), "{variance}");
}

/// As for other sampled objectives; and what is summed over the rows of a batch has as many roundings more.
const F32_BOUND: f64 = 2e-4;

pub fn check(config: &VaeConfig, estimator: &dyn elbo::estimator::AnyEstimator, beta: f64, what: &str) {
    for c in check_vae(config, estimator, beta, 4, 7).unwrap() {
        let check = &c.check;
        assert!(check.passed(), "{what}, {}: {:.1e} at {}", check.name, check.worst, check.at);
        assert!(c.f32_error <= F32_BOUND, "{what}, {}: f32 is {:.1e} off", check.name, c.f32_error);
    }
}

#[test]
fn every_prior_under_every_objective_and_gradient() {
    for prior in PRIORS {
        let config = VaeConfig { prior, ..small() };
        for (kind, samples) in ALL {
            for gradient in GRADIENTS {
                let estimator = sampled(kind, samples, gradient);
                check(&config, &estimator, 0.6, &format!("{prior}, {kind} of {samples}, {gradient}"));
            }
        }
    }
}

/// ReLUs, whose kinks pseudo-inputs may be near as well, gates, no hidden layer at all, and a likelihood that learns.
#[test]
fn pseudo_inputs_through_every_encoder() {
    let wide = |preset: usize| VaeConfig { hidden: vec![6], latent: 3, ..PRESETS[preset].config(7) };
    let linear = VaeConfig { hidden: vec![], ..wide(6) };
    let learned = VaeConfig { likelihood: "gaussian-learned".parse().unwrap(), ..wide(6) };
    for config in [wide(0), wide(3), wide(7), linear, learned] {
        let config = VaeConfig { prior: PriorKind::Vamp(5), ..config };
        for gradient in [PathGradient::Plain, PathGradient::StickingTheLanding] {
            check(&config, &sampled(ALL[0].0, 2, gradient), 1.0, &format!("{config:?}, {gradient}"));
        }
    }
}

#[test]
fn a_closed_form_is_not_taken_for_granted() {
    let config = VaeConfig { prior: PriorKind::Vamp(5), ..small() };
    let error = check_vae(&config, &Elbo::default(), 1.0, 4, 7).unwrap_err().to_string();
    assert!(error.contains("no KL in closed form"), "{error}");
    for (text, says) in [("vamp:0", "1 to 65536"), ("vamp:x", "number of components"), ("vamp", "vamp:COMPONENTS")] {
        let error = text.parse::<PriorKind>().unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}

fn trained(prior: PriorKind) -> Trainer {
    let value = |(i, j): (usize, usize)| if (i * 7 + j * j + i * j) % 5 < 2 { 1.0 } else { 0.0 };
    let data = Dataset::from_array(Array2::from_shape_fn((150, 40), value).view()).unwrap();
    let mut config = TrainConfig { epochs: 8, batch_size: 25, ..TrainConfig::preset("gated-300", 40).unwrap() };
    config.vae = VaeConfig { hidden: vec![20], latent: 4, prior, ..config.vae };
    let mut trainer =
        Trainer::new(config, data.with_test(50).unwrap(), Exec::with_isa(Isa::default(), 2).unwrap()).unwrap();
    trainer.run(&mut ()).unwrap();
    trainer
}

/// A trained model's figures agree with each other: the importance-sampled bound of one draw is −ELBO with its sampled KL,
/// more draws are tighter, and the score without draws, by the KL's bound, is not below.
#[test]
fn inference_under_a_mixture() {
    for prior in PRIORS {
        let trainer = trained(prior);
        let (vae, mut inference) = (trainer.vae(), trainer.inference());
        let view = trainer.data().test().unwrap();
        let fill = |r: usize, x: &mut [f32]| view.gather(r, x);
        let draw = Draw { noise: Noise::new(1), stream: Stream::Evaluate, step: 0 };
        let stats = inference.elbo(50, &fill, &draw);
        assert_eq!((stats.kl.len(), vae.kl_parts()), (1, 1));
        let mut ones = Vec::new();
        inference.importance(50, &fill, &draw, 1, |_, bounds| ones.push(-bounds.log_likelihood()));
        let mean = ones.iter().sum::<f64>() / 50.0;
        assert!((mean - stats.neg_elbo()).abs() < 1e-4, "{mean} {}", stats.neg_elbo());
        let (mut many, mut sampled) = (0.0, 0.0);
        inference.importance(50, &fill, &draw, 100, |_, bounds| many -= bounds.log_likelihood() / 50.0);
        inference.sampled_score(50, &fill, &draw, 200, |_, score| sampled += score.kl / 50.0);
        assert!(many < mean, "{many} {mean}");
        let mut bound = 0.0;
        inference.score(50, &fill, |_, score| bound += score.kl / 50.0);
        assert!(bound > sampled - 0.1 && bound < sampled + 4f64.ln(), "{prior}: {bound} {sampled}");
    }
}

/// Samples follow the learned prior and not a standard normal.
#[test]
fn samples_come_from_the_learned_prior() {
    let trainer = trained(PriorKind::Vamp(4));
    let inference: Inference<f32> = trainer.inference();
    let PriorSampler::Mixture(components) = inference.prior_sampler() else { panic!("a mixture") };
    let z = elbo::task::sample_latents(&inference, 2000, 5).unwrap();
    let mut buffer = Buffer::<f32>::new(2000, 4);
    buffer.view_mut(2000).assign(&z);
    let (mut log_p, mut shares) = (vec![0.0; 2000], Buffer::new(2000, 4));
    components.log_prob(Isa::default(), buffer.rows(2000), shares.rows_mut(2000), &mut log_p);
    let standard = |row: ndarray::ArrayView1<f32>| -0.5 * row.iter().map(|z| z * z + 1.837_877).sum::<f32>();
    let apart: f32 = log_p.iter().zip(z.rows()).map(|(p, row)| p - standard(row)).sum::<f32>() / 2000.0;
    // The mean of log p − log N(0, I) under p is a KL, and so positive; of a prior that has learned, clearly.
    assert!(apart > 0.05, "{apart}");
    assert_eq!(elbo::task::sample_latents(&inference, 3, 5).unwrap(), z.slice(ndarray::s![..3, ..]));
}
