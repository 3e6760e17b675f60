/* Keys as the cache holds them, and what queries score beside them. */

#ifndef KEYS_H
#define KEYS_H

#include "attention.h"
#include "bytes.h"
#include "linear.h"
#include "vectors.h"

enum {
    PARTS = BLOCK / LANES,        /* vectors of a block's positions */
    SLICE = VECTOR == 64 ? 8 : 4, /* queries at a time */
    REGISTERS = VECTOR == 32 ? 16 : 32,
    TOGETHER = 4, /* blocks, or vectors of values, at most */
    AHEAD = 2,    /* blocks that are fetched before they are needed: each lies in another page */
    SCALES = BLOCK * sizeof(float), /* bytes of a group's scales, which come before its numbers */
    KEY_GROUP = SCALES + BLOCK * GROUP,
};

struct query {
    const float *numbers;        /* (head_width) */
    const struct operand *bytes; /* what they are beside keys that are bytes, */
    int row;                     /* this row of it */
    float *out;                  /* (head_width) */
    float *scores;               /* (blocks × 16), then weights */
    float *sums;                 /* (width) of weighted values */
    int first, last;             /* positions that it attends to */
};

ALWAYS int key_groups(const struct cache *c)
{
    return (c->width + GROUP - 1) / GROUP;
}

ALWAYS size_t block_size(const struct cache *c)
{
    return c->keys + (size_t)BLOCK * c->width;
}

/* Numbers from a head's block to its next. */
ALWAYS size_t next_block(const struct cache *c)
{
    return (size_t)c->layers * c->heads * block_size(c);
}

/* How many go together, of which each query has `each` sums, and reads twice as many vectors. */
ALWAYS int together(int count, int each)
{
    int most = (REGISTERS - 2) / (each * (count + 2));
    return most >= TOGETHER ? TOGETHER : most >= 2 ? 2 : 1;
}

/* One vector of each of two neighbours: `at` is where their numbers begin, `apart` what floats of the
 * second come after those of the first. The same of a block to come is fetched. */
ALWAYS void load_two(const struct cache *c, size_t at, int lane, size_t apart, int kind,
                     vfloat *first, vfloat *second)
{
    size_t later = AHEAD * next_block(c);
    if (kind != FLOAT32) {
        const uint16_t *from = (const uint16_t *)c->memory + at + 2 * lane;
        __builtin_prefetch(from + later);
        vint both = load_ints(from);
        *first = (vfloat)(both << 16);
        *second = (vfloat)(both & (int32_t)0xffff0000);
    } else {
        const float *from = (const float *)c->memory + at + lane;
        __builtin_prefetch(from + later);
        __builtin_prefetch(from + apart + later);
        *first = load(from);
        *second = load(from + apart);
    }
}

/* --- bytes ------------------------------------------------------------------------------- */

/* Sums of lanes that are `apart` from each other, and their differences. */
ALWAYS vfloat crossed(vfloat v, int apart)
{
    vint sign = {0}; /* all of it is set below */
    for (int i = 0; i < LANES; i++)
        sign[i] = i & apart ? INT32_MIN : 0;
    return swapped(v, apart) + (vfloat)((vint)v ^ sign);
}

/* The Walsh-Hadamard transform of a group: each number becomes a sum of all, with its own signs. Products
 * of two such groups are 32 times what they were, but no number is much larger than the others, so that
 * one scale fits them all (arXiv:2404.00456). */
ALWAYS void transform(float *to, const float *from)
{
    vfloat v[GROUP / LANES];
#pragma GCC unroll 8
    for (int i = 0; i < GROUP / LANES; i++)
        v[i] = load(from + i * LANES);
#pragma GCC unroll 3
    for (int apart = GROUP / LANES / 2; apart; apart /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < GROUP / LANES; i++)
            if (!(i & apart)) {
                vfloat one = v[i], other = v[i + apart];
                v[i] = one + other;
                v[i + apart] = one - other;
            }
#pragma GCC unroll 8
    for (int i = 0; i < GROUP / LANES; i++) {
#pragma GCC unroll 4
        for (int apart = LANES / 2; apart; apart /= 2)
            v[i] = crossed(v[i], apart);
        store(to + i * LANES, v[i]);
    }
}

/* A query, or a key, becomes a row of whole numbers; their sums are those of keys that are 128 too high. */
static void set_bytes(const struct operand *x, int row, const float *from, int count)
{
    float numbers[x->stride];
    int i = 0;
    for (; i + GROUP <= count; i += GROUP)
        transform(numbers + i, from + i);
    if (i < count) {
        float rest[GROUP] = {0};
        memcpy(rest, from + i, (count - i) * sizeof *rest);
        transform(numbers + i, rest);
    }
    operand_set(x, INT8, row, numbers, x->stride);
    int groups = x->stride / GROUP;
    for (int g = 0; g < groups; g++)
        x->sums[row * groups + g] *= 128;
}

