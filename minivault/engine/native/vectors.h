/* Numbers side by side, as many as the processor takes at once. What is done to one of them depends on
 * it alone, and what adds a row up does so in sixteen sums by turns, however many that is: every
 * processor comes to the same bits. Nothing here asks a library but for what IEEE 754 fixes. */

#ifndef VECTORS_H
#define VECTORS_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define VECTOR 64 /* bytes: of more than a register GCC makes memory */
#elif defined(__AVX2__) && defined(__FMA__)
#define VECTOR 32
#else
#define VECTOR 16
#endif

enum { LANES = VECTOR / 4, DOUBLES = VECTOR / 8 };

#define ALWAYS static inline __attribute__((always_inline))

typedef float vfloat __attribute__((vector_size(VECTOR)));
typedef int32_t vint __attribute__((vector_size(VECTOR)));
typedef uint32_t vuint __attribute__((vector_size(VECTOR)));
typedef double vdouble __attribute__((vector_size(VECTOR)));
typedef int64_t vlong __attribute__((vector_size(VECTOR)));
typedef uint16_t vhalf __attribute__((vector_size(VECTOR / 2)));

ALWAYS vfloat load(const float *from)
{
    vfloat v;
    memcpy(&v, from, sizeof v);
    return v;
}

ALWAYS vint load_ints(const void *from)
{
    vint v;
    memcpy(&v, from, sizeof v);
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

/* Four bytes in every lane. */
ALWAYS vint splat_at(const void *from)
{
    int32_t x;
    memcpy(&x, from, sizeof x);
    return splat_int(x);
}

/* a × b + c, rounded once; the build lets no compiler choose that. A processor that cannot is told by
 * the known answers. */
ALWAYS vfloat fused(vfloat a, vfloat b, vfloat c)
{
#if defined(__AVX512F__)
    return (vfloat)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
    return (vfloat)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__FMA__)
    return (vfloat)_mm_fmadd_ps((__m128)a, (__m128)b, (__m128)c);
#elif defined(__aarch64__)
    return (vfloat)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
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

/* Each lane's number goes to the lane that is `apart` from it, a power of two. */
ALWAYS vfloat swapped(vfloat v, int apart)
{
    vfloat found = {0}; /* all of it is set below; GCC does not see that of short vectors */
    for (int i = 0; i < LANES; i++)
        found[i] = v[i ^ apart];
    return found;
}

ALWAYS float largest_of(vfloat v)
{
#pragma GCC unroll 4
    for (int apart = LANES / 2; apart; apart /= 2)
        v = larger(v, swapped(v, apart));
    return v[0];
}

ALWAYS int any_of(vint mask)
{
    uint64_t parts[DOUBLES], any = 0;
    memcpy(parts, &mask, sizeof parts);
    for (int i = 0; i < DOUBLES; i++)
        any |= parts[i];
    return any != 0;
}

#define ROUNDER 12582912.0f /* 1.5 × 2^23: no fraction has room beside it */
#define DOUBLE_ROUNDER 6755399441055744.0 /* 1.5 × 2^52 */

/* e^x: x = n ln 2 + r, a polynomial for e^r, n into the exponent. For x <= 88; 0 below -87. */
ALWAYS vfloat exponential(vfloat x)
{
    vint tiny = x < -87.0f;
    x = choose(tiny, splat(-87.0f), x);
    vfloat shifted = x * 1.44269504088896341f + ROUNDER; /* n in its lowest bits */
    vfloat n = shifted - ROUNDER;
    vfloat r = fused(n, splat(-0.693359375f), x);
    r = fused(n, splat(2.12194440e-4f), r);
    vfloat p = splat(1.9875691500e-4f);
    p = fused(p, r, splat(1.3981999507e-3f));
    p = fused(p, r, splat(8.3334519073e-3f));
    p = fused(p, r, splat(4.1665795894e-2f));
    p = fused(p, r, splat(1.6666665459e-1f));
    p = fused(p, r, splat(5.0000001201e-1f));
    p = fused(p, r * r, r) + 1.0f;
    vuint power = ((vuint)shifted + 127) << 23;
    return choose(tiny, (vfloat){0}, p * (vfloat)power);
}

/* The same for doubles, for x <= 0: 0 below -708. Without a fused sum, so that every processor
 * comes to the same bits. */
ALWAYS vdouble exponential_double(vdouble x)
{
    vlong tiny = x < -708.0;
    x = (vdouble)(~tiny & (vlong)x);
    vdouble shifted = x * 1.4426950408889634 + DOUBLE_ROUNDER;
    vdouble n = shifted - DOUBLE_ROUNDER;
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
    vlong power = ((vlong)shifted + 1023) << 52;
    return (vdouble)(~tiny & (vlong)(p * (vdouble)power));
}

/* The numbers of a row go to these by turns: number i to sum i mod 16. */
enum { TURNS = 16 };

typedef struct {
    vfloat part[TURNS / LANES];
} turns;

/* Half against half, down to one number. */
ALWAYS float sum_of(turns sums)
{
    float each[TURNS];
    memcpy(each, &sums, sizeof each);
    for (int half = TURNS / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            each[i] += each[i + half];
    return each[0];
}

ALWAYS void add_turn(turns *sums, const float *x)
{
    for (int i = 0; i < TURNS / LANES; i++)
        sums->part[i] += load(x + i * LANES);
}

ALWAYS void add_squares(turns *sums, const float *x, float mean)
{
    for (int i = 0; i < TURNS / LANES; i++) {
        vfloat off = load(x + i * LANES) - mean;
        sums->part[i] = fused(off, off, sums->part[i]);
    }
}

/* The sum of a row. */
ALWAYS float row_sum(const float *x, int count)
{
    turns sums = {0};
    int i = 0;
    for (; i + TURNS <= count; i += TURNS)
        add_turn(&sums, x + i);
    float rest[TURNS] = {0};
    memcpy(rest, x + i, (count - i) * sizeof *x);
    add_turn(&sums, rest);
    return sum_of(sums);
}

/* The sum of a row's squares around `mean`. */
ALWAYS float row_squares(const float *x, float mean, int count)
{
    turns sums = {0};
    int i = 0;
    for (; i + TURNS <= count; i += TURNS)
        add_squares(&sums, x + i, mean);
    float rest[TURNS];
    for (int j = 0; j < TURNS; j++)
        rest[j] = i + j < count ? x[i + j] : mean;
    add_squares(&sums, rest, mean);
    return sum_of(sums);
}

/* float16, of finite numbers. */
ALWAYS vfloat from_float16(const uint16_t *from)
{
#if defined(__AVX512F__)
    return (vfloat)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
#elif VECTOR == 32 && defined(__F16C__)
    return (vfloat)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
#elif defined(__aarch64__)
    return (vfloat)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)));
#else
    vhalf h;
    memcpy(&h, from, sizeof h);
    vuint bits = __builtin_convertvector(h, vuint);
    vfloat size = (vfloat)((bits & 0x7fff) << 13) * 0x1p112f; /* the exponents count from elsewhere */
    return (vfloat)((vuint)size | (bits & 0x8000) << 16);
#endif
}

#endif
