//! The negative binomial likelihood by mean and inverse dispersion (scVI: Lopez et al., 2018, `log_nb_positive`).
//!
//! ```text
//! μ = eᵒ the mean, r = e^ρ the inverse dispersion: variance μ + μ²/r.   With t = o − ρ:
//! log p(x|o, ρ) = ln Γ(x + r) − ln Γ(r) − ln x! + r ln (r/(r + μ)) + x ln (μ/(r + μ))
//!               = ln (Γ(x + r)/Γ(r)) − ln x! − r softplus(t) − x softplus(−t)
//! ∂/∂o = x σ(−t) − r σ(t)
//! ∂/∂ρ = r (ψ(x + r) − ψ(r)) − r softplus(t) + r σ(t) − x σ(−t)
//! ```
//!
//! Without scVI's ε = 1e-8 in the logarithms, which nothing here needs. Value and derivatives are finite in f32 for every o of
//! magnitude 1e4 and ρ of magnitude 60; where μ and r both overflow, no value is. For r → ∞ it is the Poisson of mean μ.

use super::poisson::draw;
use super::special::log_rising_by_factorial;
use super::{Column, Domain, Learned, Numbers};
use crate::tensor::logistic::{sigmoid, softplus};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::Gamma;

/// `x_d ~ NB(mean e^{η_d}, inverse dispersion e^{ρ_d})` on 0, 1, 2, …, with log-means in η. The inverse dispersions are
/// learned, one a column (scVI's dispersion "gene"), as `log_inverse_dispersion`, initially 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NegativeBinomial;

/// The learned inverse dispersions.
pub(super) const DISPERSION: Learned = Learned { name: "log_inverse_dispersion", per_column: true, initial: 0.0 };

/// log p(x | o, ρ), and its derivatives by o and ρ.
pub(super) fn log_prob_grad(x: f64, o: f64, rho: f64) -> (f64, f64, f64) {
    let t = o - rho;
    // r ln (1 + μ/r) and r μ/(r + μ): both μ where r is far above it, even if r is infinite.
    let zeros = if t < -37.0 { o.exp() } else { rho.exp() * softplus(t) };
    let r_sigmoid = (rho - softplus(-t)).exp();
    let x_sigmoid = x * sigmoid(-t);
    let (ways, by_rho) = log_rising_by_factorial(rho, x);
    let value = ways - zeros - x * softplus(-t);
    (value, x_sigmoid - r_sigmoid, by_rho - zeros + (r_sigmoid - x_sigmoid))
}

/// A Poisson draw of a mean that is itself drawn, by a Gamma distribution of shape r and mean μ.
pub(super) fn sample(o: f64, rho: f64, rng: &mut ChaCha8Rng) -> f64 {
    let mean = match Gamma::new(rho.exp(), (o - rho).exp()) {
        Ok(gamma) if rho < 700.0 => rng.sample(gamma),
        // r or μ/r is 0 or infinite: no dispersion to speak of, or no mean.
        _ => o.exp(),
    };
    draw(mean, rng)
}

impl Column for NegativeBinomial {
    fn numbers(&self) -> usize {
        1
    }
    fn learned(&self) -> Option<Learned> {
        Some(DISPERSION)
    }
    fn domain(&self) -> Domain {
        Domain::Counts
    }
    fn log_prob_grad(&self, x: f64, [o, rho, _]: Numbers) -> (f64, Numbers) {
        let (value, by_o, by_rho) = log_prob_grad(x, o, rho);
        (value, [by_o, by_rho, 0.0])
    }
    fn mean(&self, [o, ..]: Numbers) -> f64 {
        o.exp()
    }
    fn sample(&self, [o, rho, _]: Numbers, rng: &mut ChaCha8Rng) -> f64 {
        sample(o, rho, rng)
    }
}
