/* Numbers that are the upper half of a float, and their products. */

#ifndef BFLOAT16_H
#define BFLOAT16_H

#include "vectors.h"

/* Whether the processor multiplies two bfloat16 neighbours at once, and adds them as `add_pair` says; a
 * build is made without where its answers are wrong with it. */
#if defined(__AVX512BF16__) && !defined(WITHOUT_PAIRS)
#define PAIRS 1
#else
#define PAIRS 0
#endif

ALWAYS vfloat widened(vhalf h)
{
    return (vfloat)(__builtin_convertvector(h, vuint) << 16);
}

/* To the nearest, ties to even; the NaN that arithmetic makes stays one. */
ALWAYS vhalf narrowed(vfloat x)
{
    vuint bits = (vuint)x;
    return __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, vhalf);
}

ALWAYS uint16_t narrowed_one(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

ALWAYS void store_half(uint16_t *to, vhalf v)
{
    memcpy(to, &v, sizeof v);
}

/* What a product of bfloat16 takes for zero, of weights and of rows: numbers below 2^-56. So all that it
 * multiplies is a multiple of 2^-63, and every sum one of 2^-126, the smallest number that is not
 * subnormal: those, which some processors take for zero, some not, and some by a switch, never occur. */
#define SMALLEST 0x1p-56f

/* A number of a row as such a product reads it. */
ALWAYS vhalf factor(vfloat x)
{
    return narrowed(choose(absolute(x) < SMALLEST, (vfloat){0}, x));
}

#if PAIRS
/* Two bfloat16 neighbours in every lane: fused(even, even, fused(odd, odd, sum)). */
ALWAYS vfloat add_pair(vfloat sum, vint w, vint x)
{
    return (vfloat)_mm512_dpbf16_ps((__m512)sum, (__m512bh)w, (__m512bh)x);
}
#endif

#endif
