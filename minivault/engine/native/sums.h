/* The sums of a tile, sixteen outputs at once. INT8 comes as whole numbers, to be scaled. */

#ifndef SUMS_H
#define SUMS_H

#include "linear.h"
#include "vectors.h"

ALWAYS void sum_float32(const struct linear *l, int panel, const struct operand *x, int row,
                        int rows, pair *sums)
{
    const float *w = (const float *)l->weight + (size_t)panel * l->inputs * PANEL;
    const float *in = (const float *)x->rows + (size_t)row * x->stride;
    for (int k = 0; k < l->inputs; k++, w += PANEL) {
        vfloat low = load(w), high = load(w + LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            vfloat each = splat(in[(size_t)r * x->stride + k]);
            sums[r].low = fma16(low, each, sums[r].low);
            sums[r].high = fma16(high, each, sums[r].high);
        }
    }
}

/* Adds the products of two neighbouring inputs. */
ALWAYS vfloat dot_bfloat16(vfloat sum, vint w, vint x)
{
#ifdef __AVX512BF16__
    return (vfloat)_mm512_dpbf16_ps((__m512)sum, (__m512bh)w, (__m512bh)x);
#else
    sum = fma16((vfloat)(w << 16), (vfloat)(x << 16), sum);
    return fma16((vfloat)(w & (int32_t)0xffff0000), (vfloat)(x & (int32_t)0xffff0000), sum);
#endif
}

ALWAYS vint load_ints(const void *from)
{
    vint v;
    memcpy(&v, from, sizeof v);
    return v;
}

ALWAYS vint splat_at(const void *from)
{
    int32_t x;
    memcpy(&x, from, sizeof x);
    return splat_int(x);
}

ALWAYS void sum_bfloat16(const struct linear *l, int panel, const struct operand *x, int row,
                         int rows, pair *sums)
{
    const uint16_t *w = (const uint16_t *)l->weight + (size_t)panel * l->inputs * PANEL;
    const uint16_t *in = (const uint16_t *)x->rows + (size_t)row * x->stride;
    for (int k = 0; k < l->inputs; k += 2, w += 2 * PANEL) {
        vint low = load_ints(w), high = load_ints(w + 2 * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            vint each = splat_at(in + (size_t)r * x->stride + k);
            sums[r].low = dot_bfloat16(sums[r].low, low, each);
            sums[r].high = dot_bfloat16(sums[r].high, high, each);
        }
    }
}

/* Adds the products of four neighbouring inputs: whole numbers, so any order is exact. */
ALWAYS vint dot_int8(vint sum, vint w, vint x)
{
#ifdef __AVX512VNNI__
    return (vint)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w);
#else
    for (int bits = 0; bits < 32; bits += 8)
        sum += (w << (24 - bits) >> 24) * (x >> bits & 0xff);
    return sum;
#endif
}

ALWAYS void sum_int8(const struct linear *l, int panel, const struct operand *x, int row, int rows,
                     pair *sums)
{
    const int8_t *w = (const int8_t *)l->weight + (size_t)panel * l->inputs * PANEL;
    const uint8_t *in = (const uint8_t *)x->rows + (size_t)row * x->stride;
    vint low_sums[TILE], high_sums[TILE];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        low_sums[r] = load_ints(l->offset + panel * PANEL);
        high_sums[r] = load_ints(l->offset + panel * PANEL + LANES);
    }
    for (int k = 0; k < l->inputs; k += 4, w += 4 * PANEL) {
        vint low = load_ints(w), high = load_ints(w + 4 * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            vint each = splat_at(in + (size_t)r * x->stride + k);
            low_sums[r] = dot_int8(low_sums[r], low, each);
            high_sums[r] = dot_int8(high_sums[r], high, each);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        sums[r].low = (vfloat)low_sums[r];
        sums[r].high = (vfloat)high_sums[r];
    }
}

ALWAYS void sum_tile(const struct linear *l, int kind, int panel, const struct operand *x, int row,
                     int rows, pair *sums)
{
    if (kind == FLOAT32)
        sum_float32(l, panel, x, row, rows, sums);
    else if (kind == BFLOAT16)
        sum_bfloat16(l, panel, x, row, rows, sums);
    else
        sum_int8(l, panel, x, row, rows, sums);
}

#endif
