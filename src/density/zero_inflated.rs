//! The zero-inflated negative binomial likelihood (scVI: Lopez et al., 2018, `log_zinb_positive`): a count that is lost with
//! probability π = σ(l), and else is negative binomial.
//!
//! ```text
//! log p(0) = ln (π + (1 − π) e^{n₀}) = softplus(u) − softplus(−l),   n₀ = log NB(0), u = n₀ − l
//! log p(x) = ln (1 − π) + log NB(x) = log NB(x) − softplus(l),   x > 0
//! at 0:  ∂/∂o = σ(u) ∂n₀/∂o,  ∂/∂ρ = σ(u) ∂n₀/∂ρ,  ∂/∂l = σ(−u) − σ(l)        else ∂/∂l = −σ(l)
//! ```
//!
//! Finite where the negative binomial is.

use super::negative_binomial::{self, DISPERSION};
use super::{Column, Domain, Learned, Numbers};
use crate::tensor::logistic::{sigmoid, softplus};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// `x_d` is 0 with probability σ(l_d), and else as in [`NegativeBinomial`](super::NegativeBinomial): η is
/// [log-mean | logit of a lost count], (B, 2D).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZeroInflated;

impl Column for ZeroInflated {
    fn numbers(&self) -> usize {
        2
    }
    fn learned(&self) -> Option<Learned> {
        Some(DISPERSION)
    }
    fn domain(&self) -> Domain {
        Domain::Counts
    }
    fn log_prob_grad(&self, x: f64, [o, l, rho]: Numbers) -> (f64, Numbers) {
        let (log_nb, by_o, by_rho) = negative_binomial::log_prob_grad(x, o, rho);
        if x > 0.0 {
            return (log_nb - softplus(l), [by_o, -sigmoid(l), by_rho]);
        }
        let u = log_nb - l;
        let counted = sigmoid(u);
        (softplus(u) - softplus(-l), [counted * by_o, sigmoid(-u) - sigmoid(l), counted * by_rho])
    }
    fn mean(&self, [o, l, _]: Numbers) -> f64 {
        (o - softplus(l)).exp()
    }
    fn sample(&self, [o, l, rho]: Numbers, rng: &mut ChaCha8Rng) -> f64 {
        if rng.random::<f64>() < sigmoid(l) { 0.0 } else { negative_binomial::sample(o, rho, rng) }
    }
}
