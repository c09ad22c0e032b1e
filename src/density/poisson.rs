//! The Poisson likelihood, from log-means.
//!
//! ```text
//! log p(x|o) = x·o − eᵒ − ln x!        ∂/∂o = x − eᵒ
//! ```
//!
//! Where eᵒ overflows, at o > 88 in f32, no value is finite.

use super::special::log_factorial;
use super::{Column, Domain, Numbers};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// `x_d ~ Poisson(e^{η_d})` on 0, 1, 2, …, with one log-mean for each column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Poisson;

impl Column for Poisson {
    fn numbers(&self) -> usize {
        1
    }
    fn domain(&self) -> Domain {
        Domain::Counts
    }
    fn log_prob_grad(&self, x: f64, [o, ..]: Numbers) -> (f64, Numbers) {
        let mean = o.exp();
        (x * o - mean - log_factorial(x), [x - mean, 0.0, 0.0])
    }
    fn mean(&self, [o, ..]: Numbers) -> f64 {
        o.exp()
    }
    fn sample(&self, [o, ..]: Numbers, rng: &mut ChaCha8Rng) -> f64 {
        draw(o.exp(), rng)
    }
}

/// A Poisson draw of a mean: 0 of a mean of 0, and the mean itself where it is too large to be drawn about.
pub(super) fn draw(mean: f64, rng: &mut ChaCha8Rng) -> f64 {
    match rand_distr::Poisson::new(mean) {
        Ok(poisson) => rng.sample(poisson),
        Err(_) => mean,
    }
}