/* `block` is where its keys begin, `at` the position among its sixteen. */
static void keep_bytes(const struct cache *c, uint8_t *block, int at, const float *key, int count)
{
    int groups = key_groups(c);
    uint8_t bytes[groups * GROUP];
    float scales[groups];
    int32_t sums[groups];
    struct operand x = {bytes, scales, sums, NULL, groups * GROUP};
    set_bytes(&x, 0, key, count);
    for (int g = 0; g < groups; g++, block += KEY_GROUP) {
        float scale = scales[g] / GROUP;
        memcpy(block + at * sizeof scale, &scale, sizeof scale);
        for (int i = 0; i < GROUP; i++)
            block[SCALES + i / 4 * 4 * BLOCK + 4 * at + i % 4] = bytes[g * GROUP + i] ^ 0x80;
    }
}

/* --- scores ------------------------------------------------------------------------------ */

/* What a query does not attend to weighs nothing. */
ALWAYS vfloat seen(const struct query *query, int from, vfloat scores)
{
    vint position = {0}; /* all of it is set below; GCC does not see that of short vectors */
    for (int i = 0; i < LANES; i++)
        position[i] = from + i;
    vint inside = (position >= query->first) & (position <= query->last);
    return choose(inside, scores, splat(-__builtin_inff()));
}

ALWAYS void sum_floats(const struct attention *a, size_t keys, const struct query *queries,
                       int count, int blocks, int kind, vfloat sums[][PARTS][SLICE])
{
    const struct cache *c = a->cache;
    for (int i = 0; i < a->head_width; i += 2) {
        vfloat first[TOGETHER][PARTS], second[TOGETHER][PARTS];
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++)
#pragma GCC unroll 4
            for (int p = 0; p < PARTS; p++) {
                size_t at = keys + b * next_block(c) + (size_t)i * BLOCK;
                load_two(c, at, p * LANES, BLOCK, kind, &first[b][p], &second[b][p]);
            }
#pragma GCC unroll 8
        for (int q = 0; q < count; q++) {
            vfloat one = splat(queries[q].numbers[i]), other = splat(queries[q].numbers[i + 1]);
#pragma GCC unroll 4
            for (int b = 0; b < blocks; b++)
#pragma GCC unroll 4
                for (int p = 0; p < PARTS; p++) {
                    sums[b][p][q] = fused(first[b][p], one, sums[b][p][q]);
                    sums[b][p][q] = fused(second[b][p], other, sums[b][p][q]);
                }
        }
    }
}

/* Of one vector of positions. */
ALWAYS void sum_bytes(const struct cache *c, const uint8_t *group, const struct query *queries,
                      int count, int lane, vfloat *sums)
{
    const struct operand *x = queries->bytes;
    int groups = x->stride / GROUP, number = queries->row * groups;
    const uint8_t *bytes = (const uint8_t *)x->rows + queries->row * x->stride;
    for (int g = 0; g < groups; g++, number++, group += KEY_GROUP, bytes += GROUP) {
        for (int line = 0; line < KEY_GROUP; line += 64)
            __builtin_prefetch(group + AHEAD * next_block(c) * sizeof(uint16_t) + line);
        vint found[SLICE];
        sum_numbers(group + SCALES + 4 * lane, BLOCK, bytes, x->stride, INT8, count, found);
        vfloat scale = load((const float *)group + lane);
#pragma GCC unroll 8
        for (int q = 0; q < count; q++) {
            int own = number + q * groups;
            vint sum = LOWERED ? found[q] : found[q] - splat_at(x->sums + own);
            sums[q] = fused(__builtin_convertvector(sum, vfloat), scale * x->scale[own], sums[q]);
        }
    }
}

/* Scores of `blocks` blocks that begin at position `begin`; `all` are seen by all queries, or not. */
ALWAYS void score(const struct attention *a, size_t keys, const struct query *queries, int count,
                  int begin, int blocks, int all, int kind)
{
    vfloat sums[TOGETHER][PARTS][SLICE] = {0};
    const uint8_t *block = (const uint8_t *)a->cache->memory + keys * sizeof(uint16_t);
    if (kind != INT8)
        sum_floats(a, keys, queries, count, blocks, kind, sums);
#pragma GCC unroll 4
    for (int b = 0; b < blocks; b++, block += next_block(a->cache) * sizeof(uint16_t))
#pragma GCC unroll 4
        for (int p = 0; p < PARTS; p++) {
            if (kind == INT8)
                sum_bytes(a->cache, block, queries, count, p * LANES, sums[b][p]);
#pragma GCC unroll 8
            for (int q = 0; q < count; q++) {
                int from = begin + b * BLOCK + p * LANES;
                vfloat found = sums[b][p][q] * a->scale;
                store(queries[q].scores + from, all ? found : seen(queries + q, from, found));
            }
        }
}

#endif
