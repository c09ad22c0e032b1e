//! One panel of `C = A B`, `B` packed: the body of the rows product and of the general one.

use super::Accum;
use super::tile::{Job, Left, Multiply, Operand, Pairs, Piece, Singles, run};
use crate::filled::{Filled, GROUP};
use crate::half::Pair;
use crate::isa::{Isa, Op};
use crate::panels::MAX_VECTORS;
use crate::simd::{Element, LANES, Simd};
use core::marker::PhantomData;
use core::mem::MaybeUninit;

/// Rows of `B` that are used before the next ones: a panel of 64 columns of `f32` then stays in a second-level cache.
pub(super) const KC: usize = 2048;

/// Where a panel of the output lies: `cols` real columns (the rest of the panel is padding that must not be written).
#[derive(Clone, Copy)]
pub(super) struct Target<E> {
    pub ptr: *mut E,
    pub stride: usize,
    pub cols: usize,
}

/// One panel of `C = A B`.
pub(super) struct PanelProduct<'a, E> {
    pub isa: Isa,
    pub m: usize,
    pub k: usize,
    pub a: Left<E>,
    /// Where `A` is not zero.
    pub filled: Option<&'a Filled>,
    pub b: *const E,
    pub width: usize,
    pub first: Accum,
    pub c: Target<E>,
    pub bias: Option<*const E>,
}

impl<E: Element> PanelProduct<'_, E> {
    /// # Safety
    /// `a` must be readable for `m×k`, `b` for `k×width`, `bias` for `c.cols`, and `c` writable for `m×c.cols`
    /// and shared with no one.
    pub unsafe fn run(self) {
        if !self.isa.is_foreign() {
            return self.isa.run_fused((self, PhantomData::<Singles>));
        }
        // SAFETY: the caller's promise, in matrixmultiply's terms.
        unsafe {
            let (add, n) = (self.first == Accum::Add, self.c.cols.min(self.width));
            let strides = [self.a.row as isize, self.a.col as isize];
            let (b, c) = ([self.width as isize, 1], [self.c.stride as isize, 1]);
            E::foreign_gemm(self.m, self.k, n, self.a.ptr, strides, self.b, b, add, self.c.ptr, c);
            if let Some(bias) = self.bias {
                for i in 0..self.m {
                    for j in 0..n {
                        *self.c.ptr.add(i * self.c.stride + j) += *bias.add(j);
                    }
                }
            }
        }
    }

    /// The product of pairs: `k` counts pairs, and `a` and `b` are addresses of pairs in the place of elements.
    ///
    /// # Safety
    /// As for [`run`](Self::run).
    pub unsafe fn run_pairs(self)
    where
        Pair: Operand<E>,
    {
        Pair::run(self.isa, (self, PhantomData::<Pairs>));
    }

    #[inline(always)]
    fn tiles<S: Simd<E = E>, M: Multiply>(&self, s: S) {
        let mut k = 0;
        // At least once, so that an empty sum still writes its zero and its bias.
        loop {
            let kc = (self.k - k).min(KC);
            let last = k + kc == self.k;
            let mut part = Part {
                whole: self,
                from: k,
                k: kc,
                filled: self.filled.filter(|f| kc == self.k && f.lists_columns()),
                first: if k == 0 { self.first } else { Accum::Add },
                bias: if last { self.bias } else { None },
                multiply: PhantomData::<M>,
            };
            run(s, self.m, self.width, &mut part);
            k += kc;
            if last {
                break;
            }
        }
    }
}

impl<E: Element, M: Multiply> Op<E> for (PanelProduct<'_, E>, PhantomData<M>) {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<E = E>>(self, s: S) {
        self.0.tiles::<S, M>(s);
    }
}

/// The product over a part of `k`.
struct Part<'a, E, M> {
    whole: &'a PanelProduct<'a, E>,
    from: usize,
    k: usize,
    /// Of the whole of `k` only.
    filled: Option<&'a Filled>,
    first: Accum,
    bias: Option<*const E>,
    multiply: PhantomData<M>,
}

/// Room for the widest tile's row.
const WIDEST: usize = MAX_VECTORS * LANES;

