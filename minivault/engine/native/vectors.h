/* Sixteen numbers at once. The compiler cuts them to what the processor has, so that every
 * processor adds in the same order. Nothing here depends on what lies beside a number. */

#ifndef VECTORS_H
#define VECTORS_H

#include <stdint.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#define LANES 16
#define DOUBLES 8
#define ALWAYS static inline __attribute__((always_inline))

typedef float vfloat __attribute__((vector_size(64)));
typedef int32_t vint __attribute__((vector_size(64)));
typedef uint32_t vuint __attribute__((vector_size(64)));
typedef double vdouble __attribute__((vector_size(64)));
typedef int64_t vlong __attribute__((vector_size(64)));
typedef uint16_t vhalf __attribute__((vector_size(32)));

ALWAYS vfloat load(const float *from)
{
    vfloat v;
    memcpy(&v, from, sizeof v);
    return v;
}

ALWAYS vfloat load_some(const float *from, int count)
{
    vfloat v = {0};
    memcpy(&v, from, count * sizeof *from);
    return v;
}

ALWAYS void store(float *to, vfloat v)
{
    memcpy(to, &v, sizeof v);
}

ALWAYS vfloat splat(float x)
{
    return x - (vfloat){0};
}

ALWAYS vint splat_int(int32_t x)
{
    return x - (vint){0};
}

/* a × b + c, rounded once where the processor can; the build lets no compiler choose that. */
ALWAYS vfloat fma16(vfloat a, vfloat b, vfloat c)
{
#if defined(__AVX512F__)
    return (vfloat)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
    __m256 x[2], y[2], z[2];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    memcpy(z, &c, sizeof z);
    for (int i = 0; i < 2; i++)
        z[i] = _mm256_fmadd_ps(x[i], y[i], z[i]);
    memcpy(&c, z, sizeof z);
    return c;
#elif defined(__FMA__) || defined(__aarch64__)
    vfloat y;
    for (int i = 0; i < LANES; i++)
        y[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return y;
#else
    return a * b + c;
#endif
}

ALWAYS vfloat choose(vint mask, vfloat yes, vfloat no)
{
    return (vfloat)((mask & (vint)yes) | (~mask & (vint)no));
}

ALWAYS vfloat larger(vfloat a, vfloat b)
{
    return choose(a > b, a, b);
}

ALWAYS vfloat absolute(vfloat x)
{
    return (vfloat)((vint)x & 0x7fffffff);
}

/* Half against half, down to one number. */
ALWAYS float sum_of(vfloat v)
{
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            v[i] += v[i + half];
    return v[0];
}

ALWAYS float largest_of(vfloat v)
{
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            v[i] = v[i] > v[i + half] ? v[i] : v[i + half];
    return v[0];
}

ALWAYS int any_of(vint mask)
{
    uint64_t parts[8], any = 0;
    memcpy(parts, &mask, sizeof parts);
    for (int i = 0; i < 8; i++)
        any |= parts[i];
    return any != 0;
}

/* The nearest whole numbers, ties to even, for |x| < 2^22. */
ALWAYS vfloat rounded(vfloat x)
{
    const float magic = 12582912.0f; /* 1.5 × 2^23: no room for a fraction is left beside it */
    return (x + magic) - magic;
}

/* e^x: x = n ln 2 + r, a polynomial for e^r, n into the exponent. For x <= 88; 0 below -87. */
ALWAYS vfloat exponential(vfloat x)
{
    vint tiny = x < -87.0f;
    x = choose(tiny, splat(-87.0f), x);
    vfloat n = rounded(x * 1.44269504088896341f);
    vfloat r = fma16(n, splat(-0.693359375f), x);
    r = fma16(n, splat(2.12194440e-4f), r);
    vfloat p = splat(1.9875691500e-4f);
    p = fma16(p, r, splat(1.3981999507e-3f));
    p = fma16(p, r, splat(8.3334519073e-3f));
    p = fma16(p, r, splat(4.1665795894e-2f));
    p = fma16(p, r, splat(1.6666665459e-1f));
    p = fma16(p, r, splat(5.0000001201e-1f));
    p = fma16(p, r * r, r) + 1.0f;
    vint power = (__builtin_convertvector(n, vint) + 127) << 23;
    return choose(tiny, (vfloat){0}, p * (vfloat)power);
}

/* The same for doubles, for x <= 0: 0 below -708. Without a fused sum, so that every processor
 * comes to the same bits. */
ALWAYS vdouble exponential_double(vdouble x)
{
    const double magic = 6755399441055744.0; /* 1.5 × 2^52 */
    vlong tiny = x < -708.0;
    x = (vdouble)(~tiny & (vlong)x);
    vdouble n = (x * 1.4426950408889634 + magic) - magic;
    vdouble r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
    vdouble p = r * (1.0 / 6227020800) + 1.0 / 479001600; /* Taylor's, to r^13 */
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = (p * r + 1.0) * r + 1.0;
    vlong power = (__builtin_convertvector(n, vlong) + 1023) << 52;
    return (vdouble)(~tiny & (vlong)(p * (vdouble)power));
}

/* bfloat16 is the upper half of a float. */
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

ALWAYS vhalf load_half(const uint16_t *from)
{
    vhalf v;
    memcpy(&v, from, sizeof v);
    return v;
}

ALWAYS void store_half(uint16_t *to, vhalf v)
{
    memcpy(to, &v, sizeof v);
}

#endif
