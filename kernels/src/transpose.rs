//! Transposed copies of a tile of a weight: of its elements, or rounded to pairs of bf16.

use crate::half::Pair;
use crate::isa::{Isa, Op};
use crate::once::once;
use crate::simd::{Element, LANES, Simd};

/// A tile of rows of `width` elements, and where its transpose goes, in rows of `out_width`.
struct Tile<'a, E, T> {
    x: &'a [E],
    width: usize,
    out: &'a mut [T],
    out_width: usize,
}

impl<E, T> Tile<'_, E, T> {
    /// Rows of the source, and rows of the destination, each of which takes `depth` columns.
    fn check(&self, depth: usize) -> (usize, usize) {
        let Tile { width, out_width, .. } = *self;
        assert!(width > 0 && out_width > 0 && width.is_multiple_of(LANES), "a tile of {width} columns to {out_width}");
        let (rows, out_rows) = (self.x.len() / width, self.out.len() / out_width);
        assert!(
            self.x.len() == rows * width
                && out_width == rows.next_multiple_of(LANES)
                && self.out.len() == out_rows * out_width
                && out_rows <= width / depth,
            "a tile of {} elements in rows of {width}, transposed to {} in rows of {out_width}",
            self.x.len(),
            self.out.len(),
        );
        (rows, out_rows)
    }
}

/// Writes a square of sixteen by sixteen to a place that may have fewer rows.
///
/// # Safety
/// `src` must be readable for sixteen rows `stride` apart.
#[inline(always)]
unsafe fn square<S: Simd>(s: S, src: *const S::E, stride: usize, out: &mut [S::E], out_width: usize) {
    let mut buffer = [[S::E::ZERO; LANES]; LANES];
    let whole = out.len() > (LANES - 1) * out_width;
    let (dst, to) = if whole { (out.as_mut_ptr(), out_width) } else { (buffer.as_mut_ptr().cast(), LANES) };
    // SAFETY: the caller lends the source; the destination has sixteen rows of at least as many elements.
    unsafe { s.transpose_ptr(src, dst, [stride, to]) };
    if !whole {
        for (row, out) in buffer.iter().zip(out.chunks_mut(out_width)) {
            out[..LANES].copy_from_slice(row);
        }
    }
}

struct Elements<'a, E>(Tile<'a, E, E>);

impl<E: Element> Op<E> for Elements<'_, E> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<E = E>>(self, s: S) {
        let (rows, out_rows) = self.0.check(1);
        let Tile { x, width, out, out_width } = self.0;
        for r in (0..rows).step_by(LANES) {
            let height = LANES.min(rows - r);
            for c in (0..out_rows).step_by(LANES) {
                let mut short = [[E::ZERO; LANES]; LANES];
                let (mut src, mut stride) = (x[r * width + c..].as_ptr(), width);
                if height < LANES {
                    for (i, row) in short[..height].iter_mut().enumerate() {
                        row.copy_from_slice(&x[(r + i) * width + c..][..LANES]);
                    }
                    (src, stride) = (short.as_ptr().cast(), LANES);
                }
                let until = (c + LANES).min(out_rows) * out_width;
                // SAFETY: there are sixteen rows from r on, here or in the buffer, and sixteen columns from c on.
                unsafe { square(s, src, stride, &mut out[c * out_width + r..until], out_width) };
            }
        }
    }
}

once! {
    /// Writes the transpose of `x`, rows of `width` elements, to rows of `out_width`: a multiple of sixteen, filled up with
    /// zeros. `out` may have fewer rows than `x` columns; the rest is padding and left out.
    ///
    /// Panics when shapes do not agree.
    ///
    /// ```
    /// use elbo_kernels::{Isa, transpose::transpose_tile};
    ///
    /// let x: Vec<f32> = (0..32).map(|i| i as f32).collect();
    /// let mut out = [f32::NAN; 3 * 16];
    /// transpose_tile(Isa::default(), &x, 16, &mut out, 16);
    /// assert_eq!(out[..16], [[0.0, 16.0].as_slice(), &[0.0; 14]].concat());
    /// ```
    pub fn transpose_tile<E>(isa: Isa, x: &[E], width: usize, out: &mut [E], out_width: usize) {
        isa.run(Elements(Tile { x, width, out, out_width }));
    }
}

struct Rounded<'a>(Tile<'a, f32, Pair>);

impl Op<f32> for Rounded<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<E = f32>>(self, s: S) {
        let (rows, out_rows) = self.0.check(2);
        let Tile { x, width, out, out_width } = self.0;
        for r in (0..rows).step_by(LANES) {
            for c in (0..out_rows).step_by(LANES) {
                let mut pairs = [[Pair::default(); LANES]; LANES];
                for (i, pairs) in pairs.iter_mut().enumerate().take(rows - r) {
                    let row = &x[(r + i) * width..][..width];
                    let mut short = [0.0; 2 * LANES];
                    let mut src = row[2 * c..].as_ptr();
                    if width - 2 * c < 2 * LANES {
                        short[..width - 2 * c].copy_from_slice(&row[2 * c..]);
                        src = short.as_ptr();
                    }
                    // SAFETY: the kernel is run by `run_half`; `src` has 32 elements, `pairs` is a row of 16.
                    unsafe { s.pair_columns_ptr(src, pairs.as_mut_ptr()) };
                }
                let until = (c + LANES).min(out_rows) * out_width;
                let out = &mut out[c * out_width + r..until];
                // SAFETY: a pair has the size and the alignment of an f32, and any bits are a value of both.
                let out = unsafe { core::slice::from_raw_parts_mut(out.as_mut_ptr().cast(), out.len()) };
                // SAFETY: the buffer has sixteen rows.
                unsafe { square(s, pairs.as_ptr().cast(), LANES, out, out_width) };
            }
        }
    }
}

/// As [`transpose_tile`], with two columns of `x` rounded to a row of pairs: what a product with the transpose takes as
/// its weights. `out` has a row for every two columns, an odd last one paired with the padding's zeros.
///
/// Panics when shapes do not agree.
pub fn transpose_tile_half(isa: Isa, x: &[f32], width: usize, out: &mut [Pair], out_width: usize) {
    isa.run_half(Rounded(Tile { x, width, out, out_width }));
}
