//! The continuous Bernoulli likelihood, from logits (Loaiza-Ganem and Cunningham, 2019): the Bernoulli's
//! cross-entropy, normalised to be a density on [0, 1].
//!
//! ```text
//! log p(x|o) = x·o − A(o),   A(o) = ln ∫₀¹ e^{ox} dx = ln ((eᵒ − 1) / o)        ∂/∂o = x − A′(o)
//! A′(o) = 1 / (1 − e⁻ᵒ) − 1/o, the mean
//! ```
//!
//! The paper writes λ for σ(o) and log C(λ) for softplus(o) − A(o). Near o = 0, that is λ = ½, both quotients are 0/0: there
//! they are their series. A is within 4u max(1, |o|) and A′ within 16u of its size, u = 2⁻⁵³, for every finite o.

use super::{Column, Domain, Numbers};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// `x_d ~ CB(σ(η_d))` on [0, 1], with one logit for each column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContinuousBernoulli;

/// |o| below which the series is used: its first term left out is 691 o¹¹ / 2730·12! < 2e-16.
const NEAR: f64 = 0.25;

/// A(o) and A′(o).
fn log_normaliser(o: f64) -> (f64, f64) {
    let a = o.abs();
    if a < NEAR {
        // A′ = ½ + Σ B₂ₙ o²ⁿ⁻¹ / (2n)! with Bernoulli's numbers, and A its integral.
        let q = o * o;
        let mean = 1.0 / 12.0 - q * (1.0 / 720.0 - q * (1.0 / 30_240.0 - q * (1.0 / 1_209_600.0 - q / 47_900_160.0)));
        let log = 1.0 / 24.0 - q * (1.0 / 2880.0 - q * (1.0 / 181_440.0 - q * (1.0 / 9_676_800.0 - q / 479_001_600.0)));
        return (0.5 * o + q * log, 0.5 + o * mean);
    }
    // With e⁻ᵃ only, so that nothing overflows.
    let log = o.max(0.0) + (-(-a).exp_m1() / a).ln();
    (log, -1.0 / (-o).exp_m1() - 1.0 / o)
}

impl Column for ContinuousBernoulli {
    fn numbers(&self) -> usize {
        1
    }
    fn domain(&self) -> Domain {
        Domain::Unit
    }
    fn log_prob_grad(&self, x: f64, [o, ..]: Numbers) -> (f64, Numbers) {
        let (log, mean) = log_normaliser(o);
        (x * o - log, [x - mean, 0.0, 0.0])
    }
    fn mean(&self, [o, ..]: Numbers) -> f64 {
        log_normaliser(o).1
    }
    /// By the inverse of the distribution function, (eᵒˣ − 1) / (eᵒ − 1) = u; for o > 0 as 1 − x of −o.
    fn sample(&self, [o, ..]: Numbers, rng: &mut ChaCha8Rng) -> f64 {
        let (u, a) = (rng.random::<f64>(), o.abs());
        let x = if a < 1e-9 { u } else { -(u * (-a).exp_m1()).ln_1p() / a };
        (if o > 0.0 { 1.0 - x } else { x }).clamp(0.0, 1.0)
    }
}
