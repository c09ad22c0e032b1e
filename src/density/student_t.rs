//! Student's t likelihood, for data with outliers (Takahashi et al., 2018: its decoder's location and scale).
//!
//! ```text
//! log p(x|m, s; ν) = ln Γ((ν + 1)/2) − ln Γ(ν/2) − ½ ln νπ − s − ½ (ν + 1) ln (1 + y²/ν),   y = (x − m) e⁻ˢ
//! with u = ln (y²/ν), ln (1 + y²/ν) = softplus(u) and w = σ(u):
//! ∂/∂m = (ν + 1) w / (x − m)      ∂/∂s = (ν + 1) w − 1
//! ∂/∂ln ν = ½ν (ψ((ν + 1)/2) − ψ(ν/2)) − ½ − ½ν softplus(u) + ½ (ν + 1) w
//! ```
//!
//! By way of u nothing overflows: value and derivatives are finite in f32 for every x, m and s of magnitude 1e4.

use super::special::log_rising;
use super::{Column, Domain, Learned, Numbers};
use crate::tensor::logistic::{sigmoid, softplus};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::f64::consts::{LN_2, PI};

/// `x_d ~ m_d + e^{s_d} t_ν`: η is [location | log-scale], (B, 2D). The location is the mean where ν > 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StudentT {
    degrees: Option<f64>,
}

/// Degrees of freedom that a learned number starts from.
const INITIAL_DEGREES: f64 = 10.0;

impl StudentT {
    /// With the same degrees of freedom ν for all columns: given, or learned as `log_degrees`, initially ln 10. Panics when
    /// given ones are [out of range](Self::accepts).
    pub fn new(degrees: Option<f64>) -> Self {
        assert!(degrees.is_none_or(Self::accepts), "Student's t of {degrees:?} degrees of freedom");
        StudentT { degrees }
    }
    /// Whether a number can be given degrees of freedom: from 0.01 to 1e9, where it is a Gaussian to all digits of f32.
    pub fn accepts(degrees: f64) -> bool {
        (0.01..=1e9).contains(&degrees)
    }
    fn log_degrees(&self, learned: f64) -> f64 {
        self.degrees.map_or(learned, f64::ln)
    }
}

impl Column for StudentT {
    fn numbers(&self) -> usize {
        2
    }
    fn learned(&self) -> Option<Learned> {
        let learned = Learned { name: "log_degrees", per_column: false, initial: INITIAL_DEGREES.ln() };
        self.degrees.is_none().then_some(learned)
    }
    fn domain(&self) -> Domain {
        Domain::Real
    }
    fn log_prob_grad(&self, x: f64, [m, s, learned]: Numbers) -> (f64, Numbers) {
        let (log_nu, d) = (self.log_degrees(learned), x - m);
        let nu = log_nu.exp();
        let u = 2.0 * (d.abs().ln() - s) - log_nu;
        let (tail, w) = (softplus(u), sigmoid(u));
        let (gammas, by_log_nu) = log_rising(log_nu - LN_2, 0.5);
        let value = gammas - 0.5 * (log_nu + PI.ln()) - s - 0.5 * (nu + 1.0) * tail;
        let by_m = if d == 0.0 { 0.0 } else { (nu + 1.0) * w / d };
        let by_log_nu = by_log_nu - 0.5 - 0.5 * nu * tail + 0.5 * (nu + 1.0) * w;
        (value, [by_m, (nu + 1.0) * w - 1.0, by_log_nu])
    }
    fn mean(&self, [m, ..]: Numbers) -> f64 {
        m
    }
    fn sample(&self, [m, s, learned]: Numbers, rng: &mut ChaCha8Rng) -> f64 {
        let nu = self.log_degrees(learned).exp();
        // Where ν has become 0 or no number there is nothing to draw.
        rand_distr::StudentT::new(nu).map_or(f64::NAN, |t| m + s.exp() * rng.sample(t))
    }
}
