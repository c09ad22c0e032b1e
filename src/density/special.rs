//! The special functions that densities are made of, in f64 and without overflow.

/// ln x! for x ≥ 0.
pub fn log_factorial(x: f64) -> f64 {
    log_rising(0.0, x).0
}

/// ln Γ(a + k) − ln Γ(a) and its derivative by ln a, for a = e^`log_a` and k from 0 to 2²⁴ (any k, where a ≥ 1): of a whole
/// k, the logarithm of a (a + 1) … (a + k − 1) and Σ a / (a + j).
///
/// ```text
/// Γ(a) = Γ(a + n) / a (a + 1) … (a + n − 1),   n so that z = a + n ≥ 10
/// ln Γ(z) = (z − ½) ln z − z + ½ ln 2π + s(z),   s(z) = 1/12z − 1/360z³ + …           (Stirling's series)
/// ln Γ(z + k) − ln Γ(z) = (z − ½) ln (1 + k/z) + k ln (z + k) − k + s(z + k) − s(z)
/// ```
///
/// A difference of two log-gammas would lose all digits where a is large, and has no value where a overflows; here terms of
/// that size never appear. The series is cut below 1e-15, the value within 1e-14 max(1, k) max(1, |`log_a`|) and the
/// derivative, which lies between 0 and max(1, k), within 1e-14 of its size. Beyond ±500 both are linear in `log_a`, which is
/// exact to rounding: a is then negligible, or nothing else is.
pub fn log_rising(log_a: f64, k: f64) -> (f64, f64) {
    let near = log_a.clamp(-FAR, FAR);
    let Rising { z, log, rest, slope } = Rising::of(near.exp(), k);
    let value = rest + (z - 0.5) * log + k * (z + k).ln() - k;
    (value + (log_a - near) * slope, slope)
}

/// ln (a⁽ᵏ⁾ / k!), as [`log_rising`] has the rising factorial a⁽ᵏ⁾, and its derivative by ln a. The two are of a size for moderate a, and
/// what they have in common, k ln k and more, is never written down: with b = 1 and its own z,
/// k ln (z_a + k) − k ln (z_b + k) = k ln (1 + (z_a − z_b)/(z_b + k)). Where a is large they have nothing in common.
pub fn log_rising_by_factorial(log_a: f64, k: f64) -> (f64, f64) {
    const LARGE: f64 = 8.0;
    if log_a > LARGE {
        let (value, slope) = log_rising(log_a, k);
        return (value - log_factorial(k), slope);
    }
    let near = log_a.clamp(-FAR, FAR);
    let (of_a, of_one) = (Rising::of(near.exp(), k), Rising::of(1.0, k));
    let logs = (of_a.z - 0.5) * of_a.log - (of_one.z - 0.5) * of_one.log;
    let value = of_a.rest - of_one.rest + logs + k * ((of_a.z - of_one.z) / (of_one.z + k)).ln_1p();
    (value + (log_a - near) * of_a.slope, of_a.slope)
}

/// ln a beyond which a is negligible, or nothing else is.
const FAR: f64 = 500.0;

/// The parts of ln a⁽ᵏ⁾.
struct Rising {
    /// a and as many steps of 1 as lead to 10.
    z: f64,
    /// ln (1 + k/z).
    log: f64,
    /// What is left beside (z − ½) ln (1 + k/z) + k ln (z + k) − k.
    rest: f64,
    /// The whole's derivative by ln a.
    slope: f64,
}

impl Rising {
    fn of(a: f64, k: f64) -> Self {
        let (mut z, mut ratio, mut slope) = (a, 1.0, 0.0);
        while z < 10.0 {
            ratio *= z / (z + k);
            slope += k / z / (z + k);
            z += 1.0;
        }
        let log = (k / z).ln_1p();
        let ((s, ds), (s_k, ds_k)) = (stirling(z), stirling(z + k));
        let slope = a * (slope + log + 0.5 * k / (z * (z + k)) + (ds_k - ds));
        Rising { z, log, rest: ratio.ln() + (s_k - s), slope }
    }
}

