//! AVX2 with FMA: registers of 256 bits.

use crate::simd::LANES;
use crate::wide::Register;
use core::arch::x86_64::*;

/// Rows, and columns, of the square that fits into the registers.
const SIDE: usize = 8;

/// Eight columns of eight rows: pairs of rows are interleaved, then fours, then halves of registers moved.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
unsafe fn transpose(r: [__m256; SIDE]) -> [__m256; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let (mut two, mut four, mut out) = (r, r, r);
        for i in (0..SIDE).step_by(2) {
            two[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
            two[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
        }
        // Half h of `four[i + j]` is then column 4h + j of rows i … i + 3.
        for i in (0..SIDE).step_by(4) {
            for j in 0..2 {
                let (a, b) = (_mm256_castps_pd(two[i + j]), _mm256_castps_pd(two[i + j + 2]));
                four[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
                four[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
            }
        }
        for j in 0..4 {
            // 0x20 takes the lower halves of both, 0x31 the upper ones.
            out[j] = _mm256_permute2f128_ps::<0x20>(four[j], four[4 + j]);
            out[4 + j] = _mm256_permute2f128_ps::<0x31>(four[j], four[4 + j]);
        }
        out
    }
}

#[inline(always)]
unsafe fn blend_ps(mask: __m256, no: __m256, yes: __m256) -> __m256 {
    // SAFETY: the caller has the instruction set.
    unsafe { _mm256_blendv_ps(no, yes, mask) }
}

#[inline(always)]
unsafe fn blend_pd(mask: __m256d, no: __m256d, yes: __m256d) -> __m256d {
    // SAFETY: the caller has the instruction set.
    unsafe { _mm256_blendv_pd(no, yes, mask) }
}

#[inline(always)]
unsafe fn nonzero_ps(a: __m256) -> u16 {
    // SAFETY: the caller has the instruction set.
    unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NEQ_UQ>(a, _mm256_setzero_ps())) as u16 }
}

#[inline(always)]
unsafe fn nonzero_pd(a: __m256d) -> u16 {
    // SAFETY: the caller has the instruction set.
    unsafe { _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_NEQ_UQ>(a, _mm256_setzero_pd())) as u16 }
}

register!(
    __m256, f32, __m256, 8, 16, 23,
    _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_div_ps
    _mm256_fmadd_ps _mm256_fnmadd_ps _mm256_max_ps _mm256_min_ps _mm256_sqrt_ps _mm256_round_ps _mm256_cmp_ps
    blend_ps nonzero_ps _mm256_and_ps _mm256_or_ps _mm256_xor_ps _mm256_castps_si256 _mm256_castsi256_ps _mm256_add_epi32
    _mm256_sub_epi32 _mm256_slli_epi32 _mm256_srli_epi32
    {
        #[inline(always)]
        unsafe fn transpose(src: *const f32, dst: *mut f32, [from, to]: [usize; 2]) {
            for top in (0..LANES).step_by(SIDE) {
                for left in (0..LANES).step_by(SIDE) {
                    // SAFETY: the caller lends sixteen elements of sixteen rows, of which this is a quarter.
                    unsafe {
                        let (src, dst) = (src.add(top * from + left), dst.add(left * to + top));
                        let mut rows = [_mm256_setzero_ps(); SIDE];
                        for i in 0..SIDE {
                            rows[i] = _mm256_loadu_ps(src.add(i * from));
                        }
                        let columns = transpose(rows);
                        for i in 0..SIDE {
                            _mm256_storeu_ps(dst.add(i * to), columns[i]);
                        }
                    }
                }
            }
        }
    }
);
register!(
    __m256d, f64, __m256d, 4, 16, 52,
    _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_add_pd _mm256_sub_pd _mm256_mul_pd _mm256_div_pd
    _mm256_fmadd_pd _mm256_fnmadd_pd _mm256_max_pd _mm256_min_pd _mm256_sqrt_pd _mm256_round_pd _mm256_cmp_pd
    blend_pd nonzero_pd _mm256_and_pd _mm256_or_pd _mm256_xor_pd _mm256_castpd_si256 _mm256_castsi256_pd _mm256_add_epi64
    _mm256_sub_epi64 _mm256_slli_epi64 _mm256_srli_epi64
);
