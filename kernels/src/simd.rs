//! One vector type for every instruction set: sixteen elements, however many registers they take.
//!
//! A kernel is written once against [`Simd`] and compiled for each instruction set by [`Isa::run`](crate::Isa::run).
//! Because a vector always has sixteen lanes, sums over lanes have the same shape, and so the same bits, everywhere.
//! A value of a [`Simd`] type can only be had from `Isa::run`, so holding one proves that the processor can run it;
//! that is what makes its arithmetic methods safe.

use crate::half::{self, Pair};
use crate::isa::sealed;
use core::fmt::Debug;
use core::marker::PhantomData;

/// Elements in a vector.
pub const LANES: usize = 16;

/// The scalar types that the kernels compute in: `f32` trains, `f64` checks.
pub trait Element:
    Copy
    + Send
    + Sync
    + Default
    + PartialEq
    + PartialOrd
    + Debug
    + 'static
    + core::ops::Add<Output = Self>
    + core::ops::Sub<Output = Self>
    + core::ops::Mul<Output = Self>
    + core::ops::Div<Output = Self>
    + core::ops::Neg<Output = Self>
    + core::ops::AddAssign
    + crate::math::Coefficients
    + crate::once::Compiled
    + crate::gemm::Operand<Self>
    + sealed::Sealed
{
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// Stored bits of the significand: 23 or 52.
    const MANTISSA_BITS: u32;
    /// Sixteen elements in AVX-512 registers.
    #[cfg(target_arch = "x86_64")]
    type Avx512: Simd<E = Self>;
    /// Sixteen elements in AVX2 registers.
    #[cfg(target_arch = "x86_64")]
    type Avx2: Simd<E = Self>;

    /// `self * b + c` with one rounding.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Nearest value of this type.
    fn from_f64(x: f64) -> Self;
    /// Exact value in double precision.
    fn to_f64(self) -> f64;
    /// The bit pattern, in the low bits.
    fn to_bits(self) -> u64;
    /// The value of a bit pattern held in the low bits.
    fn from_bits(bits: u64) -> Self;
    /// Nearest integer, ties to even.
    fn round_even(self) -> Self;
    /// Whether neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// `C = A B` or `C += A B` by matrixmultiply, for processors without a tile of ours.
    ///
    /// # Safety
    /// The pointers and strides must describe matrices of `m×k`, `k×n` and `m×n` elements that may be read, and
    /// for `c` written; `c` may not overlap the others.
    #[allow(clippy::too_many_arguments, reason = "the BLAS signature")]
    unsafe fn foreign_gemm(
        m: usize,
        k: usize,
        n: usize,
        a: *const Self,
        a_strides: [isize; 2],
        b: *const Self,
        b_strides: [isize; 2],
        add: bool,
        c: *mut Self,
        c_strides: [isize; 2],
    );
}

