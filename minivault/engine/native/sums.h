/* The sums of some rows by some vectors of a panel, beginning with vector `from`. How many of both go
 * together is what a processor's registers can hold; it is spelled out so that sums stay in them. */

#ifndef SUMS_H
#define SUMS_H

#include "bfloat16.h"
#include "bytes.h"
#include "linear.h"
#include "vectors.h"

#if VECTOR == 64
#define TILE 8 /* rows that share one reading of a panel */
enum { FEW = 8, TOGETHER_FOR_FEW = 2, TOGETHER = 2, IN_ORDER = 4 };
#elif defined(__aarch64__)
#define TILE 4
enum { FEW = 2, TOGETHER_FOR_FEW = 8, TOGETHER = 4, IN_ORDER = 1 };
#else
#define TILE 4
enum { FEW = 2, TOGETHER_FOR_FEW = 4, TOGETHER = 2, IN_ORDER = 1 };
#endif

enum {
    VECTORS = PANEL / LANES,
    MOST = TOGETHER_FOR_FEW,
    HALF = PANEL / 2,
    FETCHED = 8 << 10, /* bytes before they are multiplied, weights are asked for */
};

/* The compiler keeps no number of the rows for the next vector: it would have no register for it. */
#define READ_AGAIN __asm__ volatile("" ::: "memory")

/* Weights and rows as a tile reads them. */
struct reading {
    const uint8_t *weights; /* of the panel */
    const uint8_t *rows;
    const float *scale;
    const int32_t *sums;
    int inputs, stride;
};

/* Weights that are to be multiplied with several rows are asked for before they are, so that they come
 * from memory meanwhile. A few rows wait for their weights all the time, and what a processor fetches by
 * itself is the best for these. */
ALWAYS void fetch(const void *weights, int bytes, int from, int rows)
{
    if (from == 0 && rows > IN_ORDER)
        for (int line = 0; line < bytes; line += 64)
            __builtin_prefetch((const uint8_t *)weights + FETCHED + line, 0, 2);
}

ALWAYS void sum_float32(const struct reading *t, int from, int together, int rows,
                        vfloat sums[][MOST])
{
    const float *w = (const float *)t->weights + from * LANES, *x = (const float *)t->rows;
    for (int k = 0; k < t->inputs; k++, w += PANEL) {
        fetch(w, PANEL * sizeof *w, from, rows);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            vfloat each = splat(x[(size_t)r * t->stride + k]);
#pragma GCC unroll 8
            for (int v = 0; v < together; v++)
                sums[r][v] = fused(load(w + v * LANES), each, sums[r][v]);
        }
    }
}

#if PAIRS
/* Rows are bfloat16 as well, and two neighbours are multiplied at once. */
ALWAYS void sum_bfloat16(const struct reading *t, int from, int together, int rows,
                         vfloat sums[][MOST])
{
    const uint16_t *w = (const uint16_t *)t->weights + from * 2 * LANES;
    const uint16_t *x = (const uint16_t *)t->rows;
    for (int k = 0; k < t->inputs; k += 2, w += 2 * PANEL) {
        fetch(w, 2 * PANEL * sizeof *w, from, rows);
#pragma GCC unroll 8
        for (int v = 0; v < together; v++) {
            vint both = load_ints(w + v * 2 * LANES);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++)
                sums[r][v] = add_pair(sums[r][v], both, splat_at(x + (size_t)r * t->stride + k));
        }
    }
}
#else
/* Rows are floats that were rounded to bfloat16. The second of two neighbours is added first, as the
 * product of those processors does that have one. */
ALWAYS void sum_bfloat16(const struct reading *t, int from, int together, int rows,
                         vfloat sums[][MOST])
{
    const uint16_t *w = (const uint16_t *)t->weights + from * 2 * LANES;
    for (int k = 0; k < t->inputs; k += 2, w += 2 * PANEL) {
        vfloat first[MOST], second[MOST];
        fetch(w, 2 * PANEL * sizeof *w, from, rows);
#pragma GCC unroll 8
        for (int v = 0; v < together; v++) {
            vint both = load_ints(w + v * 2 * LANES);
            first[v] = (vfloat)(both << 16), second[v] = (vfloat)(both & (int32_t)0xffff0000);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const float *each = (const float *)t->rows + (size_t)r * t->stride + k;
            vfloat one = splat(each[0]), other = splat(each[1]);
#pragma GCC unroll 8
            for (int v = 0; v < together; v++)
                sums[r][v] = fused(second[v], other, sums[r][v]);
#pragma GCC unroll 8
            for (int v = 0; v < together; v++)
                sums[r][v] = fused(first[v], one, sums[r][v]);
        }
    }
}
#endif

