//! What an instruction set file provides, one register, and the vector of sixteen lanes that is made of them.

use crate::half::{self, Pair};
use crate::simd::{Element, LANES, Simd};
use core::fmt::Debug;
use core::marker::PhantomData;

/// One hardware register's worth of lanes: what an instruction set file provides. Every function requires that the
/// processor has the instruction set, and `load` and `store` that the pointer is good for the register's lanes.
#[allow(missing_docs, reason = "the names and meanings are those of Simd")]
#[allow(clippy::missing_safety_doc, reason = "stated above, once")]
pub trait Register: Copy + Send + Sync + 'static {
    type E: Element;
    type M: Copy;
    const LANES: usize;
    const AVAILABLE: usize;
    const FUSED: bool;
    const HALF: bool = false;
    unsafe fn splat(x: Self::E) -> Self;
    unsafe fn load(p: *const Self::E) -> Self;
    unsafe fn store(self, p: *mut Self::E);
    unsafe fn add(a: Self, b: Self) -> Self;
    unsafe fn sub(a: Self, b: Self) -> Self;
    unsafe fn mul(a: Self, b: Self) -> Self;
    unsafe fn div(a: Self, b: Self) -> Self;
    unsafe fn fma(a: Self, b: Self, c: Self) -> Self;
    unsafe fn fnma(a: Self, b: Self, c: Self) -> Self;
    unsafe fn max(a: Self, b: Self) -> Self;
    unsafe fn min(a: Self, b: Self) -> Self;
    unsafe fn sqrt(a: Self) -> Self;
    unsafe fn round(a: Self) -> Self;
    unsafe fn lt(a: Self, b: Self) -> Self::M;
    unsafe fn le(a: Self, b: Self) -> Self::M;
    unsafe fn select(m: Self::M, yes: Self, no: Self) -> Self;
    unsafe fn nonzero(a: Self) -> u16;
    unsafe fn and(a: Self, b: Self) -> Self;
    unsafe fn or(a: Self, b: Self) -> Self;
    unsafe fn xor(a: Self, b: Self) -> Self;
    unsafe fn iadd(a: Self, b: Self) -> Self;
    unsafe fn isub(a: Self, b: Self) -> Self;
    unsafe fn shl_mantissa(a: Self) -> Self;
    unsafe fn shr_mantissa(a: Self) -> Self;
    #[inline(always)]
    unsafe fn dot2(a: Self, b: Self, c: Self) -> Self {
        // SAFETY: a register is as large as its lanes.
        unsafe {
            let [mut x, mut y, mut z] = [[Self::E::ZERO; LANES]; 3];
            a.store(x.as_mut_ptr());
            b.store(y.as_mut_ptr());
            c.store(z.as_mut_ptr());
            for i in 0..Self::LANES {
                let (a, b) = (Pair(x[i].to_bits() as u32), Pair(y[i].to_bits() as u32));
                z[i] = Self::E::from_f64(half::dot2(z[i].to_f64() as f32, a, b).into());
            }
            Self::load(z.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn pair_columns(src: *const Self::E, pairs: *mut Pair) {
        for i in 0..LANES {
            // SAFETY: the caller lends 32 elements and 16 pairs.
            unsafe { pairs.add(i).write(half::pair(*src.add(2 * i), *src.add(2 * i + 1))) };
        }
    }
    #[inline(always)]
    unsafe fn pair_rows([a, b]: [*const Self::E; 2], pairs: *mut Pair) {
        for i in 0..LANES {
            // SAFETY: the caller lends twice 16 elements and 16 pairs.
            unsafe { pairs.add(i).write(half::pair(*a.add(i), *b.add(i))) };
        }
    }
    #[inline(always)]
    unsafe fn transpose(src: *const Self::E, dst: *mut Self::E, [from, to]: [usize; 2]) {
        for r in 0..LANES {
            for c in 0..LANES {
                // SAFETY: the caller lends sixteen elements of sixteen rows.
                unsafe { *dst.add(c * to + r) = *src.add(r * from + c) };
            }
        }
    }
}

/// Sixteen lanes made of `N` registers.
#[derive(Clone, Copy, Debug)]
pub struct Wide<R, const N: usize>(PhantomData<R>);

// Plain loops here, neither closures nor iterators: an inlined loop compiles for the caller's instruction set, and those may be calls.
macro_rules! lanewise {
    ($($name:ident($($arg:ident),+);)+) => {$(
        #[inline(always)]
        fn $name(self, $($arg: Self::V),+) -> Self::V {
            let mut out = lanewise!(@first $($arg),+);
            for i in 0..N {
                // SAFETY: a value of this type proves the instruction set.
                out[i] = unsafe { R::$name($($arg[i]),+) };
            }
            out
        }
    )+};
    (@first $a:ident $(, $rest:ident)*) => { $a };
}

impl<R: Register, const N: usize> Simd for Wide<R, N> {
    type E = R::E;
    type V = [R; N];
    type M = [R::M; N];
    const REGISTERS: usize = N;
    const AVAILABLE: usize = R::AVAILABLE;
    const FUSED: bool = R::FUSED;
    const HALF: bool = R::HALF;

    #[inline(always)]
    unsafe fn assume() -> Self {
        const { assert!(R::LANES * N == LANES) }
        Wide(PhantomData)
    }
    #[inline(always)]
    fn splat(self, x: R::E) -> [R; N] {
        // SAFETY: a value of this type proves the instruction set.
        [unsafe { R::splat(x) }; N]
    }
    #[inline(always)]
    unsafe fn load_ptr(self, p: *const R::E) -> [R; N] {
        // SAFETY: the caller lends sixteen elements, which is what N registers hold.
        unsafe {
            let mut out = [R::load(p); N];
            for i in 1..N {
                out[i] = R::load(p.add(i * R::LANES));
            }
            out
        }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: [R; N], p: *mut R::E) {
        for i in 0..N {
            // SAFETY: the caller lends sixteen elements, which is what N registers hold.
            unsafe { v[i].store(p.add(i * R::LANES)) }
        }
    }
    #[inline(always)]
    unsafe fn dot2(self, a: [R; N], b: [R; N], c: [R; N]) -> [R; N] {
        let mut out = c;
        for i in 0..N {
            // SAFETY: the caller's promise.
            out[i] = unsafe { R::dot2(a[i], b[i], c[i]) };
        }
        out
    }
    #[inline(always)]
    unsafe fn pair_columns_ptr(self, src: *const R::E, pairs: *mut Pair) {
        // SAFETY: the caller's promise.
        unsafe { R::pair_columns(src, pairs) }
    }
    #[inline(always)]
    unsafe fn pair_rows_ptr(self, rows: [*const R::E; 2], pairs: *mut Pair) {
        // SAFETY: the caller's promise.
        unsafe { R::pair_rows(rows, pairs) }
    }
    #[inline(always)]
    unsafe fn transpose_ptr(self, src: *const R::E, dst: *mut R::E, strides: [usize; 2]) {
        // SAFETY: the caller's promise.
        unsafe { R::transpose(src, dst, strides) }
    }
    lanewise! {
        add(a, b); sub(a, b); mul(a, b); div(a, b); fma(a, b, c); fnma(a, b, c); max(a, b); min(a, b); sqrt(a);
        round(a); and(a, b); or(a, b); xor(a, b); iadd(a, b); isub(a, b); shl_mantissa(a); shr_mantissa(a);
    }
    #[inline(always)]
    fn lt(self, a: [R; N], b: [R; N]) -> [R::M; N] {
        // SAFETY: a value of this type proves the instruction set.
        let mut out = [unsafe { R::lt(a[0], b[0]) }; N];
        for i in 1..N {
            // SAFETY: as above.
            out[i] = unsafe { R::lt(a[i], b[i]) };
        }
        out
    }
    #[inline(always)]
    fn le(self, a: [R; N], b: [R; N]) -> [R::M; N] {
        // SAFETY: a value of this type proves the instruction set.
        let mut out = [unsafe { R::le(a[0], b[0]) }; N];
        for i in 1..N {
            // SAFETY: as above.
            out[i] = unsafe { R::le(a[i], b[i]) };
        }
        out
    }
    #[inline(always)]
    fn nonzero(self, a: [R; N]) -> u16 {
        let mut bits = 0;
        for i in 0..N {
            // SAFETY: a value of this type proves the instruction set.
            bits |= unsafe { R::nonzero(a[i]) } << (i * R::LANES);
        }
        bits
    }
    #[inline(always)]
    fn select(self, m: [R::M; N], yes: [R; N], no: [R; N]) -> [R; N] {
        let mut out = yes;
        for i in 0..N {
            // SAFETY: a value of this type proves the instruction set.
            out[i] = unsafe { R::select(m[i], yes[i], no[i]) };
        }
        out
    }
}
