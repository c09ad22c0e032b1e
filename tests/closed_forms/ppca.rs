//! A trained linear VAE against the maximum of the exact likelihood.
//!
//! With a shared variance the maximum is that of probabilistic PCA (Tipping and Bishop 1999, eq. 7–8; Lucas et al. 2019),
//! with one a column that of factor analysis. At the maximum W may be rotated, W → W R, so that the posterior's precision
//! I + Wᵀ Ψ⁻¹ W is diagonal; its log-variance does not depend on x and its mean is linear in x. So the encoder can be
//! exact, and the bound is tight: maximising the ELBO reaches the likelihood's maximum, and the gap closes (Dai et al.
//! 2018; Lucas et al. 2019, theorem 1).

use super::linear::{Linear, eigenvalues, inverse, moments, nll_of_covariance};
use super::{draw, mean_and_stderr};
use elbo::data::Dataset;
use elbo::density::LikelihoodKind;
use elbo::optim::{OptimizerConfig, Schedule};
use elbo::tensor::{Exec, Noise, Stream};
use elbo::train::{TrainConfig, Trainer};
use ndarray::{Array1, Array2, array};
use rand::Rng;
use rand_distr::StandardNormal;

const ROWS: usize = 512;
const COLS: usize = 6;
const LATENT: usize = 2;

/// x = W z + b + noise, of the two deviations that columns alternate in.
fn data(deviations: [f64; 2]) -> Array2<f32> {
    let w = array![[1.6, 0.1], [1.2, -0.7], [-1.4, 0.3], [0.2, 1.1], [0.5, 0.8], [-0.9, 0.6]];
    let b = Array1::from(vec![0.5, -1.0, 0.0, 2.0, 1.0, -0.3]);
    let mut rng = Noise::new(7).rng(Stream::Data, 0, 0, 0);
    let mut x = Array2::zeros((ROWS, COLS));
    for mut row in x.rows_mut() {
        let z = Array1::from_shape_fn(LATENT, |_| rng.sample::<f64, _>(StandardNormal));
        let mean = w.dot(&z) + &b;
        for (d, x) in row.iter_mut().enumerate() {
            *x = (mean[d] + deviations[d % 2] * rng.sample::<f64, _>(StandardNormal)) as f32;
        }
    }
    x
}

/// The least mean −log p(x) of probabilistic PCA, and the latents that it uses: W Wᵀ + σ²I takes the sample covariance's
/// greatest eigenvalues as they are, where they are above σ², and σ² elsewhere. A σ² that is learned is the mean of those
/// left over.
fn ppca(covariance: &Array2<f64>, variance: Option<f64>) -> (f64, usize) {
    let values = eigenvalues(covariance);
    let left = &values[LATENT..];
    let variance = variance.unwrap_or(left.iter().sum::<f64>() / left.len() as f64);
    let model = |(i, value): (usize, &f64)| if i < LATENT { value.max(variance) } else { variance };
    let models: Vec<f64> = values.iter().enumerate().map(model).collect();
    let active = models.iter().filter(|m| **m > variance).count();
    (nll_of_covariance(&Array2::from_diag(&Array1::from(values)), &Array2::from_diag(&Array1::from(models))), active)
}

/// The least mean −log p(x) of factor analysis, by EM until nothing moves (Rubin and Thayer 1982, eq. 3–5).
fn factor_analysis(s: &Array2<f64>) -> f64 {
    let mut w = Array2::from_shape_fn((COLS, LATENT), |(d, l)| if (d < 3) == (l == 0) { 0.5 } else { 0.1 });
    let mut psi = s.diag().to_owned();
    let model = |w: &Array2<f64>, psi: &Array1<f64>| w.dot(&w.t()) + Array2::from_diag(psi);
    for _ in 0..20_000 {
        let beta = w.t().dot(&inverse(&model(&w, &psi)));
        let second = Array2::eye(LATENT) - beta.dot(&w) + beta.dot(s).dot(&beta.t());
        w = s.dot(&beta.t()).dot(&inverse(&second));
        psi = (s - &w.dot(&beta).dot(s)).diag().to_owned();
    }
    assert!(psi.iter().all(|p| *p > 0.05), "a variance that vanishes is another optimum: {psi}");
    nll_of_covariance(s, &model(&w, &psi))
}

fn train(likelihood: &str, epochs: u64, x: &Array2<f32>) -> Trainer {
    let mut config = TrainConfig::preset("tabular", COLS).unwrap();
    config.vae.hidden = vec![];
    config.vae.latent = LATENT;
    config.vae.likelihood = likelihood.parse::<LikelihoodKind>().unwrap();
    config.optimizer = OptimizerConfig::adam(0.01, 1e-8);
    // The noise of the gradients, which does not vanish at the optimum, is averaged away by ever smaller steps.
    config.schedule = Schedule::Cosine;
    (config.batch_size, config.epochs) = (128, epochs);
    let mut trainer = Trainer::new(config, Dataset::from_array(x.view()).unwrap(), Exec::new(1).unwrap()).unwrap();
    trainer.run(&mut ()).unwrap();
    trainer
}

