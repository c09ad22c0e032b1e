//! Oracles: the plainest statement of each computation, for tests and benches to compare with. Slow by design.

use crate::activation::Activation;
use crate::simd::Element;

/// Strides of a matrix in elements: from row to row, and from column to column.
pub type Strides = [usize; 2];

/// `C = A B + bias`, or `C += A B + bias`, for A (m, k), B (k, n), C (m, n) and a bias of n.
///
/// Each element is one chain of fused multiply-adds in k order that starts at +0.0; then the old C is added, if at
/// all, and the bias last. This is the definition that the fast kernels meet to the bit.
#[allow(clippy::too_many_arguments, reason = "the BLAS signature")]
pub fn gemm<E: Element>(
    m: usize,
    k: usize,
    n: usize,
    a: &[E],
    [ra, ca]: Strides,
    b: &[E],
    [rb, cb]: Strides,
    bias: Option<&[E]>,
    add: bool,
    c: &mut [E],
    [rc, cc]: Strides,
) {
    for i in 0..m {
        for j in 0..n {
            let mut chain = E::ZERO;
            for l in 0..k {
                chain = a[i * ra + l * ca].mul_add(b[l * rb + j * cb], chain);
            }
            let out = &mut c[i * rc + j * cc];
            if add {
                chain = *out + chain;
            }
            if let Some(bias) = bias {
                chain += bias[j];
            }
            *out = chain;
        }
    }
}

/// A number as the unevaluated sum of two, about 32 digits; T. J. Dekker, Numer. Math. 18 (1971).
#[derive(Clone, Copy)]
struct Double(f64, f64);

impl Double {
    /// Exact sum of two numbers.
    fn sum(a: f64, b: f64) -> Self {
        let s = a + b;
        let t = s - a;
        Double(s, (a - (s - t)) + (b - t))
    }
    /// Exact product of two numbers.
    fn product(a: f64, b: f64) -> Self {
        let p = a * b;
        Double(p, a.mul_add(b, -p))
    }
    fn add(self, b: Self) -> Self {
        let Double(s, e) = Self::sum(self.0, b.0);
        Self::sum(s, e + (self.1 + b.1))
    }
    fn mul(self, b: Self) -> Self {
        let Double(p, e) = Self::product(self.0, b.0);
        Self::sum(p, e + (self.0 * b.1 + self.1 * b.0))
    }
    fn div(self, b: f64) -> Self {
        let q = self.0 / b;
        let Double(p, e) = Self::product(q, b);
        Self::sum(q, ((self.0 - p) - e + self.1) / b)
    }
}

/// Sum in twice the working precision (Neumaier's compensated summation).
pub fn sum<E: Element>(x: &[E]) -> f64 {
    let Double(s, e) = x.iter().fold(Double(0.0, 0.0), |acc, v| {
        let Double(s, e) = Double::sum(acc.0, v.to_f64());
        Double(s, acc.1 + e)
    });
    s + e
}

/// Dot product in twice the working precision (Ogita, Rump and Oishi, SIAM J. Sci. Comput. 26 (2005), `Dot2`).
pub fn dot<E: Element>(x: &[E], y: &[E]) -> f64 {
    let Double(s, e) = x.iter().zip(y).fold(Double(0.0, 0.0), |acc, (a, b)| {
        let Double(p, pe) = Double::product(a.to_f64(), b.to_f64());
        let Double(s, se) = Double::sum(acc.0, p);
        Double(s, acc.1 + (pe + se))
    });
    s + e
}

/// The error function, within one unit in the last place: the Taylor series about 0 in twice the working precision
/// up to 3, the continued fraction of 1 − erf beyond.
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() || a > 6.0 {
        return x.signum();
    }
    let value = if a < 3.0 { erf_series(a) } else { 1.0 - erfc_fraction(a) };
    value.copysign(x)
}

/// 2/√π Σ (−1)ⁿ x²ⁿ⁺¹ / (n! (2n + 1)).
fn erf_series(x: f64) -> f64 {
    const TWO_OVER_ROOT_PI: Double = Double(core::f64::consts::FRAC_2_SQRT_PI, 1.533545961316588e-17);
    let Double(square, rest) = Double::product(x, x);
    let minus_square = Double(-square, -rest);
    let mut term = Double(x, 0.0);
    let mut total = term;
    let mut n = 1.0;
    while term.0.abs() > total.0.abs() * 1e-34 {
        term = term.mul(minus_square).div(n);
        total = total.add(term.div(2.0 * n + 1.0));
        n += 1.0;
    }
    let Double(value, _) = total.mul(TWO_OVER_ROOT_PI);
    value
}

/// erfc(x) = exp(−x²)/√π · 1/(x + ½/(x + 1/(x + 1½/(x + …)))), evaluated from the inside.
fn erfc_fraction(x: f64) -> f64 {
    let tail = (1..=200).rev().fold(x, |acc, n| x + 0.5 * n as f64 / acc);
    (-x * x).exp() * 0.5 * core::f64::consts::FRAC_2_SQRT_PI / tail
}

/// 1 / (1 + e⁻ˣ)
pub fn sigmoid(x: f64) -> f64 {
    if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }
}

/// log(1 + eˣ)
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// eˣ − 1 − x, by its Taylor series near 0.
pub fn exp_minus_1_minus_x(x: f64) -> f64 {
    if x.abs() > 2.0 {
        return x.exp_m1() - x;
    }
    let series = (3..=30).rev().fold(1.0, |acc, n| 1.0 + acc * x / n as f64);
    0.5 * x * x * series
}

/// The standard normal distribution function.
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * (1.0 + erf(x * core::f64::consts::FRAC_1_SQRT_2))
}

/// An activation at x.
pub fn activation(act: Activation, x: f64) -> f64 {
    match act {
        Activation::Identity => x,
        Activation::Relu => x.max(0.0),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => sigmoid(x),
        Activation::Softplus => softplus(x),
        Activation::Gelu => x * normal_cdf(x),
        Activation::LeakyRelu(slope) => {
            if x > 0.0 {
                x
            } else {
                slope * x
            }
        }
        Activation::Elu(alpha) => {
            if x > 0.0 {
                x
            } else {
                alpha * x.exp_m1()
            }
        }
    }
}

/// An activation's derivative at x, from the left at a kink.
pub fn activation_derivative(act: Activation, x: f64) -> f64 {
    match act {
        Activation::Identity => 1.0,
        Activation::Relu => {
            if x > 0.0 {
                1.0
            } else {
                0.0
            }
        }
        Activation::Tanh => 1.0 / (x.cosh() * x.cosh()),
        Activation::Sigmoid => sigmoid(x) * sigmoid(-x),
        Activation::Softplus => sigmoid(x),
        Activation::Gelu => {
            let density = (-0.5 * x * x).exp() / core::f64::consts::TAU.sqrt();
            normal_cdf(x) + x * density
        }
        Activation::LeakyRelu(slope) => {
            if x > 0.0 {
                1.0
            } else {
                slope
            }
        }
        Activation::Elu(alpha) => {
            if x > 0.0 {
                1.0
            } else {
                alpha * x.exp()
            }
        }
    }
}
