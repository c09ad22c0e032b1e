//! Elementary functions on vectors, for `f32` and `f64`.
//!
//! Each is one sequence of operations, so every instruction set with fused multiply-add gives the same bits; `foreign`
//! rounds its multiply-adds twice and may err by half a unit more. Errors are the largest that dense tests over the full
//! range find and assert, in units in the last place (ULP), in `f32` and in `f64`; the latter against the standard
//! library's functions, which err by up to one themselves. NaN in, NaN out.
//!
//! Results of [`exp`] under the normal range are zero rather than subnormal: arithmetic on subnormal numbers is slow,
//! and nothing here needs them. "Flushed" below refers to this.

use crate::simd::{Element, Simd};

mod tables;
pub(crate) use tables::Coefficients;

#[inline(always)]
fn polynomial<S: Simd>(s: S, x: S::V, c: &'static [S::E]) -> S::V {
    let mut p = s.splat(c[0]);
    for &ci in &c[1..] {
        p = s.fma(p, x, s.splat(ci));
    }
    p
}

#[inline(always)]
fn sign_bit<S: Simd>(s: S) -> S::V {
    s.splat(-S::E::ZERO)
}

/// |x|
#[inline(always)]
pub fn abs<S: Simd>(s: S, x: S::V) -> S::V {
    s.and(x, s.bits((-S::E::ZERO).to_bits() - 1))
}

/// −|x|
#[inline(always)]
pub fn neg_abs<S: Simd>(s: S, x: S::V) -> S::V {
    s.or(x, sign_bit(s))
}

/// −x
#[inline(always)]
pub fn neg<S: Simd>(s: S, x: S::V) -> S::V {
    s.xor(x, sign_bit(s))
}

/// `magnitude`, which may not be negative, with the sign of `x`.
#[inline(always)]
fn with_sign<S: Simd>(s: S, magnitude: S::V, x: S::V) -> S::V {
    s.or(magnitude, s.and(x, sign_bit(s)))
}

/// x = n log 2 + r, for x in [`EXP_RANGE`](Coefficients::EXP_RANGE): returns 2^(n−1) and eʳ − 1. The scale is halved so
/// that n may reach the largest exponent plus one, where eʳ 2ⁿ is still finite for r < 0; at the least n it is zero.
#[inline(always)]
fn reduce_inside<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let rounder = s.splat(S::E::ROUNDER);
    let t = s.fma(x, s.constant(core::f64::consts::LOG2_E), rounder);
    let n = s.sub(t, rounder);
    let [head, tail] = S::E::LN_2;
    let r = s.fnma(n, s.splat(tail), s.fnma(n, s.splat(head), x));
    let p = s.fma(s.mul(r, r), polynomial(s, r, S::E::EXP), r);
    (s.shl_mantissa(t), p)
}

/// [`reduce_inside`] of the nearest number in range.
#[inline(always)]
fn reduce<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let [low, high] = S::E::EXP_RANGE;
    // The second operand is returned for NaN.
    reduce_inside(s, s.min(s.splat(high), s.max(s.splat(low), x)))
}

/// eˣ for every x. Max error 1.0 and 1.0 ULP. Flushed: 0 where the result is under 2^-125.5 (`f32`, x < −86.99)
/// or 2^-1021.5 (`f64`, x < −708.04); infinite where it overflows.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let (half_scale, p) = reduce(s, x);
    let two = s.constant(2.0);
    s.mul(half_scale, s.fma(p, two, two))
}

/// [`exp`] for x ≤ 0, to the bit where multiply-adds are fused, in fewer operations.
#[inline(always)]
pub fn exp_nonpositive<S: Simd>(s: S, x: S::V) -> S::V {
    let [low, _] = S::E::EXP_RANGE;
    let (half_scale, p) = reduce_inside(s, s.max(s.splat(low), x));
    let scale = s.add(half_scale, half_scale);
    s.fma(scale, p, scale)
}

