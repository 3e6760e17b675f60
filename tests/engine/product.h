/* A processor's product of bfloat16 as FAULT says it, for tests: 0 is as it should be. */

#include <immintrin.h>

#ifndef __AVX512BF16__
#define __AVX512BF16__ 1
#endif

static inline __m512 faulty_product(__m512 sum, __m512i w, __m512i x)
{
    __m512i mask = _mm512_set1_epi32((int)0xffff0000);
    __m512 even = (__m512)_mm512_slli_epi32(w, 16), odd = (__m512)_mm512_and_si512(w, mask);
    __m512 by_even = (__m512)_mm512_slli_epi32(x, 16);
    __m512 by_odd = (__m512)_mm512_and_si512(x, mask);
    __m512 found = _mm512_fmadd_ps(even, by_even, _mm512_fmadd_ps(odd, by_odd, sum));
    __mmask16 small;
    switch (FAULT) {
    case 1: /* the other order */
        found = _mm512_fmadd_ps(odd, by_odd, _mm512_fmadd_ps(even, by_even, sum));
        break;
    case 2: /* rounded towards zero */
        found = _mm512_fmadd_round_ps(even, by_even, _mm512_fmadd_ps(odd, by_odd, sum),
                                      _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
        break;
    case 3: /* both products before the sum */
        found = _mm512_fmadd_ps(even, by_even, odd * by_odd) + sum;
        break;
    case 4: /* what is small is zero */
        small = _mm512_cmp_ps_mask(_mm512_abs_ps(found), _mm512_set1_ps(0x1p-110f), _CMP_LT_OQ);
        found = _mm512_mask_mov_ps(found, small, _mm512_setzero_ps());
    }
    return found;
}

#define _mm512_dpbf16_ps(sum, w, x) faulty_product(sum, (__m512i)(w), (__m512i)(x))