impl<E: Element, M> Part<'_, E, M> {
    /// The tile's place in the output, and how many of its columns are real.
    #[inline(always)]
    fn target(&self, i: usize, col: usize) -> Target<E> {
        let c = self.whole.c;
        Target { ptr: c.ptr.wrapping_add(i * c.stride + col), cols: c.cols.saturating_sub(col), ..c }
    }
}

// A tile with padding goes through a buffer of whole vectors, so that the accumulators are only ever moved as a whole
// and stay in registers.
//
// SAFETY: `PanelProduct::run`'s caller lent operands of m×k and k×width.
unsafe impl<'a, S: Simd, M: Multiply> Job<'a, S> for Part<'a, S::E, M> {
    type Multiply = M;
    #[inline(always)]
    fn pieces(&self) -> usize {
        1
    }
    #[inline(always)]
    fn piece(&self, _: usize, i: usize, col: usize) -> Piece<'a, S::E> {
        let PanelProduct { a, b, width, .. } = *self.whole;
        Piece {
            k: self.k,
            a: Left { ptr: a.ptr.wrapping_add(i * a.row + self.from * a.col), ..a },
            b: b.wrapping_add(self.from * width + col),
            ldb: width,
            list: self.filled.and_then(|filled| filled.columns(i / GROUP)),
        }
    }
    #[inline(always)]
    fn listed(&self) -> bool {
        self.filled.is_some()
    }
    #[inline(always)]
    fn start<const MR: usize, const NV: usize>(&self, s: S, i: usize, col: usize) -> [[S::V; NV]; MR] {
        let mut acc = [[s.splat(S::E::ZERO); NV]; MR];
        if self.first == Accum::Replace {
            return acc;
        }
        let c = self.target(i, col);
        let mut edge = MaybeUninit::<[[S::E; WIDEST]; MR]>::uninit();
        let (mut ptr, mut stride) = (c.ptr.cast_const(), c.stride);
        // SAFETY: `PanelProduct::run`'s caller lent `c`; the buffer has MR rows of the widest tile.
        unsafe {
            if c.cols < NV * LANES {
                let edge = edge.write([[S::E::ZERO; WIDEST]; MR]);
                for (r, row) in edge.iter_mut().enumerate() {
                    core::ptr::copy_nonoverlapping(c.ptr.add(r * c.stride), row.as_mut_ptr(), c.cols);
                }
                (ptr, stride) = (edge.as_ptr().cast(), WIDEST);
            }
            for r in 0..MR {
                for v in 0..NV {
                    acc[r][v] = s.load_ptr(ptr.add(r * stride + v * LANES));
                }
            }
        }
        acc
    }
    #[inline(always)]
    fn finish<const MR: usize, const NV: usize>(&mut self, s: S, i: usize, col: usize, mut acc: [[S::V; NV]; MR]) {
        let c = self.target(i, col);
        let whole = c.cols >= NV * LANES;
        // SAFETY: `PanelProduct::run`'s caller lent `c` and `bias`; buffers have MR rows of the widest tile.
        unsafe {
            if let Some(bias) = self.bias.map(|b| b.wrapping_add(col)) {
                let mut edge = MaybeUninit::<[S::E; WIDEST]>::uninit();
                let mut at = bias;
                if !whole {
                    let edge = edge.write([S::E::ZERO; WIDEST]);
                    core::ptr::copy_nonoverlapping(bias, edge.as_mut_ptr(), c.cols);
                    at = edge.as_ptr();
                }
                for v in 0..NV {
                    let b = s.load_ptr(at.add(v * LANES));
                    for r in 0..MR {
                        acc[r][v] = s.add(acc[r][v], b);
                    }
                }
            }
            let mut edge = MaybeUninit::<[[S::E; WIDEST]; MR]>::uninit();
            let (ptr, stride) = if whole { (c.ptr, c.stride) } else { (edge.as_mut_ptr().cast(), WIDEST) };
            for r in 0..MR {
                for v in 0..NV {
                    s.store_ptr(acc[r][v], ptr.add(r * stride + v * LANES));
                }
            }
            if !whole {
                for r in 0..MR {
                    core::ptr::copy_nonoverlapping(ptr.add(r * stride), c.ptr.add(r * c.stride), c.cols);
                }
            }
        }
    }
}
