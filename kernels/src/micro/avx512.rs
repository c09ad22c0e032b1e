//! AVX-512 (F, BW, DQ, VL): registers of 512 bits.

use crate::simd::Register;
use core::arch::x86_64::*;

register!(
    __m512, f32, __mmask16, 16, 32, 23,
    _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_add_ps _mm512_sub_ps _mm512_mul_ps _mm512_div_ps
    _mm512_fmadd_ps _mm512_fnmadd_ps _mm512_max_ps _mm512_min_ps _mm512_sqrt_ps _mm512_roundscale_ps
    _mm512_cmp_ps_mask _mm512_mask_blend_ps _mm512_and_ps _mm512_or_ps _mm512_xor_ps _mm512_castps_si512
    _mm512_castsi512_ps _mm512_add_epi32 _mm512_sub_epi32 _mm512_slli_epi32 _mm512_srli_epi32
);
register!(
    __m512d, f64, __mmask8, 8, 32, 52,
    _mm512_set1_pd _mm512_loadu_pd _mm512_storeu_pd _mm512_add_pd _mm512_sub_pd _mm512_mul_pd _mm512_div_pd
    _mm512_fmadd_pd _mm512_fnmadd_pd _mm512_max_pd _mm512_min_pd _mm512_sqrt_pd _mm512_roundscale_pd
    _mm512_cmp_pd_mask _mm512_mask_blend_pd _mm512_and_pd _mm512_or_pd _mm512_xor_pd _mm512_castpd_si512
    _mm512_castsi512_pd _mm512_add_epi64 _mm512_sub_epi64 _mm512_slli_epi64 _mm512_srli_epi64
);
