//! Posteriors beyond the diagonal Gaussian: a full covariance, planar and inverse autoregressive flows. By themselves, in a
//! model, and on a model whose true posterior is known.

mod flows;
mod full;
mod linear;
mod model;
mod training;

use elbo::gradcheck::Check;
use elbo::model::{PRESETS, VaeConfig};
use elbo::tensor::{Buffer, Noise, Stream};
use rand::Rng;

/// Numbers in (−1, 1), of a place of their own in the noise.
fn uniform(place: u64, count: usize) -> Vec<f64> {
    let mut rng = Noise::new(17).rng(Stream::Check, 0, place, 0);
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn buffer(rows: usize, values: &[f64]) -> Buffer<f64> {
    let mut buffer = Buffer::new(rows, values.len() / rows);
    buffer.view_mut(rows).iter_mut().zip(values).for_each(|(to, x)| *to = *x);
    buffer
}

fn flat(buffer: &Buffer<f64>) -> Vec<f64> {
    buffer.view(buffer.capacity()).iter().copied().collect()
}

#[track_caller]
fn assert_passed(check: &Check, what: &str) {
    assert!(check.passed() && check.kinks == 0, "{what}: {check:?}");
}

/// A network of seven columns and three latents, of tanh units.
fn small(posterior: &str) -> VaeConfig {
    let base = PRESETS.iter().find(|p| p.name == "iwae-200").unwrap().config(7);
    VaeConfig { hidden: vec![5], latent: 3, posterior: posterior.parse().unwrap(), ..base }
}
