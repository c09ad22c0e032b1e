//! AVX-512 (F, BW, DQ, VL): registers of 512 bits.

use crate::half::Pair;
use crate::simd::LANES;
use crate::wide::Register;
use core::arch::x86_64::*;

/// Where each word of a row of pairs comes from: 0, 16, 1, 17 …
const INTERLEAVE: [u16; 2 * LANES] = {
    let mut order = [0; 2 * LANES];
    let mut i = 0;
    while i < 2 * LANES {
        order[i] = (i / 2 + i % 2 * LANES) as u16;
        i += 1;
    }
    order
};

/// The same bits, as sixteen pairs.
#[inline(always)]
fn pairs(x: __m512) -> __m512bh {
    // SAFETY: both are 512 bits of which every pattern is a value.
    unsafe { core::mem::transmute(x) }
}

/// The same bits, as a register of f32.
#[inline(always)]
fn register(x: __m512bh) -> __m512 {
    // SAFETY: as above.
    unsafe { core::mem::transmute(x) }
}

/// Sixteen columns of sixteen rows: pairs of rows are interleaved, then fours, then quarters of registers moved.
///
/// # Safety
/// The processor must have AVX-512 F.
#[inline(always)]
unsafe fn transpose(r: [__m512; LANES]) -> [__m512; LANES] {
    // SAFETY: the caller's promise.
    unsafe {
        let (mut two, mut four, mut out) = (r, r, r);
        for i in (0..LANES).step_by(2) {
            two[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
            two[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
        }
        // Quarter q of `four[i + j]` is then column 4q + j of rows i … i + 3.
        for i in (0..LANES).step_by(4) {
            for j in 0..2 {
                let (a, b) = (_mm512_castps_pd(two[i + j]), _mm512_castps_pd(two[i + j + 2]));
                four[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                four[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
            }
        }
        for j in 0..4 {
            // 0x88 takes the even quarters of both, 0xDD the odd ones.
            let a = _mm512_shuffle_f32x4::<0x88>(four[j], four[4 + j]);
            let b = _mm512_shuffle_f32x4::<0xDD>(four[j], four[4 + j]);
            let c = _mm512_shuffle_f32x4::<0x88>(four[8 + j], four[12 + j]);
            let d = _mm512_shuffle_f32x4::<0xDD>(four[8 + j], four[12 + j]);
            out[j] = _mm512_shuffle_f32x4::<0x88>(a, c);
            out[4 + j] = _mm512_shuffle_f32x4::<0x88>(b, d);
            out[8 + j] = _mm512_shuffle_f32x4::<0xDD>(a, c);
            out[12 + j] = _mm512_shuffle_f32x4::<0xDD>(b, d);
        }
        out
    }
}

#[inline(always)]
unsafe fn nonzero_ps(a: __m512) -> u16 {
    // SAFETY: the caller has the instruction set.
    unsafe { _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(a, _mm512_setzero_ps()) }
}

#[inline(always)]
unsafe fn nonzero_pd(a: __m512d) -> u16 {
    // SAFETY: the caller has the instruction set.
    unsafe { u16::from(_mm512_cmp_pd_mask::<_CMP_NEQ_UQ>(a, _mm512_setzero_pd())) }
}

register!(
    __m512, f32, __mmask16, 16, 32, 23,
    _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_add_ps _mm512_sub_ps _mm512_mul_ps _mm512_div_ps
    _mm512_fmadd_ps _mm512_fnmadd_ps _mm512_max_ps _mm512_min_ps _mm512_sqrt_ps _mm512_roundscale_ps
    _mm512_cmp_ps_mask _mm512_mask_blend_ps nonzero_ps _mm512_and_ps _mm512_or_ps _mm512_xor_ps _mm512_castps_si512
    _mm512_castsi512_ps _mm512_add_epi32 _mm512_sub_epi32 _mm512_slli_epi32 _mm512_srli_epi32
    {
        const HALF: bool = true;
        #[inline(always)]
        unsafe fn dot2(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: the caller has AVX512-BF16; a register of pairs is one of f32 by its bits.
            unsafe { _mm512_dpbf16_ps(c, pairs(a), pairs(b)) }
        }
        #[inline(always)]
        unsafe fn pair_columns(src: *const f32, out: *mut Pair) {
            // SAFETY: the caller has AVX512-BF16 and lends 32 elements and 16 pairs.
            unsafe {
                let both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(src.add(LANES)), _mm512_loadu_ps(src));
                _mm512_storeu_ps(out.cast(), register(both));
            }
        }
        #[inline(always)]
        unsafe fn pair_rows([a, b]: [*const f32; 2], out: *mut Pair) {
            // SAFETY: the caller has AVX512-BF16 and lends twice 16 elements and 16 pairs.
            unsafe {
                let both = register(_mm512_cvtne2ps_pbh(_mm512_loadu_ps(b), _mm512_loadu_ps(a)));
                // Words 0 … 15 are the first row's, 16 … 31 the second's.
                let order = _mm512_loadu_si512(INTERLEAVE.as_ptr().cast());
                let mixed = _mm512_permutexvar_epi16(order, _mm512_castps_si512(both));
                _mm512_storeu_si512(out.cast(), mixed);
            }
        }
        #[inline(always)]
        unsafe fn transpose(src: *const f32, dst: *mut f32, [from, to]: [usize; 2]) {
            // SAFETY: the caller lends sixteen elements of sixteen rows.
            unsafe {
                let mut rows = [_mm512_setzero_ps(); LANES];
                for i in 0..LANES {
                    rows[i] = _mm512_loadu_ps(src.add(i * from));
                }
                let columns = transpose(rows);
                for i in 0..LANES {
                    _mm512_storeu_ps(dst.add(i * to), columns[i]);
                }
            }
        }
    }
);
register!(
    __m512d, f64, __mmask8, 8, 32, 52,
    _mm512_set1_pd _mm512_loadu_pd _mm512_storeu_pd _mm512_add_pd _mm512_sub_pd _mm512_mul_pd _mm512_div_pd
    _mm512_fmadd_pd _mm512_fnmadd_pd _mm512_max_pd _mm512_min_pd _mm512_sqrt_pd _mm512_roundscale_pd
    _mm512_cmp_pd_mask _mm512_mask_blend_pd nonzero_pd _mm512_and_pd _mm512_or_pd _mm512_xor_pd _mm512_castpd_si512
    _mm512_castsi512_pd _mm512_add_epi64 _mm512_sub_epi64 _mm512_slli_epi64 _mm512_srli_epi64
);
