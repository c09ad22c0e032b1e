//! What the tests share: instruction sets, inputs, units in the last place, guarded buffers, finite differences.

use elbo_kernels::{Element, Isa, reference};

/// Instruction sets that must agree to the bit, best first.
pub fn fused() -> impl Iterator<Item = Isa> {
    Isa::available().iter().copied().filter(|isa| isa.name() != "foreign")
}

/// Every row length up to a few vectors, and one beyond any unrolling or grouping.
pub fn lengths() -> impl Iterator<Item = usize> {
    (0..70).chain([16 * 64, 16 * 200 + 5])
}

/// SplitMix64 (Steele, Lea and Flood 2014).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Uniform between `low` and `high`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
    pub fn vector<E: Element>(&mut self, n: usize, low: f64, high: f64) -> Vec<E> {
        (0..n).map(|_| E::from_f64(self.uniform(low, high))).collect()
    }
}

/// Distance from `want` in units in the last place of `E`; 0 for equal infinities and for two NaN.
pub fn ulps<E: Element>(got: E, want: f64) -> f64 {
    let nearest = E::from_f64(want);
    if got == nearest || (got.to_f64().is_nan() && want.is_nan()) {
        return if nearest.is_finite() { (got.to_f64() - want).abs() / spacing::<E>(want) } else { 0.0 };
    }
    if !got.is_finite() || !nearest.is_finite() {
        return f64::INFINITY;
    }
    (got.to_f64() - want).abs() / spacing::<E>(want)
}

/// Distance between the neighbours of `x` in `E`'s format.
fn spacing<E: Element>(x: f64) -> f64 {
    let x = E::from_f64(x.abs());
    let next = E::from_bits(x.to_bits() + 1);
    if next.is_finite() { (next - x).to_f64() } else { (x - E::from_bits(x.to_bits() - 1)).to_f64() }
}

/// Asserts equal bits; any NaN equals any other.
#[track_caller]
pub fn assert_same_bits<E: Element>(got: &[E], want: &[E], what: impl std::fmt::Display) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let nan = g.to_f64().is_nan() && w.to_f64().is_nan();
        assert!(nan || g.to_bits() == w.to_bits(), "{what}, element {i}: {g:?} is not {w:?}");
    }
}

/// The buffers that a kernel leaves, the same bits on every instruction set with fused multiply-add.
#[track_caller]
pub fn same_everywhere<E: Element>(run: impl Fn(Isa) -> Vec<Vec<E>>) -> Vec<Vec<E>> {
    let want = run(Isa::default());
    for isa in fused() {
        let got = run(isa);
        assert_eq!(got.len(), want.len());
        for (k, (got, want)) in got.iter().zip(&want).enumerate() {
            assert_same_bits(got, want, format_args!("buffer {k} on {}", isa.name()));
        }
    }
    want
}

/// Asserts `|got − want| ≤ tolerance · max(1, |want|)`.
#[track_caller]
pub fn assert_close(got: f64, want: f64, tolerance: f64, what: impl std::fmt::Display) {
    let error = (got - want).abs() / want.abs().max(1.0);
    assert!(error <= tolerance, "{what}: {got:e} is not {want:e} within {tolerance:e}");
}

/// A buffer between sentinels, to see writes out of bounds.
pub struct Guarded<E>(Vec<E>);

impl<E: Element> Guarded<E> {
    const EDGE: usize = 32;

    /// With these contents.
    pub fn new(contents: &[E]) -> Self {
        let edge = vec![E::from_f64(-77.0); Self::EDGE];
        Guarded([&edge, contents, &edge].concat())
    }
    /// Full of NaN: whatever a kernel fails to write shows.
    pub fn nan(n: usize) -> Self {
        Self::new(&vec![E::from_f64(f64::NAN); n])
    }
    pub fn inside(&mut self) -> &mut [E] {
        let end = self.0.len() - Self::EDGE;
        &mut self.0[Self::EDGE..end]
    }
    /// The contents, once the sentinels are seen to be whole.
    #[track_caller]
    pub fn into_contents(self) -> Vec<E> {
        let end = self.0.len() - Self::EDGE;
        let whole = self.0[..Self::EDGE].iter().chain(&self.0[end..]).all(|&x| x == E::from_f64(-77.0));
        assert!(whole, "a sentinel was overwritten");
        self.0[Self::EDGE..end].to_vec()
    }
}

/// The numbers in double precision.
pub fn wide<E: Element>(x: &[E]) -> Vec<f64> {
    x.iter().map(|x| x.to_f64()).collect()
}

/// The distance from 1 to the next number.
pub fn epsilon<E: Element>() -> f64 {
    0.5f64.powi(E::MANTISSA_BITS as i32)
}

/// Asserts that a row sum of these terms is right within the rounding of its chains: each lane adds every sixteenth
/// term, and a term itself takes fewer than sixteen roundings. `absolute` counts roundings near 1 besides.
#[track_caller]
pub fn assert_sum<E: Element>(got: E, terms: &[f64], absolute: usize, what: impl std::fmt::Display) {
    let magnitude: f64 = terms.iter().map(|t| t.abs()).sum();
    let bound = ((terms.len() / 16 + 20) as f64 * magnitude + absolute as f64) * epsilon::<E>();
    let want = reference::sum(terms);
    assert!((got.to_f64() - want).abs() <= bound, "{what} of {}: {got:?} is not {want:e}", terms.len());
}

/// Asserts that a function's gradient is that of fourth-order central differences.
#[track_caller]
pub fn assert_gradient(f: impl Fn(&[f64]) -> f64, x: &[f64], gradient: &[f64], what: impl std::fmt::Display) {
    for i in 0..x.len() {
        let along = |xi| {
            let mut x = x.to_vec();
            x[i] = xi;
            f(&x)
        };
        // Truncation ~ h⁴ = 1e-12; rounding ~ n 1e-16 / h.
        assert_close(gradient[i], derivative(along, x[i]), 2e-10, format_args!("{what}, coordinate {i}"));
    }
}

/// df/dx by fourth-order central differences.
pub fn derivative(f: impl Fn(f64) -> f64, x: f64) -> f64 {
    let h = 1e-3;
    (8.0 * (f(x + h) - f(x - h)) - (f(x + 2.0 * h) - f(x - 2.0 * h))) / (12.0 * h)
}
