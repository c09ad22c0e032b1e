//! AVX2 with FMA: registers of 256 bits.

use crate::simd::Register;
use core::arch::x86_64::*;

macro_rules! register {
    ($reg:ty, $e:ty, $lanes:expr, $bits:literal,
     $set1:ident $loadu:ident $storeu:ident $add:ident $sub:ident $mul:ident $div:ident $fmadd:ident $fnmadd:ident
     $max:ident $min:ident $sqrt:ident $round:ident $cmp:ident $blend:ident $and:ident $or:ident $xor:ident
     $to_int:ident $from_int:ident $iadd:ident $isub:ident $shl:ident $shr:ident) => {
        // SAFETY, for every function here: the caller has the instruction set, and lends whole registers.
        impl Register for $reg {
            type E = $e;
            type M = $reg;
            const LANES: usize = $lanes;
            const AVAILABLE: usize = 16;
            const FUSED: bool = true;
            #[inline(always)]
            unsafe fn splat(x: $e) -> Self {
                // SAFETY: as said above.
                unsafe { $set1(x) }
            }
            #[inline(always)]
            unsafe fn load(p: *const $e) -> Self {
                // SAFETY: as said above.
                unsafe { $loadu(p) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $e) {
                // SAFETY: as said above.
                unsafe { $storeu(p, self) }
            }
            #[inline(always)]
            unsafe fn add(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            unsafe fn sub(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $sub(a, b) }
            }
            #[inline(always)]
            unsafe fn mul(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $mul(a, b) }
            }
            #[inline(always)]
            unsafe fn div(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $div(a, b) }
            }
            #[inline(always)]
            unsafe fn fma(a: Self, b: Self, c: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $fmadd(a, b, c) }
            }
            #[inline(always)]
            unsafe fn fnma(a: Self, b: Self, c: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $fnmadd(a, b, c) }
            }
            #[inline(always)]
            unsafe fn max(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $max(a, b) }
            }
            #[inline(always)]
            unsafe fn min(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $min(a, b) }
            }
            #[inline(always)]
            unsafe fn sqrt(a: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $sqrt(a) }
            }
            #[inline(always)]
            unsafe fn round(a: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $round::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
            }
            #[inline(always)]
            unsafe fn lt(a: Self, b: Self) -> $reg {
                // SAFETY: as said above.
                unsafe { $cmp::<_CMP_LT_OQ>(a, b) }
            }
            #[inline(always)]
            unsafe fn le(a: Self, b: Self) -> $reg {
                // SAFETY: as said above.
                unsafe { $cmp::<_CMP_LE_OQ>(a, b) }
            }
            #[inline(always)]
            unsafe fn select(m: $reg, yes: Self, no: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $blend(no, yes, m) }
            }
            #[inline(always)]
            unsafe fn and(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $and(a, b) }
            }
            #[inline(always)]
            unsafe fn or(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $or(a, b) }
            }
            #[inline(always)]
            unsafe fn xor(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $xor(a, b) }
            }
            #[inline(always)]
            unsafe fn iadd(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $from_int($iadd($to_int(a), $to_int(b))) }
            }
            #[inline(always)]
            unsafe fn isub(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $from_int($isub($to_int(a), $to_int(b))) }
            }
            #[inline(always)]
            unsafe fn shl_mantissa(a: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $from_int($shl::<$bits>($to_int(a))) }
            }
            #[inline(always)]
            unsafe fn shr_mantissa(a: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $from_int($shr::<$bits>($to_int(a))) }
            }
        }
    };
}

register!(
    __m256, f32, 8, 23,
    _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_div_ps _mm256_fmadd_ps _mm256_fnmadd_ps _mm256_max_ps _mm256_min_ps _mm256_sqrt_ps _mm256_round_ps _mm256_cmp_ps _mm256_blendv_ps _mm256_and_ps _mm256_or_ps _mm256_xor_ps _mm256_castps_si256 _mm256_castsi256_ps _mm256_add_epi32 _mm256_sub_epi32 _mm256_slli_epi32 _mm256_srli_epi32
);
register!(
    __m256d, f64, 4, 52,
    _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_add_pd _mm256_sub_pd _mm256_mul_pd _mm256_div_pd _mm256_fmadd_pd _mm256_fnmadd_pd _mm256_max_pd _mm256_min_pd _mm256_sqrt_pd _mm256_round_pd _mm256_cmp_pd _mm256_blendv_pd _mm256_and_pd _mm256_or_pd _mm256_xor_pd _mm256_castpd_si256 _mm256_castsi256_pd _mm256_add_epi64 _mm256_sub_epi64 _mm256_slli_epi64 _mm256_srli_epi64
);
