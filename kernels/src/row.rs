//! One row times packed weights: a matrix–vector product, bound by the speed at which the weights stream in.
//!
//! The same chains as [`rows_product`](crate::gemm::rows_product): one for each output, in the order of `k`, the bias
//! added last; so the same bits. A panel's rows follow each other in memory, and all of its columns are accumulated side
//! by side, so the weights are read once, front to back.

use crate::gemm::Accum;
use crate::isa::{Isa, Op};
use crate::map::{load, store};
use crate::once::once;
use crate::panels::{MAX_VECTORS, Panels};
use crate::simd::{Element, LANES, Simd};

struct Row<'a, E> {
    x: &'a [E],
    w: &'a Panels,
    packed: &'a [E],
    bias: Option<&'a [E]>,
    accum: Accum,
    y: &'a mut [E],
}

/// Vectors that fit into the registers as accumulators, half of them left for operands.
const fn widest<S: Simd>() -> usize {
    let n = S::AVAILABLE / (2 * S::REGISTERS);
    if n > MAX_VECTORS {
        MAX_VECTORS
    } else if n == 0 {
        1
    } else {
        n
    }
}

impl<E: Element> Row<'_, E> {
    /// `NV` vectors of columns from `col` on; in `b`, they are `width` elements from one `k` to the next.
    #[inline(always)]
    fn strip<S: Simd<E = E>, const NV: usize>(&mut self, s: S, col: usize, b: &[E], width: usize) {
        let (x, n) = (self.x, self.y.len());
        let count = |v: usize| LANES.min(n - col - v * LANES);
        let mut acc = [s.splat(E::ZERO); NV];
        if self.accum == Accum::Add {
            for v in 0..NV {
                acc[v] = load(s, self.y, col + v * LANES, count(v));
            }
        }
        assert!(x.is_empty() || b.len() >= (x.len() - 1) * width + NV * LANES, "{} elements of weights", b.len());
        let mut at = b.as_ptr();
        for &x in x {
            let x = s.splat(x);
            for v in 0..NV {
                // SAFETY: row k of the strip, whose end was just asserted to lie inside `b` for the last k.
                acc[v] = s.fma(x, unsafe { s.load_ptr(at.add(v * LANES)) }, acc[v]);
            }
            at = at.wrapping_add(width);
        }
        for v in 0..NV {
            let col = col + v * LANES;
            let bias = self.bias.map(|b| load(s, b, col, count(v)));
            let y = bias.map_or(acc[v], |b| s.add(acc[v], b));
            store(s, y, self.y, col, count(v));
        }
    }
}

impl<E: Element> Op<E> for Row<'_, E> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<E = E>>(mut self, s: S) {
        for j in 0..self.w.count() {
            let p = self.w.panel(j);
            let mut at = 0;
            while at < p.width {
                let nv = ((p.width - at) / LANES).min(const { widest::<S>() });
                // Empty where there is no row at all.
                let end = p.offset + self.x.len() * p.width;
                let b = self.packed.get(p.offset + at..end).unwrap_or_default();
                match nv {
                    4 => self.strip::<S, 4>(s, p.col + at, b, p.width),
                    3 => self.strip::<S, 3>(s, p.col + at, b, p.width),
                    2 => self.strip::<S, 2>(s, p.col + at, b, p.width),
                    _ => self.strip::<S, 1>(s, p.col + at, b, p.width),
                }
                at += nv * LANES;
            }
        }
    }
}

once! {
    /// `y = x W + b` for one row: as [`rows_product`](crate::gemm::rows_product), to the bit. `x` is of `in` elements, `y` of
    /// `out`, `packed` the weights in the order of `w` (in, out), `bias` of at least `out`.
    ///
    /// Panics when shapes do not agree.
    pub fn row_product<E>(
        isa: Isa,
        x: &[E],
        w: &Panels,
        packed: &[E],
        bias: Option<&[E]>,
        accum: Accum,
        y: &mut [E],
    ) {
        assert!(
            w.rows() == x.len()
                && w.cols() == y.len()
                && packed.len() == w.len()
                && bias.is_none_or(|b| b.len() >= y.len()),
            "row product: x {}, w {}×{} in {} elements, bias {:?}, y {}",
            x.len(),
            w.rows(),
            w.cols(),
            packed.len(),
            bias.map(<[E]>::len),
            y.len()
        );
        isa.run(Row { x, w, packed, bias, accum, y });
    }
}
