//! bf16: the upper sixteen bits of an `f32`, two by two. A product of pairs takes two steps of a chain at once and reads
//! half the memory; sums stay in `f32`.
//!
//! A matrix's `k` runs over pairs. The left operand of a rows product has neighbouring columns in a pair
//! (`pair_columns`); weights, and both operands of a gradient, two rows (`pair_rows`).

use crate::isa::{Isa, Op, sealed};
use crate::mat::Mat;
use crate::simd::{Element, LANES, Simd};
use core::mem::MaybeUninit;

/// Two bf16: the first in the low half.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Pair(pub u32);

impl sealed::Sealed for Pair {}

impl Pair {
    /// Pairs that a row of `cols` columns takes, up to a whole vector.
    pub const fn stride(cols: usize) -> usize {
        cols.div_ceil(2).next_multiple_of(LANES)
    }
    /// Both numbers.
    pub fn values(self) -> [f32; 2] {
        [f32::from_bits(self.0 << 16), f32::from_bits(self.0 & 0xFFFF_0000)]
    }
}

/// A subnormal number is taken as a zero of its sign.
fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// The nearest bf16, ties to even, as the processor rounds: subnormal numbers become zero, NaN stays NaN.
pub fn round(x: f32) -> u16 {
    let bits = flush(x).to_bits();
    let up = if x.is_nan() { 0x0040_0000 } else { 0x7FFF + (bits >> 16 & 1) };
    let bits = if x.is_nan() { bits | up } else { bits.wrapping_add(up) };
    (bits >> 16) as u16
}

pub(crate) fn pair<E: Element>(first: E, second: E) -> Pair {
    let bits = |x: E| u32::from(round(x.to_f64() as f32));
    Pair(bits(first) | bits(second) << 16)
}

/// `acc + a₁b₁ + a₀b₀`: two fused multiply-adds, the second numbers of the pairs first, subnormal numbers taken as zero
/// before and after each. The twin of the processor's `vdpbf16ps`.
pub fn dot2(acc: f32, a: Pair, b: Pair) -> f32 {
    let ([a0, a1], [b0, b1]) = (a.values().map(flush), b.values().map(flush));
    flush(a0.mul_add(b0, flush(a1.mul_add(b1, flush(acc)))))
}

struct Columns<'a> {
    x: Mat<'a, f32>,
    stride: usize,
    out: &'a mut [MaybeUninit<Pair>],
}

impl Op<f32> for Columns<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<E = f32>>(self, s: S) {
        for (r, out) in self.out.chunks_exact_mut(self.stride).enumerate() {
            let row = self.x.row(r);
            for (x, out) in row.chunks(2 * LANES).zip(out.chunks_exact_mut(LANES)) {
                let mut short = [0.0; 2 * LANES];
                let mut src = x.as_ptr();
                if x.len() < 2 * LANES {
                    short[..x.len()].copy_from_slice(x);
                    src = short.as_ptr();
                }
                // SAFETY: the kernel is run by `run_half`; `src` has 32 elements, `out` takes 16 pairs.
                unsafe { s.pair_columns_ptr(src, out.as_mut_ptr().cast()) };
            }
        }
    }
}

/// Rounds rows to pairs of neighbouring columns, the rows `stride` pairs apart. Of each row the pairs of its columns, up
/// to [`Pair::stride`], are written and returned with the others; what lies behind them is not.
///
/// Panics when `out` is too short, or a row longer than `stride`.
pub(crate) fn pair_columns<'o>(
    isa: Isa,
    x: Mat<f32>,
    stride: usize,
    out: &'o mut [MaybeUninit<Pair>],
) -> &'o [MaybeUninit<Pair>] {
    assert!(stride >= Pair::stride(x.cols()), "{} columns in {stride} pairs", x.cols());
    let out = &mut out[..x.rows() * stride];
    if !out.is_empty() {
        isa.run_half(Columns { x, stride, out: &mut *out });
    }
    out
}

struct Rows<'a> {
    x: &'a [f32],
    width: usize,
    out: &'a mut [Pair],
}

impl Op<f32> for Rows<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<E = f32>>(self, s: S) {
        let (w, zeros) = (self.width, [0.0; LANES]);
        for (rows, out) in self.x.chunks(2 * w).zip(self.out.chunks_exact_mut(w)) {
            let (first, second) = rows.split_at(w);
            for c in (0..w).step_by(LANES) {
                let a = first[c..][..LANES].as_ptr();
                let b = second.get(c..c + LANES).map_or(zeros.as_ptr(), <[f32]>::as_ptr);
                // SAFETY: the kernel is run by `run_half`; both rows have 16 elements from c on, as has `out`.
                unsafe { s.pair_rows_ptr([a, b], out[c..][..LANES].as_mut_ptr()) };
            }
        }
    }
}

/// Rounds rows of `width` elements to pairs of two rows each, the last one with zeros if it is alone.
///
/// Panics unless `width` is a multiple of sixteen and `out` has a row for every two of `x`.
///
/// ```
/// use elbo_kernels::{Isa, half::{Pair, pair_rows}};
///
/// let (x, mut out) = ([1.5f32; 48], [Pair::default(); 32]);
/// pair_rows(Isa::default(), &x, 16, &mut out);
/// assert_eq!([out[0].values(), out[31].values()], [[1.5, 1.5], [1.5, 0.0]]);
/// ```
pub fn pair_rows(isa: Isa, x: &[f32], width: usize, out: &mut [Pair]) {
    assert!(
        width > 0
            && width.is_multiple_of(LANES)
            && x.len().is_multiple_of(width)
            && out.len() == (x.len() / width).div_ceil(2) * width,
        "{} elements in rows of {width} to {} pairs",
        x.len(),
        out.len()
    );
    isa.run_half(Rows { x, width, out });
}