/// eˣ − 1 for every x, relatively accurate near 0. Max error 1.5 and 2.0 ULP.
#[inline(always)]
pub fn expm1<S: Simd>(s: S, x: S::V) -> S::V {
    let (half_scale, p) = reduce(s, x);
    let half = s.fma(half_scale, p, s.sub(half_scale, s.constant(0.5)));
    s.add(half, half)
}

/// [`expm1`] for x ≤ 0, likewise, unless x is subnormal.
#[inline(always)]
pub fn expm1_nonpositive<S: Simd>(s: S, x: S::V) -> S::V {
    let [low, _] = S::E::EXP_RANGE;
    let (half_scale, p) = reduce_inside(s, s.max(s.splat(low), x));
    let scale = s.add(half_scale, half_scale);
    s.fma(scale, p, s.sub(scale, s.splat(S::E::ONE)))
}

/// eˣ − 1 − x for every finite x, relatively accurate near 0 and never negative. Max error 7.5 and 10 ULP.
#[inline(always)]
pub fn exp_minus_1_minus_x<S: Simd>(s: S, x: S::V) -> S::V {
    // Near 0 this is the polynomial's own definition.
    let near = s.mul(s.mul(x, x), polynomial(s, x, S::E::EXP));
    let far = s.sub(expm1(s, x), x);
    s.select(s.lt(abs(s, x), s.constant(0.5 * core::f64::consts::LN_2)), near, far)
}

/// x = 2ᵏ (1 + f) with √½ ≤ 1 + f < √2, for normal positive x: returns k and f.
#[inline(always)]
fn split<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let one = S::E::ONE.to_bits();
    let root = S::E::from_f64(core::f64::consts::FRAC_1_SQRT_2).to_bits();
    let shifted = s.iadd(x, s.bits(one - root));
    let integer = s.splat(S::E::INTEGER);
    let k = s.sub(s.or(s.shr_mantissa(shifted), integer), s.splat(S::E::INTEGER + S::E::BIAS));
    let mantissa = s.and(shifted, s.bits((1 << S::E::MANTISSA_BITS) - 1));
    (k, s.sub(s.iadd(mantissa, s.bits(root)), s.splat(S::E::ONE)))
}

/// k log 2 + log(1 + f) + c, for c below the last place of f: fdlibm's `log`.
#[inline(always)]
fn join<S: Simd>(s: S, k: S::V, f: S::V, c: S::V) -> S::V {
    let [head, tail] = S::E::LN_2;
    let q = s.div(f, s.add(s.constant(2.0), f));
    let z = s.mul(q, q);
    let half_square = s.mul(s.constant(0.5), s.mul(f, f));
    let sum = s.fma(z, polynomial(s, z, S::E::LOG), half_square);
    let small = s.fma(q, sum, s.fma(k, s.splat(tail), c));
    s.fma(k, s.splat(head), s.sub(f, s.sub(half_square, small)))
}

/// `y` but −∞ where x is `pole`, NaN below it, and x itself where it is +∞ or NaN.
#[inline(always)]
fn with_pole<S: Simd>(s: S, x: S::V, pole: S::V, y: S::V) -> S::V {
    let below = s.select(s.lt(x, pole), s.constant(f64::NAN), s.constant(f64::NEG_INFINITY));
    let y = s.select(s.lt(x, s.constant(f64::INFINITY)), y, x);
    s.select(s.le(x, pole), below, y)
}

/// log x for every x, subnormal ones too; log 0 = −∞, NaN below. Max error 1.0 and 1.0 ULP.
#[inline(always)]
pub fn log<S: Simd>(s: S, x: S::V) -> S::V {
    let zero = s.splat(S::E::ZERO);
    let [scale, exponent] = S::E::LIFT;
    let subnormal = s.lt(x, s.splat(S::E::MIN_NORMAL));
    let (k, f) = split(s, s.select(subnormal, s.mul(x, s.splat(scale)), x));
    let k = s.sub(k, s.select(subnormal, s.splat(exponent), zero));
    with_pole(s, x, zero, join(s, k, f, zero))
}

