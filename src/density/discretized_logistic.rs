//! The discretized logistic likelihood of 8-bit values (Salimans et al., 2017, PixelCNN++, section 2.1, one component).
//!
//! ```text
//! y = 2x − 1 for x = 0, 1/255, …, 1;  a level is the interval of ±1/255 about its y, and the outermost reach to ±∞
//! a, b = (y ∓ 1/255 − m) e⁻ˢ the ends,  δ = b − a = 2/255 e⁻ˢ
//! log p = ln (σ(b) − σ(a)) = −softplus(−b) − softplus(a) + ln (1 − e^{−δ});   at 0: −softplus(−b);   at 1: −softplus(a)
//! ∂/∂b = σ(−b), ∂/∂a = −σ(a) of the first two terms:   ∂/∂m = −e⁻ˢ (∂b + ∂a)   ∂/∂s = −(b ∂b + a ∂a) − δ/(e^δ − 1)
//! ```
//!
//! Written as a product of tails, the difference never cancels, and the authors' midpoint rule for small differences is not
//! needed. As theirs, log-scales are bounded by −7 from below: under it the value does not depend on s. Value and derivatives
//! are finite in f32 for every m and s of magnitude 1e4.

use super::{Column, Domain, Numbers, level};
use crate::tensor::logistic::{sigmoid, softplus};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// `x_d` of 256 levels: a logistic variable of location m and scale eˢ, rounded to the nearest level. η is
/// [location | log-scale], (B, 2D), where −1 is black and 1 is white.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiscretizedLogistic;

/// The least log-scale.
const LEAST: f64 = -7.0;
/// Half the width of a level.
const HALF: f64 = 1.0 / 255.0;

impl Column for DiscretizedLogistic {
    fn numbers(&self) -> usize {
        2
    }
    fn domain(&self) -> Domain {
        Domain::Bytes
    }
    fn log_prob_grad(&self, x: f64, [m, s, _]: Numbers) -> (f64, Numbers) {
        let (level, free, s) = (level(x), s > LEAST, s.max(LEAST));
        let inverse = (-s).exp();
        let y = 2.0 * level / 255.0 - 1.0;
        let (a, b) = ((y - HALF - m) * inverse, (y + HALF - m) * inverse);
        let (mut value, mut by_ends, mut by_s) = (0.0, 0.0, 0.0);
        if level < 255.0 {
            let tail = sigmoid(-b);
            value -= softplus(-b);
            by_ends += tail;
            by_s -= b * tail;
        }
        if level > 0.0 {
            let tail = sigmoid(a);
            value -= softplus(a);
            by_ends -= tail;
            by_s += a * tail;
        }
        if level > 0.0 && level < 255.0 {
            let delta = 2.0 * HALF * inverse;
            // ln (1 − e^{−δ}) = ln δ − δ/2 + …, where δ itself may be 0 and its logarithm is not.
            value += if delta < 1e-5 { (2.0 * HALF).ln() - s - 0.5 * delta } else { (-(-delta).exp_m1()).ln() };
            by_s -= if delta > 0.0 { delta / delta.exp_m1() } else { 1.0 };
        }
        (value, [-inverse * by_ends, if free { by_s } else { 0.0 }, 0.0])
    }
    /// Σ P(x ≥ k/255) / 255 over k = 1 … 255: exact, and 255 sigmoids a column.
    fn mean(&self, [m, s, _]: Numbers) -> f64 {
        let inverse = (-s.max(LEAST)).exp();
        let above = |k: i32| sigmoid((m - (f64::from(2 * k - 1) / 255.0 - 1.0)) * inverse);
        (1..=255).map(above).sum::<f64>() / 255.0
    }
    fn sample(&self, [m, s, _]: Numbers, rng: &mut ChaCha8Rng) -> f64 {
        let u: f64 = rng.random();
        let y = m + s.clamp(LEAST, 700.0).exp() * (u / (1.0 - u)).ln();
        ((y + 1.0) * 127.5).round().clamp(0.0, 255.0) / 255.0
    }
    fn side(&self, _: f64, [_, s, _]: Numbers) -> bool {
        s > LEAST
    }
}
