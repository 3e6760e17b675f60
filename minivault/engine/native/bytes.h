/* Sums of products of whole numbers: unsigned bytes of weights by signed bytes of rows, four
 * neighbours to a lane. They are exact, so that any order will do. */

#ifndef BYTES_H
#define BYTES_H

#include "linear.h"
#include "vectors.h"

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
enum { LOWERED = 0 };
#else
enum { LOWERED = 1 }; /* weights of INT8 are made signed, 128 lower, before they are multiplied */
#endif

/* Weights of a panel as `add_products` takes them, from the bytes that are kept. */
ALWAYS vint weights_of(vint bytes, int kind)
{
    return kind == INT8 && LOWERED ? bytes ^ (int32_t)0x80808080 : bytes;
}

#if !defined(__AVX512VNNI__) && defined(__AVX512BW__)
ALWAYS __m512i pairs(__m512i w, __m512i x, int kind)
{
    if (kind != INT8)
        return _mm512_maddubs_epi16(w, x);
    __m512i turned = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
    return _mm512_maddubs_epi16(_mm512_abs_epi8(w), turned); /* |w| · ±x stays within 16 bits */
}
#elif !defined(__AVXVNNI__) && defined(__AVX2__)
ALWAYS __m256i pairs(__m256i w, __m256i x, int kind)
{
    if (kind != INT8)
        return _mm256_maddubs_epi16(w, x);
    return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}
#endif

/* Adds the products of one group's next four inputs. Eight such sums at most follow on each other:
 * those of half bytes may stay in 16 bits, as 8 × 2 × 15 × 127 fits, until `whole` widens them. */
ALWAYS vint add_products(vint sum, vint w, vint x, int kind)
{
#if defined(__AVX512VNNI__)
    (void)kind;
    return (vint)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, (__m512i)x);
#elif defined(__AVX512BW__)
    __m512i two = pairs((__m512i)w, (__m512i)x, kind);
    if (kind != INT8)
        return (vint)_mm512_add_epi16((__m512i)sum, two);
    return sum + (vint)_mm512_madd_epi16(two, _mm512_set1_epi16(1));
#elif defined(__AVXVNNI__) && VECTOR == 32
    (void)kind;
    return (vint)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)w, (__m256i)x);
#elif VECTOR == 32
    __m256i two = pairs((__m256i)w, (__m256i)x, kind);
    if (kind != INT8)
        return (vint)_mm256_add_epi16((__m256i)sum, two);
    return sum + (vint)_mm256_madd_epi16(two, _mm256_set1_epi16(1));
#elif defined(__ARM_FEATURE_DOTPROD)
    (void)kind;
    return (vint)vdotq_s32((int32x4_t)sum, (int8x16_t)w, (int8x16_t)x);
#elif defined(__aarch64__)
    (void)kind;
    int16x8_t low = vmull_s8(vget_low_s8((int8x16_t)w), vget_low_s8((int8x16_t)x));
    int16x8_t high = vmull_high_s8((int8x16_t)w, (int8x16_t)x);
    return sum + (vint)vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
#else
    (void)kind;
    for (int bits = 0; bits < 32; bits += 8)
        sum += (w << (24 - bits) >> 24) * (x << (24 - bits) >> 24);
    return sum;
#endif
}

/* Σ q·x of one group for some rows of x; of the weights so many outputs lie `across`. */
ALWAYS void sum_numbers(const uint8_t *q, int across, const uint8_t *x, size_t stride, int kind,
                        int rows, vint *found)
{
    int bytes = kind == INT8 ? GROUP : GROUP / 2;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        found[r] = (vint){0};
#pragma GCC unroll 8
    for (int k = 0; k < bytes; k += 4, q += 4 * across) {
        vint w = load_ints(q), first = kind == INT8 ? weights_of(w, kind) : w & 0x0f0f0f0f;
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            found[r] = add_products(found[r], first, splat_at(x + r * stride + k), kind);
        if (kind == INT8)
            continue;
        vint second = (vint)((vuint)w >> 4) & 0x0f0f0f0f;
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            found[r] = add_products(found[r], second, splat_at(x + r * stride + k + 16), kind);
    }
}

/* What the sum of a group stands for: Σ (q - 128)·x, Σ (q - 8)·x or Σ q·x. */
ALWAYS vint whole(vint sum, const int32_t *sum_of_x, int kind)
{
#if !defined(__AVX512VNNI__) && defined(__AVX512BW__)
    if (kind != INT8)
        sum = (vint)_mm512_madd_epi16((__m512i)sum, _mm512_set1_epi16(1));
#elif !defined(__AVXVNNI__) && VECTOR == 32
    if (kind != INT8)
        sum = (vint)_mm256_madd_epi16((__m256i)sum, _mm256_set1_epi16(1));
#endif
    if (kind == INT8 && !LOWERED)
        return sum - (splat_at(sum_of_x) << 7);
    return kind == INT4 ? sum - (splat_at(sum_of_x) << 3) : sum;
}

#endif
