//! The gradient checker: derivatives written by hand against finite differences, in f64.
//!
//! The numeric derivative is the fourth-order central difference
//!
//! ```text
//! f'(x) ≈ (f(x − 2h) − 8 f(x − h) + 8 f(x + h) − f(x + 2h)) / 12h
//! ```
//!
//! at the step h, of a ladder, where its error seems least: how much it changed from the step before, and the rounding of
//! f over h, which is what its value has at least, and what the smallest steps show. The analytic value has no say in the choice.
//! Where a kink (of a ReLU, say) lies between the points, h shrinks; a coordinate that never gets clear of its kink is counted and
//! left out of the comparison.
//!
//! Analytic `a` and numeric `n` agree when `|a − n| / max(|a|, |n|, 10⁻³ ‖g‖∞)` is at most [`TOLERANCE`].

mod layer;
mod model;
mod surrogate;

pub use layer::check_layer;
pub use model::{VaeCheck, check_vae};

use crate::layer::Sides;

/// Largest relative error of a correct derivative in f64.
pub const TOLERANCE: f64 = 1e-7;

/// The largest step that is tried, relative to the size of x, and how often it is halved.
const LARGEST_STEP: f64 = 0.016;
const HALVINGS: u32 = 11;
/// Steps that are so small show rounding, and nothing of how the function bends: the last three.
const SMALL_STEP: f64 = LARGEST_STEP / 500.0;

/// What checking one array of derivatives found.
#[derive(Clone, PartialEq, Debug)]
pub struct Check {
    /// What was differentiated by.
    pub name: String,
    /// Derivatives compared: coordinates, or random directions.
    pub compared: usize,
    /// Derivatives left out because a kink was too near.
    pub kinks: usize,
    /// The worst relative error.
    pub worst: f64,
    /// Where, with both values.
    pub at: String,
}

impl Check {
    /// No comparison yet.
    pub fn new(name: impl Into<String>) -> Self {
        Check { name: name.into(), compared: 0, kinks: 0, worst: 0.0, at: String::new() }
    }
    /// Whether something was compared and all of it agrees.
    pub fn passed(&self) -> bool {
        self.compared > 0 && self.worst <= TOLERANCE
    }
    /// Compares one derivative. `floor` is 10⁻³ times the largest derivative around.
    pub fn compare(&mut self, place: impl FnOnce() -> String, analytic: f64, numeric: Numeric, floor: f64) {
        let Numeric::Smooth(numeric) = numeric else {
            self.kinks += 1;
            return;
        };
        let scale = analytic.abs().max(numeric.abs()).max(floor);
        let error = if analytic == numeric { 0.0 } else { (analytic - numeric).abs() / scale };
        self.compared += 1;
        let error = if error.is_nan() { f64::INFINITY } else { error };
        if error > self.worst || self.at.is_empty() {
            self.worst = error;
            self.at = format!("{}: analytic {analytic:.9e}, numeric {numeric:.9e}", place());
        }
    }
}

/// A numeric derivative.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Numeric {
    /// Its value.
    Smooth(f64),
    /// A kink lies within the smallest step.
    Kink,
}

/// A function's value, and on which side of its kinks each of its units is.
pub type Value = (f64, Sides);

/// The derivative at 0 of `f(t)`. See the module's page.
pub fn differentiate(mut f: impl FnMut(f64) -> Value) -> Numeric {
    let (value, sides) = f(0.0);
    let mut odd = |h: f64| {
        let (plus, minus) = (f(h), f(-h));
        (plus.1 == sides && minus.1 == sides).then_some(plus.0 - minus.0)
    };
    // Neighbouring rungs share a point: 2h of one is h of the one above.
    let mut wider: Option<f64> = None;
    let rungs: Vec<(f64, Option<f64>)> = (0..=HALVINGS)
        .map(|i| {
            let h = LARGEST_STEP * 0.5f64.powi(i as i32);
            let near = odd(h);
            let wide = wider.or_else(|| odd(2.0 * h));
            wider = near;
            (h, near.zip(wide).map(|(near, wide)| (8.0 * near - wide) / (12.0 * h)))
        })
        .collect();
    // Of neighbouring rungs with a derivative: the smaller step, its derivative, and how far that is from the one above.
    let changes = rungs.windows(2).filter_map(|pair| {
        let (above, (h, derivative)) = (pair[0].1?, pair[1]);
        Some((h, derivative?, (derivative? - above).abs()))
    });
    // What rounding the values adds to a derivative with step 1: it grows as steps shrink. A sum of terms that cancel has more of it
    // than its value tells; the smallest steps, which nothing else disturbs, show it.
    let shown = changes.clone().skip_while(|(h, ..)| *h > SMALL_STEP).map(|(h, _, change)| change * h);
    let rounding = shown.fold(4.0 * f64::EPSILON * value.abs(), f64::max);
    let best = changes.min_by(|a, b| {
        let error = |(h, _, change): &(f64, f64, f64)| change + rounding / h;
        error(a).total_cmp(&error(b))
    });
    match best
        .map(|(_, derivative, _)| derivative)
        .or_else(|| rungs.iter().rev().find_map(|(_, derivative)| *derivative))
    {
        Some(derivative) => Numeric::Smooth(derivative),
        None => Numeric::Kink,
    }
}