/* Bytes of a group. */
ALWAYS int group_size(int kind)
{
    return PANEL * (kind == INT8 ? 2 + GROUP : kind == INT4 ? 2 + GROUP / 2 : 4 + GROUP / 2);
}

ALWAYS void sum_groups(const struct reading *t, int kind, int from, int together, int rows,
                       vfloat sums[][MOST])
{
    const uint8_t *group = t->weights;
    size_t groups = (size_t)t->stride / GROUP;
    int scales = kind == INT4_LEAST ? 4 : 2; /* bytes of them, for each output */
    for (int g = 0; g < t->inputs / GROUP; g++, group += group_size(kind)) {
        fetch(group, group_size(kind), from, rows);
#pragma GCC unroll 8
        for (int v = 0; v < together; v++) {
            vint found[TILE];
            if (rows > 3)
                READ_AGAIN;
            int output = (from + v) * LANES;
            sum_numbers(group + PANEL * scales + 4 * output, PANEL, t->rows + (size_t)g * GROUP,
                        t->stride, kind, rows, found);
            const uint16_t *d = (const uint16_t *)group + output;
            vfloat scale = from_float16(d);
            vfloat least = kind == INT4_LEAST ? from_float16(d + PANEL) : scale;
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                const int32_t *sum_of_x = t->sums + r * groups + g;
                float of_x = t->scale[r * groups + g];
                vfloat number
                    = __builtin_convertvector(whole(found[r], sum_of_x, kind), vfloat);
                sums[r][v] = fused(number, scale * of_x, sums[r][v]);
                if (kind == INT4_LEAST)
                    sums[r][v] = fused(least, splat(of_x * (float)*sum_of_x), sums[r][v]);
            }
        }
    }
}

/* The same of bytes for a few rows, which wait for their weights: these are read in the order in which
 * they lie, as what the processor fetches ahead goes by that. */
ALWAYS void sum_in_order(const struct reading *t, int from, int together, int rows,
                         vfloat sums[][MOST])
{
    const uint8_t *group = t->weights;
    size_t groups = (size_t)t->stride / GROUP;
    for (int g = 0; g < t->inputs / GROUP; g++, group += group_size(INT8)) {
        const uint8_t *q = group + PANEL * 2 + 4 * from * LANES;
        const uint8_t *x = t->rows + (size_t)g * GROUP;
        vint found[MOST][TILE] = {0};
#pragma GCC unroll 8
        for (int k = 0; k < GROUP; k += 4, q += 4 * PANEL)
#pragma GCC unroll 8
            for (int v = 0; v < together; v++) {
                vint w = weights_of(load_ints(q + 4 * v * LANES), INT8);
#pragma GCC unroll 8
                for (int r = 0; r < rows; r++)
                    found[v][r]
                        = add_products(found[v][r], w, splat_at(x + r * t->stride + k), INT8);
            }
#pragma GCC unroll 8
        for (int v = 0; v < together; v++) {
            vfloat scale = from_float16((const uint16_t *)group + (from + v) * LANES);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                vint sum = whole(found[v][r], t->sums + r * groups + g, INT8);
                vfloat number = __builtin_convertvector(sum, vfloat);
                sums[r][v] = fused(number, scale * t->scale[r * groups + g], sums[r][v]);
            }
        }
    }
}

ALWAYS void sum_some(const struct reading *t, int kind, int from, int together, int rows,
                     float out[][PANEL])
{
    vfloat sums[TILE][MOST] = {0};
    if (kind == FLOAT32)
        sum_float32(t, from, together, rows, sums);
    else if (kind == BFLOAT16)
        sum_bfloat16(t, from, together, rows, sums);
    else if (kind == INT8 && rows <= IN_ORDER)
        sum_in_order(t, from, together, rows, sums);
    else
        sum_groups(t, kind, from, together, rows, sums);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < together; v++)
            store(&out[r][(from + v) * LANES], sums[r][v]);
}

/* All sums of at most TILE rows and one panel. */
ALWAYS void sum_panel(const struct reading *t, int kind, int rows, float out[][PANEL])
{
    if (rows <= FEW)
        for (int from = 0; from < VECTORS; from += TOGETHER_FOR_FEW)
            sum_some(t, kind, from, TOGETHER_FOR_FEW, rows, out);
    else
        for (int from = 0; from < VECTORS; from += TOGETHER)
            sum_some(t, kind, from, TOGETHER, rows, out);
}

#endif
