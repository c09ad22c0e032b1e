//! One vector type for every instruction set: sixteen elements, however many registers they take.
//!
//! A kernel is written once against [`Simd`] and compiled for each instruction set by [`Isa::run`](crate::Isa::run).
//! Because a vector always has sixteen lanes, sums over lanes have the same shape, and so the same bits, everywhere.
//! A value of a [`Simd`] type can only be had from `Isa::run`, so holding one proves that the processor can run it;
//! that is what makes its arithmetic methods safe.

use crate::half::Pair;
use crate::isa::sealed;
use crate::wide::Wide;
use core::fmt::Debug;

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