/// log(1 + x) for x > −1 and finite.
#[inline(always)]
fn log1p_inside<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(S::E::ONE);
    let u = s.add(one, x);
    // What the sum lost, exactly, whichever term is the larger.
    let lost = s.select(s.lt(one, x), s.sub(one, s.sub(u, x)), s.sub(x, s.sub(u, one)));
    let (k, f) = split(s, u);
    join(s, k, f, s.div(lost, u))
}

/// log(1 + x) for every x, relatively accurate near 0; −∞ at −1, NaN below. Max error 1.0 and 1.0 ULP.
#[inline(always)]
pub fn log1p<S: Simd>(s: S, x: S::V) -> S::V {
    with_pole(s, x, s.constant(-1.0), log1p_inside(s, x))
}

/// 1 / (1 + e⁻ˣ) for every x, relatively accurate in both tails. Max error 2.2 and 2.0 ULP. Flushed like [`exp`].
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(S::E::ONE);
    let e = exp_nonpositive(s, neg_abs(s, x));
    let numerator = s.select(s.lt(x, s.splat(S::E::ZERO)), e, one);
    s.div(numerator, s.add(one, e))
}

/// log(1 + f) for 0 ≤ f ≤ 1, relatively accurate near 0: as [`join`], without an exponent to take out first.
#[inline(always)]
fn log1p_unit<S: Simd>(s: S, f: S::V) -> S::V {
    let q = s.div(f, s.add(s.constant(2.0), f));
    let z = s.mul(q, q);
    // 2q = f − q f
    s.fnma(q, s.fnma(z, polynomial(s, z, S::E::LOG1P), f), f)
}

/// log(1 + eˣ) for every x, relatively accurate in both tails. Max error 1.7 and 2.0 ULP. Flushed like [`exp`].
#[inline(always)]
pub fn softplus<S: Simd>(s: S, x: S::V) -> S::V {
    s.add(s.max(s.splat(S::E::ZERO), x), log1p_unit(s, exp_nonpositive(s, neg_abs(s, x))))
}

/// tanh x for every x, relatively accurate near 0. Max error 2.5 and 3.0 ULP.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::V) -> S::V {
    // (1 − e^−2|x|) / (1 + e^−2|x|)
    let e = expm1_nonpositive(s, neg_abs(s, s.add(x, x)));
    with_sign(s, s.div(abs(s, e), s.add(e, s.constant(2.0))), x)
}

/// The error function 2/√π ∫₀ˣ exp(−t²) dt for every x, relatively accurate near 0. Max error 1.1 and 1.0
/// ULP.
///
/// One polynomial in x² within (−1, 1), outside 1 − exp(polynomial in |x|), after N. Juffa's `erff`.
#[inline(always)]
pub fn erf<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(S::E::ONE);
    let a = abs(s, x);
    let inside = s.fma(x, polynomial(s, s.mul(x, x), S::E::ERF), x);
    let end = s.min(s.splat(S::E::ERF_END), a);
    let complement = exp_nonpositive(s, neg(s, polynomial(s, end, S::E::ERF_TAIL)));
    s.select(s.lt(a, one), inside, with_sign(s, s.sub(one, complement), x))
}

/// The standard normal distribution Φ(x) = ½ (1 + erf(x/√2)), and exp(−x²/2), which is √2π times its density. Max
/// error of Φ 1.4 · 2^-24 and 2^-52, absolutely, for every x.
///
/// Φ(−|x|) is exp(−x²/2) times a polynomial in s = |x| / (3 + |x|) that is ½ at 0.
#[inline(always)]
pub fn normal_cdf<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let half = s.constant(0.5);
    let exponential = exp_nonpositive(s, s.mul(s.mul(s.constant(-0.5), x), x));
    // Where it is cut off the exponential is long 0.
    let a = s.min(s.constant(64.0), abs(s, x));
    let t = s.div(a, s.add(s.constant(3.0), a));
    let below = s.mul(exponential, s.fnma(t, polynomial(s, t, S::E::NORMAL_TAIL), half));
    let cdf = s.select(s.lt(x, s.splat(S::E::ZERO)), below, s.sub(s.splat(S::E::ONE), below));
    (cdf, exponential)
}
