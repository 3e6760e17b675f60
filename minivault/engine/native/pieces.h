/* The sums of a tile in vectors of 32 bytes, for processors with AVX2 and no AVX-512: there the
 * compiler keeps vectors of 64 bytes in memory. A lane's sum is made in the same order. */

#ifndef PIECES_H
#define PIECES_H

#include <immintrin.h>

#include "linear.h"
#include "vectors.h"

enum { PIECE = 8, PIECES = PANEL / PIECE };

/* Adds what `rows` rows make of step `k` of the sum to eight outputs each. */
ALWAYS void add_step(int kind, const uint8_t *w, const uint8_t *in, size_t stride, int rows,
                     int pieces, __m256 sums[4][PIECES])
{
    const __m256i upper = _mm256_set1_epi32((int32_t)0xffff0000), byte = _mm256_set1_epi16(0xff);
    __m256i each[PIECES];
#pragma GCC unroll 4
    for (int p = 0; p < pieces; p++)
        each[p] = _mm256_loadu_si256((const __m256i *)(w + p * sizeof(__m256)));
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        int32_t bits;
        memcpy(&bits, in + r * stride, sizeof bits);
        __m256i x = _mm256_set1_epi32(bits);
#pragma GCC unroll 4
        for (int p = 0; p < pieces; p++) {
            __m256 sum = sums[r][p];
            if (kind == FLOAT32) {
                sum = _mm256_fmadd_ps((__m256)each[p], (__m256)x, sum);
            } else if (kind == BFLOAT16) {
                sum = _mm256_fmadd_ps((__m256)_mm256_slli_epi32(each[p], 16),
                                      (__m256)_mm256_slli_epi32(x, 16), sum);
                sum = _mm256_fmadd_ps((__m256)_mm256_and_si256(each[p], upper),
                                      (__m256)_mm256_and_si256(x, upper), sum);
            } else { /* pairs of bytes, widened to 16 bits */
                __m256i even = _mm256_madd_epi16(
                    _mm256_srai_epi16(_mm256_slli_epi16(each[p], 8), 8), _mm256_and_si256(x, byte));
                __m256i odd
                    = _mm256_madd_epi16(_mm256_srai_epi16(each[p], 8), _mm256_srli_epi16(x, 8));
                sum = (__m256)_mm256_add_epi32((__m256i)sum, _mm256_add_epi32(even, odd));
            }
            sums[r][p] = sum;
        }
    }
}

/* `pieces` of a panel from `piece` on, for at most four rows from `row` on. */
ALWAYS void sum_pieces(const struct linear *l, int kind, int panel, const struct operand *x, int row,
                       int rows, int piece, int pieces, float out[][PANEL])
{
    int width = kind == FLOAT32 ? 4 : kind == BFLOAT16 ? 2 : 1, together = 4 / width;
    const uint8_t *w = (const uint8_t *)l->weight + (size_t)panel * l->inputs * PANEL * width
                       + piece * sizeof(__m256);
    const uint8_t *in = (const uint8_t *)x->rows + (size_t)row * x->stride * width;
    __m256 sums[4][PIECES];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int p = 0; p < pieces; p++)
            sums[r][p] = kind == INT8 ? _mm256_loadu_ps((const float *)l->offset + panel * PANEL
                                                        + (piece + p) * PIECE)
                                      : _mm256_setzero_ps();
    for (int k = 0; k < l->inputs; k += together, w += 4 * PANEL, in += 4)
        add_step(kind, w, in, (size_t)x->stride * width, rows, pieces, sums);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int p = 0; p < pieces; p++)
            _mm256_storeu_ps(&out[r][(piece + p) * PIECE], sums[r][p]);
}

/* One or two rows take a whole panel at once, more take its halves: what registers can hold. */
ALWAYS void sum_in_pieces(const struct linear *l, int kind, int panel, const struct operand *x,
                          int row, int rows, float out[][PANEL])
{
    if (rows <= 2) {
        sum_pieces(l, kind, panel, x, row, rows, 0, PIECES, out);
    } else {
        for (int half = 0; half < PIECES; half += PIECES / 2) {
            sum_pieces(l, kind, panel, x, row, rows < 4 ? rows : 4, half, PIECES / 2, out);
            if (rows > 4)
                sum_pieces(l, kind, panel, x, row + 4, rows - 4, half, PIECES / 2, out + 4);
        }
    }
}

ALWAYS void sum_tile(const struct linear *l, int kind, int panel, const struct operand *x, int row,
                     int rows, pair *sums)
{
    float out[TILE][PANEL];
    sum_in_pieces(l, kind, panel, x, row, rows, out);
    memcpy(sums, out, rows * sizeof *sums);
}

#endif
