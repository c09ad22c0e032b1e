//! The Laplace likelihood: the absolute error, normalised.
//!
//! ```text
//! log p(x|m, s) = −ln 2 − s − |x − m| e⁻ˢ        ∂/∂m = sign(x − m) e⁻ˢ        ∂/∂s = |x − m| e⁻ˢ − 1
//! ```
//!
//! Where e⁻ˢ overflows, at s < −88 in f32, no value is finite. At x = m the derivative by m jumps, and is taken for 0.

use super::{Column, Domain, Learned, Numbers};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::Exp1;
use std::f64::consts::LN_2;

/// `x_d ~ Laplace(m_d, e^{s_d})`, with the locations m in η, which are mean and median.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Laplace {
    /// Scale 1: the absolute error, and a constant.
    Unit,
    /// One learned log-scale for all columns, `log_scale`, initially 0.
    Learned,
    /// The decoder's log-scales: η is [location | log-scale], (B, 2D).
    Predicted,
}

impl Column for Laplace {
    fn numbers(&self) -> usize {
        if *self == Laplace::Predicted { 2 } else { 1 }
    }
    fn learned(&self) -> Option<Learned> {
        (*self == Laplace::Learned).then_some(Learned { name: "log_scale", per_column: false, initial: 0.0 })
    }
    fn domain(&self) -> Domain {
        Domain::Real
    }
    fn log_prob_grad(&self, x: f64, [m, s, _]: Numbers) -> (f64, Numbers) {
        let (d, inverse) = (x - m, (-s).exp());
        let error = d.abs() * inverse;
        let by_m = if d == 0.0 { 0.0 } else { inverse.copysign(d) };
        (-LN_2 - s - error, [by_m, error - 1.0, 0.0])
    }
    fn mean(&self, [m, ..]: Numbers) -> f64 {
        m
    }
    fn sample(&self, [m, s, _]: Numbers, rng: &mut ChaCha8Rng) -> f64 {
        m + s.exp() * (rng.sample::<f64, _>(Exp1) - rng.sample::<f64, _>(Exp1))
    }
    fn side(&self, x: f64, [m, ..]: Numbers) -> bool {
        x > m
    }
}
