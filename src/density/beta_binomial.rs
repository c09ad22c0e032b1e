//! The beta-binomial likelihood of 8-bit values: a level of n = 255 that is binomial, by a share that is Beta.
//!
//! ```text
//! k = 255 x,  α = e^p, β = e^q,  with a⁽ᵏ⁾ = Γ(a + k)/Γ(a) and L = ln (α + β):
//! log p = ln C(n, k) + ln B(k + α, n − k + β) − ln B(α, β) = ln α⁽ᵏ⁾/k! + ln β⁽ⁿ⁻ᵏ⁾/(n − k)! − ln (α + β)⁽ⁿ⁾/n!
//! ∂/∂p = ∂ ln α⁽ᵏ⁾/∂p − σ(p − q) ∂ ln (α + β)⁽ⁿ⁾/∂L        ∂/∂q likewise, by n − k
//! ```
//!
//! Each derivative lies within ±n. Value and derivatives are finite for every p and q of magnitude 1e4: where both are large
//! it is the binomial of share σ(p − q), where both are small all is black or white.

use super::special::log_rising_by_factorial;
use super::{Column, Domain, Numbers, level};
use crate::tensor::logistic::{sigmoid, softplus};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// `255 x_d ~ BetaBinomial(255, e^{p_d}, e^{q_d})`: η is [p | q], (B, 2D).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BetaBinomial;

/// The highest level, and how many there are.
const N: f64 = 255.0;
const LEVELS: usize = 256;

impl Column for BetaBinomial {
    fn numbers(&self) -> usize {
        2
    }
    fn domain(&self) -> Domain {
        Domain::Bytes
    }
    fn log_prob_grad(&self, x: f64, [p, q, _]: Numbers) -> (f64, Numbers) {
        let k = level(x);
        let total = p.max(q) + softplus(-(p - q).abs());
        let ((white, by_p), (black, by_q), (all, by_total)) =
            (log_rising_by_factorial(p, k), log_rising_by_factorial(q, N - k), log_rising_by_factorial(total, N));
        let value = white + black - all;
        (value, [by_p - sigmoid(p - q) * by_total, by_q - sigmoid(q - p) * by_total, 0.0])
    }
    /// α / (α + β).
    fn mean(&self, [p, q, _]: Numbers) -> f64 {
        sigmoid(p - q)
    }
    /// By the cumulated probabilities, which follow from p(k + 1) / p(k) = (n − k) (α + k) / ((k + 1) (β + n − k − 1)).
    fn sample(&self, [p, q, _]: Numbers, rng: &mut ChaCha8Rng) -> f64 {
        // Far out their ratio alone counts, so both move together to where neither overflows.
        let move_by = p.max(q).clamp(-500.0, 500.0) - p.max(q);
        let [alpha, beta] = [p, q].map(|log| (log + move_by).max(-600.0).exp());
        let mut logs = [0.0; LEVELS];
        for i in 1..LEVELS {
            let k = (i - 1) as f64;
            logs[i] = logs[i - 1] + ((N - k) / (k + 1.0)).ln() + (alpha + k).ln() - (beta + (N - k - 1.0)).ln();
        }
        let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut rest = rng.random::<f64>() * logs.iter().map(|l| (l - top).exp()).sum::<f64>();
        let level = logs.iter().position(|l| {
            rest -= (l - top).exp();
            rest < 0.0
        });
        level.unwrap_or(LEVELS - 1) as f64 / N
    }
}