/// s(z) of Stirling's series, and its derivative, for z ≥ 10: six terms, of which the first left out is below 1e-15.
fn stirling(z: f64) -> (f64, f64) {
    const BY_ODD_POWER: [f64; 6] =
        [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0];
    let (y, square) = (1.0 / z, 1.0 / (z * z));
    let (mut s, mut ds) = (0.0, 0.0);
    for (n, c) in BY_ODD_POWER.iter().enumerate().rev() {
        s = s * square + c;
        ds = ds * square - (2 * n + 1) as f64 * c;
    }
    (s * y, ds * square)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::logistic::{sigmoid, softplus};

    /// Products and sums, term by term.
    #[test]
    fn whole_steps_are_products() {
        for log_a in [-600.0f64, -80.0, -3.0, -0.1, 0.0, 0.7, 2.302, 2.303, 5.0, 20.0, 80.0, 600.0] {
            for k in [0u32, 1, 2, 3, 9, 10, 11, 255, 4000] {
                // ln (a + j) without overflow.
                let log = |j: f64| if j == 0.0 { log_a } else { j.ln() + softplus(log_a - j.ln()) };
                let value: f64 = (0..k).map(|j| log(f64::from(j))).sum();
                let slope: f64 = (0..k).map(|j| if j == 0 { 1.0 } else { sigmoid(log_a - f64::from(j).ln()) }).sum();
                let (found, by_log_a) = log_rising(log_a, f64::from(k));
                let size = f64::from(k.max(1)) * log_a.abs().max(8.3);
                assert!((found - value).abs() <= 2e-15 * size, "{log_a} {k}: {found} and {value}");
                assert!((by_log_a - slope).abs() <= 1e-14 * slope, "{log_a} {k}: {by_log_a} and {slope}");
            }
        }
    }

    /// Γ(1)/Γ(½) = 1/√π, and two half steps are one whole: Γ(a + 1)/Γ(a) = a.
    #[test]
    fn half_steps() {
        let ln_2 = std::f64::consts::LN_2;
        assert!((log_rising(-ln_2, 0.5).0 + 0.5 * std::f64::consts::PI.ln()).abs() < 1e-15);
        for i in -200..=200 {
            let log_a = f64::from(i) * 0.1;
            let a = log_a.exp();
            let ((first, by_first), (second, by_second)) = (log_rising(log_a, 0.5), log_rising((a + 0.5).ln(), 0.5));
            assert!((first + second - log_a).abs() <= 4e-15 * log_a.abs().max(1.0), "{a}: {first} and {second}");
            let slope = by_first + by_second * a / (a + 0.5);
            assert!((slope - 1.0).abs() <= 1e-14, "{a}: {slope}");
        }
    }

    /// The same quotient, to the rounding of its own size where a is moderate.
    #[test]
    fn quotients_of_products() {
        for log_a in [-600.0f64, -80.0, -3.0, -0.1, 0.0, 0.7, 2.302, 2.303, 5.0, 20.0, 80.0, 600.0] {
            for k in [0u32, 1, 2, 9, 10, 11, 255, 4000] {
                // ln (a + j)/(1 + j) without overflow.
                let log = |j: f64| if j == 0.0 { log_a } else { (j / (1.0 + j)).ln() + softplus(log_a - j.ln()) };
                let value: f64 = (0..k).map(|j| log(f64::from(j))).sum();
                let ((found, slope), (_, expected)) =
                    (log_rising_by_factorial(log_a, f64::from(k)), log_rising(log_a, f64::from(k)));
                let size = if log_a.abs() < 4.0 { 40.0 } else { f64::from(k.max(1)) * log_a.abs().max(8.3) };
                assert!((found - value).abs() <= 4e-15 * size.max(40.0), "{log_a} {k}: {found} and {value}");
                assert_eq!(slope, expected);
            }
        }
    }

    #[test]
    fn factorials() {
        assert_eq!((log_factorial(0.0), log_factorial(1.0).abs() < 1e-15), (0.0, true));
        assert!((log_factorial(20.0) - 2_432_902_008_176_640_000f64.ln()).abs() < 1e-13);
    }
}
