//! Reductions of a fixed shape: their bits depend on the numbers alone, not on threads, tiles or instruction sets.

use crate::map::{for_each_vector, kernel, load, store};
use crate::simd::{Element, LANES};

/// Vectors of columns summed side by side: enough chains to hide an addition's latency.
const PANEL: usize = 4;

kernel! {
    /// Column sums of a matrix of `rows` rows, `stride` elements apart, and `cols` columns, into the first `cols`
    /// elements of `y`.
    ///
    /// Each is one chain in row order that starts at +0.0, or with `add` at what `y` holds: adding block after block of
    /// rows gives the bits of a single call.
    ///
    /// # Panics
    /// If the matrix does not fit `x`, or its columns do not fit `y`.
    pub fn column_sums<E>(isa, s; rows: usize, stride: usize, cols: usize, x: &[E], y: &mut [E], add: bool) {
        assert!(stride >= cols && y.len() >= cols, "{cols} columns, stride {stride}, room for {}", y.len());
        assert!(rows == 0 || x.len() >= (rows - 1) * stride + cols, "{rows}x{cols} from {} elements", x.len());
        let y = &mut y[..cols];
        if !add {
            y.fill(E::ZERO);
        }
        let panels = cols - cols % (PANEL * LANES);
        for j in (0..panels).step_by(PANEL * LANES) {
            let y = &mut y[j..][..PANEL * LANES];
            let mut totals = [s.splat(E::ZERO); PANEL];
            for (p, total) in totals.iter_mut().enumerate() {
                *total = s.load(&y[p * LANES..]);
            }
            for i in 0..rows {
                let row = &x[i * stride + j..][..PANEL * LANES];
                for (p, total) in totals.iter_mut().enumerate() {
                    *total = s.add(*total, s.load(&row[p * LANES..]));
                }
            }
            for (p, total) in totals.iter().enumerate() {
                s.store(*total, &mut y[p * LANES..]);
            }
        }
        let rest = &mut y[panels..];
        for_each_vector!(rest.len(), |k, count| {
            let mut total = load(s, rest, k, count);
            for i in 0..rows {
                total = s.add(total, load(s, x, i * stride + panels + k, count));
            }
            store(s, total, rest, k, count);
        });
    }
}

/// Sum of x, or of x², in double precision: sixteen partial sums, element i in sum i mod 16, then the tree
/// 16 → 8 → 4 → 2 → 1. Without fused multiply-add, so that even `foreign` agrees.
#[inline(always)]
fn total<E: Element, const SQUARED: bool>(x: &[E]) -> f64 {
    let mut sums = [0.0; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for (sum, x) in sums.iter_mut().zip(block) {
            let x = x.to_f64();
            *sum += if SQUARED { x * x } else { x };
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        let x = x.to_f64();
        *sum += if SQUARED { x * x } else { x };
    }
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
        half /= 2;
    }
    sums[0]
}

/// Sum in double precision: sixteen partial sums, then a fixed tree.
pub fn sum_f64<E: Element>(x: &[E]) -> f64 {
    total::<E, false>(x)
}

kernel! {
    /// Sum of squares in double precision, for norms of whole slabs: sixteen partial sums, then a fixed tree.
    pub fn sum_squares_f64<E>(isa, _s; x: &[E]) -> f64 {
        total::<E, true>(x)
    }
}

kernel! {
    /// The index of the first element that is infinite or NaN.
    pub fn first_non_finite<E>(isa, s; x: &[E]) -> Option<usize> {
        /// Vectors looked at before asking whether there was one.
        const BLOCK: usize = 32 * LANES;
        for (b, block) in x.chunks(BLOCK).enumerate() {
            // x − x is +0 where x is finite and NaN elsewhere, and a NaN's bits survive the or.
            let mut suspect = s.splat(E::ZERO);
            for_each_vector!(block.len(), |i, count| {
                let x = load(s, block, i, count);
                suspect = s.or(suspect, s.sub(x, x));
            });
            if !s.sum(suspect).is_finite() {
                return block.iter().position(|x| !x.is_finite()).map(|i| b * BLOCK + i);
            }
        }
        None
    }
}

/// log Σ eˣ, shifted by the greatest term so that it neither overflows nor vanishes. −∞ for no terms or only −∞;
/// +∞ if any is; NaN if any is.
pub fn log_sum_exp(x: &[f64]) -> f64 {
    let greatest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if x.iter().any(|x| x.is_nan()) {
        return f64::NAN;
    }
    if greatest.is_infinite() {
        return greatest;
    }
    greatest + x.iter().map(|x| (x - greatest).exp()).sum::<f64>().ln()
}