/// Checks every coordinate of a gradient: `f(x)` is the function, `gradient` its derivative at `x`.
///
/// ```
/// use elbo::gradcheck::check_coordinates;
/// let x = [0.3f64, -1.2];
/// let f = |x: &[f64]| ((x[0] * x[1]).sin(), Default::default());
/// let c = (x[0] * x[1]).cos();
/// assert!(check_coordinates("sin xy", &x, &[c * x[1], c * x[0]], f).passed());
/// let wrong = check_coordinates("wrong sign", &x, &[-c * x[1], c * x[0]], f);
/// assert!(!wrong.passed() && wrong.at.starts_with("[0]"));
/// ```
pub fn check_coordinates(
    name: impl Into<String>,
    x: &[f64],
    gradient: &[f64],
    mut f: impl FnMut(&[f64]) -> Value,
) -> Check {
    assert_eq!(x.len(), gradient.len(), "a derivative for each coordinate");
    let floor = floor(gradient);
    let (mut check, mut at) = (Check::new(name), x.to_vec());
    for i in 0..x.len() {
        let scale = x[i].abs().max(1.0);
        let numeric = differentiate(|t| {
            at[i] = x[i] + t * scale;
            f(&at)
        });
        at[i] = x[i];
        let numeric = match numeric {
            Numeric::Smooth(d) => Numeric::Smooth(d / scale),
            Numeric::Kink => Numeric::Kink,
        };
        check.compare(|| format!("[{i}]"), gradient[i], numeric, floor);
    }
    check
}

/// 10⁻³ times the largest derivative: smaller ones are compared on that scale.
pub fn floor(gradient: &[f64]) -> f64 {
    1e-3 * gradient.iter().fold(0.0, |m, g| f64::max(m, g.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smooth_derivatives_are_found_to_ten_digits() {
        for (f, d) in [(f64::sin as fn(f64) -> f64, 1.0), (f64::exp, 1.0), (|t| (3.0 * t).tanh() + 100.0, 3.0)] {
            let Numeric::Smooth(found) = differentiate(|t| (f(t), Sides::default())) else { panic!("no kink") };
            assert!((found - d).abs() < 1e-9, "{found} {d}");
        }
    }

    /// A sum of terms that cancel has more rounding than its value tells.
    #[test]
    fn rounding_that_the_value_does_not_tell_is_seen() {
        for seed in 0..50 {
            let large = 1e4 + f64::from(seed) * 17.3;
            let f = |t: f64| ((0.3 * f64::from(seed) + t).sin() + large) - large;
            let Numeric::Smooth(found) = differentiate(|t| (f(t), Sides::default())) else { panic!("no kink") };
            let expected = (0.3 * f64::from(seed)).cos();
            // Values are 2e-12 apart; at the largest step that is 1e-10 of the derivative, and the series' rest 2e-9.
            assert!((found - expected).abs() < 5e-9, "{seed}: {found} {expected}");
        }
    }

    #[test]
    fn a_kink_is_avoided_or_reported() {
        let relu_at = |offset: f64| {
            differentiate(move |t| {
                let mut sides = Sides::default();
                sides.sign(t + offset > 0.0);
                ((t + offset).max(0.0), sides)
            })
        };
        assert_eq!(relu_at(0.0), Numeric::Kink);
        let Numeric::Smooth(d) = relu_at(0.004) else { panic!("the smaller steps are clear of the kink") };
        assert!((d - 1.0).abs() < 1e-9);
    }
}