/// Trains, and compares with the optimum and with the exact values of the model that came out.
fn check(
    likelihood: &str,
    epochs: u64,
    variance: f64,
    deviations: [f64; 2],
    optimum: impl Fn(&Array2<f64>) -> (f64, usize),
) {
    let x = data(deviations);
    let trainer = train(likelihood, epochs, &x);
    let (vae, exact_x) = (trainer.vae(), x.mapv(f64::from));
    let model = Linear::of(vae, trainer.params(), variance);
    let (best, active) = optimum(&moments(&exact_x).1);
    let (nll, neg_elbo) = (model.nll(&exact_x), model.neg_elbo(&exact_x));

    // On the rows that parameters were fitted to, the truth itself is short of the maximum by p/2n in expectation (Wilks
    // 1938), for p free parameters: W but for a rotation, b, and a variance. A tenth of that is converged.
    let free = COLS * LATENT - LATENT * (LATENT - 1) / 2 + COLS + 1;
    let converged = 0.1 * free as f64 / (2 * ROWS) as f64;
    let (excess, gap) = (nll - best, neg_elbo - nll);
    println!("{likelihood}: optimum {best:.6}, excess {excess:.2e}, gap {gap:.2e}, allowed {converged:.2e}");
    // Both are non-negative by theorem: f64 rounding of sums of size 10 is all that is left.
    assert!((-1e-12..converged).contains(&excess), "{likelihood}: −log p(x) {nll}, at best {best}");
    assert!((-1e-12..converged).contains(&gap), "{likelihood}: −ELBO {neg_elbo}, −log p(x) {nll}");

    let mut inference = trainer.inference();
    let fill = |r: usize, out: &mut [f32]| out.copy_from_slice(x.row(r).to_slice().unwrap());
    let seeds: Vec<f64> = (0..20).map(|s| inference.elbo(ROWS, &fill, &draw(s)).neg_elbo()).collect();
    let (found, stderr) = mean_and_stderr(&seeds);
    assert!((found - neg_elbo).abs() < 4.0 * stderr, "{likelihood}: −ELBO {found} ± {stderr}, exactly {neg_elbo}");

    // log w varies by Var ≈ 2 KL(q ‖ p(z|x)) where weights are near 1, so the mean over n rows of S samples errs by
    // √(2 gap / nS), four times that, and is biased by gap / S. f32 adds roundings of log p(x|z) ≈ 10: 12 · 2⁻²⁴ · 10.
    const SAMPLES: usize = 100;
    let mut estimate = 0.0;
    inference.importance(ROWS, &fill, &draw(99), SAMPLES, |_, bounds| estimate -= bounds.log_likelihood());
    estimate /= ROWS as f64;
    let allowed = 4.0 * (2.0 * gap / (ROWS * SAMPLES) as f64).sqrt() + gap / SAMPLES as f64 + 7e-6;
    println!(
        "{likelihood}: importance-sampled {estimate:.6}, exact {nll:.6}, off by {:.2e} of {allowed:.2e}",
        estimate - nll
    );
    assert!((estimate - nll).abs() < allowed, "{likelihood}: estimated {estimate}, exactly {nll}, allowed {allowed}");

    let used =
        elbo::train::active_units(&mut inference, trainer.data().train(), elbo::data::Binarize::None, Noise::new(0));
    assert_eq!(used, active, "{likelihood}: latents in use");
}

#[test]
fn one_learned_variance_reaches_probabilistic_pca() {
    check("gaussian-learned", 1500, f64::NAN, [0.5, 0.5], |s| ppca(s, None));
}

#[test]
fn unit_variance_reaches_its_optimum() {
    check("gaussian", 1500, 1.0, [0.5, 0.5], |s| ppca(s, Some(1.0)));
}

/// A variance between the two great eigenvalues: the second latent is worth nothing, and the optimum leaves it at the
/// prior (Lucas et al. 2019, section 4).
#[test]
fn a_great_variance_collapses_a_latent() {
    let s = moments(&data([0.5, 0.5]).mapv(f64::from)).1;
    let values = eigenvalues(&s);
    assert!(values[0] > 5.0 && values[1] < 4.0, "{values:?}");
    assert_eq!(ppca(&s, Some(4.0)).1, 1);
    check("gaussian:4", 1500, 4.0, [0.5, 0.5], |s| ppca(s, Some(4.0)));
}

#[test]
fn a_variance_a_column_reaches_factor_analysis() {
    // Variances that differ: probabilistic PCA would be another optimum. The likelihood is flat around it, and 1500 epochs
    // would leave 0.011 nats.
    check("gaussian-per-dimension", 6000, f64::NAN, [0.5, 0.9], |s| {
        let best = factor_analysis(s);
        assert!(best < ppca(s, None).0 - 0.05);
        (best, LATENT)
    });
}
