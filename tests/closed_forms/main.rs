//! The objective and the likelihood estimates against exact values that share no code with them: probabilistic PCA and
//! factor analysis, Gaussian marginals, and quadrature.

mod bounds;
mod linear;
mod lower;
mod ppca;
mod quadrature;
mod stacked;

use elbo::model::{Draw, Vae};
use elbo::tensor::{Noise, Par, Params, Real, Stream};

/// The draws of one of many independent repetitions.
fn draw(repetition: u64) -> Draw {
    Draw { noise: Noise::new(2024), stream: Stream::Check, step: repetition }
}

/// The mean of some numbers and its standard error.
fn mean_and_stderr(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0) / n).sqrt())
}

/// Moves the posterior to the neighbourhood of the prior, and makes it wider, so that it is wider than the true one: weights
/// p(x, z) / q(z|x) are then bounded, and their standard errors mean something. Multiplies the decoder by `decoder`, and gives a learned variance another value than 1.
fn widen_posterior<F: Real>(vae: &Vae, params: &mut Params<F>, decoder: f64) {
    for entry in vae.layout().entries() {
        let change = |p: f64| match entry.name.as_str() {
            "encoder.log_variance.bias" => 0.5,
            "encoder.log_variance.weight" => 0.05 * p,
            "likelihood.log_variance" => -0.7,
            name if name.starts_with("encoder.mean") => 0.5 * p,
            name if name.starts_with("encoder") => p,
            _ => decoder * p,
        };
        let plain: Vec<F> =
            params.values().unpack(&entry.slot).iter().map(|p| F::from_f64(change(p.to_f64()))).collect();
        params.values_mut().pack(&entry.slot, &plain);
    }
    params.refresh(Par::Sequential);
}