macro_rules! element {
    ($t:ty, $bits:ty, $mantissa:expr, $gemm:path, $avx512:ty, $avx2:ty) => {
        impl sealed::Sealed for $t {}
        impl Element for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const MANTISSA_BITS: u32 = $mantissa;
            #[cfg(target_arch = "x86_64")]
            type Avx512 = $avx512;
            #[cfg(target_arch = "x86_64")]
            type Avx2 = $avx2;
            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                <$t>::mul_add(self, b, c)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                <$t>::sqrt(self)
            }
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn to_bits(self) -> u64 {
                <$t>::to_bits(self) as u64
            }
            #[inline(always)]
            fn from_bits(bits: u64) -> Self {
                <$t>::from_bits(bits as $bits)
            }
            #[inline(always)]
            fn round_even(self) -> Self {
                self.round_ties_even()
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                <$t>::is_finite(self)
            }
            unsafe fn foreign_gemm(
                m: usize,
                k: usize,
                n: usize,
                a: *const Self,
                [ra, ca]: [isize; 2],
                b: *const Self,
                [rb, cb]: [isize; 2],
                add: bool,
                c: *mut Self,
                [rc, cc]: [isize; 2],
            ) {
                let beta = if add { 1.0 } else { 0.0 };
                // SAFETY: the caller's promise is matrixmultiply's own.
                unsafe { $gemm(m, k, n, 1.0, a, ra, ca, b, rb, cb, beta, c, rc, cc) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::{__m256, __m256d, __m512, __m512d};
element!(f32, u32, 23, matrixmultiply::sgemm, Wide<__m512, 1>, Wide<__m256, 2>);
element!(f64, u64, 52, matrixmultiply::dgemm, Wide<__m512d, 2>, Wide<__m256d, 4>);

/// A vector instruction set, for one element type. See the module's page.
///
/// `max` and `min` return the second operand when either is NaN or both are zero, as x86 does. The integer methods
/// (`and`, `or`, `xor`, `iadd`, `isub`, `shl`, `shr`) act on each lane's bit pattern.
pub trait Simd: Copy + Send + Sync + 'static {
    /// The element.
    type E: Element;
    /// Sixteen elements.
    type V: Copy;
    /// Sixteen truth values.
    type M: Copy;
    /// Vector registers that one vector takes.
    const REGISTERS: usize;
    /// Vector registers of the instruction set.
    const AVAILABLE: usize;
    /// Whether `fma` rounds once.
    const FUSED: bool;
    /// Whether `dot2` is an instruction, where the processor has it, and not a loop over lanes.
    const HALF: bool;

    /// The only way to a value, for [`Isa::run`](crate::Isa::run).
    ///
    /// # Safety
    /// The processor must have the instruction set.
    unsafe fn assume() -> Self;

    /// All lanes `x`.
    fn splat(self, x: Self::E) -> Self::V;
    /// Sixteen elements from `p`.
    ///
    /// # Safety
    /// `p` must be valid for reading sixteen elements.
    unsafe fn load_ptr(self, p: *const Self::E) -> Self::V;
    /// Sixteen elements to `p`.
    ///
    /// # Safety
    /// `p` must be valid for writing sixteen elements.
    unsafe fn store_ptr(self, v: Self::V, p: *mut Self::E);

    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, one rounding where [`FUSED`](Self::FUSED)
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b`, one rounding where [`FUSED`](Self::FUSED)
    fn fnma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `if a > b { a } else { b }`
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `if a < b { a } else { b }`
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// Square root, correctly rounded.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// Nearest integer, ties to even.
    fn round(self, a: Self::V) -> Self::V;
    /// `a < b`, false for NaN
    fn lt(self, a: Self::V, b: Self::V) -> Self::M;
    /// `a <= b`, false for NaN
    fn le(self, a: Self::V, b: Self::V) -> Self::M;
    /// Lane by lane, `yes` where the mask holds, else `no`.
    fn select(self, m: Self::M, yes: Self::V, no: Self::V) -> Self::V;
    /// Which lanes are not zero (a NaN is not), the first in the lowest bit.
    fn nonzero(self, a: Self::V) -> u16;
    /// Bitwise and.
    fn and(self, a: Self::V, b: Self::V) -> Self::V;
    /// Bitwise or.
    fn or(self, a: Self::V, b: Self::V) -> Self::V;
    /// Bitwise exclusive or.
    fn xor(self, a: Self::V, b: Self::V) -> Self::V;
    /// Integer sum of the bit patterns, wrapping.
    fn iadd(self, a: Self::V, b: Self::V) -> Self::V;
    /// Integer difference of the bit patterns, wrapping.
    fn isub(self, a: Self::V, b: Self::V) -> Self::V;
    /// Bit patterns shifted left by the mantissa's width ([`Element::MANTISSA_BITS`]).
    fn shl_mantissa(self, a: Self::V) -> Self::V;
    /// Bit patterns shifted right, zeros entering, by the mantissa's width.
    fn shr_mantissa(self, a: Self::V) -> Self::V;

    /// For each 32-bit lane, a pair of bf16 in each of `a` and `b`: `c + a₁b₁ + a₀b₀`, as [`half::dot2`](crate::half::dot2).
    ///
    /// # Safety
    /// Only in a kernel run by [`Isa::run_half`](crate::Isa::run_half), whose instruction set has it.
    unsafe fn dot2(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// 32 elements, rounded to 16 pairs: neighbours.
    ///
    /// # Safety
    /// As for [`dot2`](Self::dot2); `src` must be valid for reading 32 elements, `pairs` for writing sixteen.
    unsafe fn pair_columns_ptr(self, src: *const Self::E, pairs: *mut Pair);
    /// Twice sixteen elements, rounded to 16 pairs: of one from each row.
    ///
    /// # Safety
    /// As for [`dot2`](Self::dot2); `rows` must be valid for reading sixteen elements, `pairs` for writing sixteen.
    unsafe fn pair_rows_ptr(self, rows: [*const Self::E; 2], pairs: *mut Pair);
    /// The transpose of sixteen rows of sixteen elements, `strides` apart in the source and in the destination.
    ///
    /// # Safety
    /// `src` must be valid for reading, and `dst` for writing, sixteen elements in each of their rows.
    unsafe fn transpose_ptr(self, src: *const Self::E, dst: *mut Self::E, strides: [usize; 2]);

    /// Sixteen elements of `x`, which must have at least as many.
    #[inline(always)]
    fn load(self, x: &[Self::E]) -> Self::V {
        assert!(x.len() >= LANES);
        // SAFETY: the length was just asserted.
        unsafe { self.load_ptr(x.as_ptr()) }
    }
    /// Sixteen elements into `y`, which must have at least as many.
    #[inline(always)]
    fn store(self, v: Self::V, y: &mut [Self::E]) {
        assert!(y.len() >= LANES);
        // SAFETY: the length was just asserted.
        unsafe { self.store_ptr(v, y.as_mut_ptr()) }
    }
    /// The first elements of a vector from a short slice, the rest zero.
    #[inline(always)]
    fn load_partial(self, x: &[Self::E]) -> Self::V {
        let mut t = [Self::E::ZERO; LANES];
        let n = x.len().min(LANES);
        t[..n].copy_from_slice(&x[..n]);
        self.load(&t)
    }
    /// The first elements of a vector into a short slice.
    #[inline(always)]
    fn store_partial(self, v: Self::V, y: &mut [Self::E]) {
        let t = self.to_array(v);
        let n = y.len().min(LANES);
        y[..n].copy_from_slice(&t[..n]);
    }
    /// The lanes as an array.
    #[inline(always)]
    fn to_array(self, v: Self::V) -> [Self::E; LANES] {
        let mut t = [Self::E::ZERO; LANES];
        self.store(v, &mut t);
        t
    }
    /// All lanes the value nearest to `x`.
    #[inline(always)]
    fn constant(self, x: f64) -> Self::V {
        self.splat(Self::E::from_f64(x))
    }
    /// All lanes the value whose bit pattern is `bits`.
    #[inline(always)]
    fn bits(self, bits: u64) -> Self::V {
        self.splat(Self::E::from_bits(bits))
    }
    /// Sum of the lanes by the fixed tree 16 → 8 → 4 → 2 → 1 (lane `i` with lane `i + half`).
    #[inline(always)]
    fn sum(self, v: Self::V) -> Self::E {
        let mut t = self.to_array(v);
        let mut half = LANES / 2;
        while half > 0 {
            for i in 0..half {
                t[i] += t[i + half];
            }
            half /= 2;
        }
        t[0]
    }
}

/// Whether an instruction set of vectors has so few registers that a micro-tile's sums take most of them.
pub(crate) const fn few_registers<S: Simd>() -> bool {
    S::AVAILABLE == 16
}

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

// Plain loops, not closures: an inlined loop compiles for the caller's instruction set, a closure may not.
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
            for (i, o) in out.iter_mut().enumerate().skip(1) {
                *o = R::load(p.add(i * R::LANES));
            }
            out
        }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, v: [R; N], p: *mut R::E) {
        for (i, r) in v.into_iter().enumerate() {
            // SAFETY: the caller lends sixteen elements, which is what N registers hold.
            unsafe { r.store(p.add(i * R::LANES)) }
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
