/* Queries that read the same keys and values together. Each has its own sums, made in the order of the
 * positions, so its bits are those that it has alone. How many blocks or vectors go together is what a
 * processor's registers can hold beside the queries' sums; it is spelled out so that these stay there. */

#ifndef QUERIES_H
#define QUERIES_H

#include "attention.h"
#include "vectors.h"

enum {
    PARTS = BLOCK / LANES,        /* vectors of a block's positions */
    SLICE = VECTOR == 64 ? 8 : 4, /* queries at a time */
    REGISTERS = VECTOR == 32 ? 16 : 32,
    TOGETHER = 4, /* blocks, or vectors of values, at most */
    AHEAD = 2,    /* blocks that are fetched before they are needed: each lies in another page */
};

struct query {
    const float *numbers; /* (head_width) */
    float *out;           /* (head_width) */
    float *scores;        /* (blocks × 16), then weights */
    float *sums;          /* (width) of weighted values */
    int first, last;      /* positions that it attends to */
};

ALWAYS size_t block_size(const struct cache *c)
{
    return 2 * (size_t)BLOCK * c->width;
}

/* How many go together, of which each query has `each` sums, and reads twice as many vectors. */
ALWAYS int together(int count, int each)
{
    int most = (REGISTERS - 2) / (each * (count + 2));
    return most >= TOGETHER ? TOGETHER : most >= 2 ? 2 : 1;
}

/* One vector of each of two neighbours: `at` is where their numbers begin, `apart` what floats of the
 * second come after those of the first. The same of a block to come is fetched. */
ALWAYS void load_two(const struct cache *c, size_t at, int lane, size_t apart, int bfloat16,
                     vfloat *first, vfloat *second)
{
    size_t later = AHEAD * block_size(c);
    if (bfloat16) {
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

/* Scores of `blocks` blocks that begin at position `begin`; `all` are seen by all queries, or not. */
ALWAYS void score(const struct attention *a, size_t keys, const struct query *queries, int count,
                  int begin, int blocks, int all, int bfloat16)
{
    const struct cache *c = a->cache;
    vfloat sums[SLICE][TOGETHER][PARTS] = {0};
    for (int i = 0; i < a->head_width; i += 2) {
        vfloat first[TOGETHER][PARTS], second[TOGETHER][PARTS];
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++)
#pragma GCC unroll 4
            for (int p = 0; p < PARTS; p++) {
                size_t at = keys + b * block_size(c) + (size_t)i * BLOCK;
                load_two(c, at, p * LANES, BLOCK, bfloat16, &first[b][p], &second[b][p]);
            }
#pragma GCC unroll 8
        for (int q = 0; q < count; q++) {
            vfloat one = splat(queries[q].numbers[i]), other = splat(queries[q].numbers[i + 1]);
#pragma GCC unroll 4
            for (int b = 0; b < blocks; b++)
#pragma GCC unroll 4
                for (int p = 0; p < PARTS; p++) {
                    sums[q][b][p] = fused(first[b][p], one, sums[q][b][p]);
                    sums[q][b][p] = fused(second[b][p], other, sums[q][b][p]);
                }
        }
    }
#pragma GCC unroll 8
    for (int q = 0; q < count; q++)
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++)
#pragma GCC unroll 4
            for (int p = 0; p < PARTS; p++) {
                int from = begin + b * BLOCK + p * LANES;
                vfloat found = sums[q][b][p] * a->scale;
                store(queries[q].scores + from, all ? found : seen(queries + q, from, found));
            }
}

/* e^(score - largest) in place; returns their sum. */
static float weigh(const struct query *query)
{
    int begin = query->first / BLOCK * BLOCK;
    float *scores = query->scores;
    vfloat tops = splat(-__builtin_inff());
    for (int i = begin; i <= query->last; i += LANES)
        tops = larger(tops, load(scores + i));
    float top = largest_of(tops);
    turns sum = {0};
    for (int i = begin; i <= query->last; i += TURNS)
        for (int p = 0; p < PARTS; p++) {
            vfloat weights = exponential(load(scores + i + p * LANES) - top);
            store(scores + i + p * LANES, weights);
            sum.part[p] += weights;
        }
    return sum_of(sum);
}

/* --- values ------------------------------------------------------------------------------ */

/* Weight × value of one position, or of it and the next. */
ALWAYS void add_one(const struct cache *c, size_t values, const struct query *queries, int count,
                    int position, int lane, int vectors, int both, int bfloat16,
                    vfloat sums[][TOGETHER])
{
    vfloat first[TOGETHER], second[TOGETHER];
    size_t at = values + position / BLOCK * block_size(c) + position % BLOCK * (size_t)c->width;
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++)
        load_two(c, at, lane + v * LANES, c->width, bfloat16, &first[v], &second[v]);
#pragma GCC unroll 8
    for (int q = 0; q < count; q++) {
        const float *weights = queries[q].scores + position;
        vfloat one = splat(weights[0]), other = splat(both ? weights[1] : 0);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            sums[q][v] = fused(first[v], one, sums[q][v]);
            if (both)
                sums[q][v] = fused(second[v], other, sums[q][v]);
        }
    }
}

/* Adds weight × value of the positions from `begin`, which is even, to before `end`; `vectors` vectors
 * from number `lane` on. */
ALWAYS void add_some(const struct cache *c, size_t values, const struct query *queries, int count,
                     int begin, int end, int lane, int vectors, int bfloat16)
{
    vfloat sums[SLICE][TOGETHER];
#pragma GCC unroll 8
    for (int q = 0; q < count; q++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sums[q][v] = load(queries[q].sums + lane + v * LANES);
    int position = begin;
    for (; position + 1 < end; position += 2)
        add_one(c, values, queries, count, position, lane, vectors, 1, bfloat16, sums);
    if (position < end)
        add_one(c, values, queries, count, position, lane, vectors, 0, bfloat16, sums);
#pragma GCC unroll 8
    for (int q = 0; q < count; q++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            store(queries[q].sums + lane + v * LANES, sums[q][v]);
}

ALWAYS void add_values(const struct cache *c, size_t values, const struct query *queries, int count,
                       int begin, int end, int bfloat16)
{
    int vectors = together(count, 1), lane = 0;
    for (; lane + vectors * LANES <= c->width; lane += vectors * LANES)
        add_some(c, values, queries, count, begin, end, lane, vectors, bfloat16);
    for (; lane < c->width; lane += LANES)
        add_some(c, values, queries, count, begin, end, lane, 1, bfloat16);
}

static void add_alone(const struct cache *c, size_t values, const struct query *query, int begin,
                      int end)
{
    if (c->bfloat16)
        add_values(c, values, query, 1, begin, end, 1);
    else
        add_values(c, values, query, 1, begin, end, 0);
}

/* --- some queries ------------------------------------------------------------------------ */

/* The positions that some of the queries attend to, and those that all do: from, to before. */
struct reach {
    int begin, end, all_begin, all_end;
};

ALWAYS struct reach reach_of(const struct query *queries, int count)
{
    struct reach r = {queries[0].first, queries[0].last + 1, queries[0].first, queries[0].last + 1};
    for (int q = 1; q < count; q++) {
        int first = queries[q].first, end = queries[q].last + 1;
        r.begin = first < r.begin ? first : r.begin;
        r.end = end > r.end ? end : r.end;
        r.all_begin = first > r.all_begin ? first : r.all_begin;
        r.all_end = end < r.all_end ? end : r.all_end;
    }
    return r;
}

ALWAYS void score_all(const struct attention *a, size_t keys, const struct query *queries, int count,
                      const struct reach *r, int bfloat16)
{
    int blocks = together(count, PARTS), begin = r->begin / BLOCK * BLOCK;
    size_t at = keys + begin / BLOCK * block_size(a->cache);
    for (int next; begin < r->end; begin = next, at += blocks * block_size(a->cache)) {
        next = begin + blocks * BLOCK;
        int all = begin >= r->all_begin && next <= r->all_end;
        if (next <= r->all_end || blocks == 1)
            score(a, at, queries, count, begin, blocks, all, bfloat16);
        else
            for (int b = 0; b < blocks && begin + b * BLOCK < r->end; b++)
                score(a, at + b * block_size(a->cache), queries, count, begin + b * BLOCK, 1, 0,
                      bfloat16);
    }
}

/* Each query adds up its positions in order: alone before those that all have, with the others, and
 * alone after them. So none reads what lies beyond its own. */
ALWAYS void mix(const struct cache *c, size_t values, const struct query *queries, int count,
                const struct reach *r, int bfloat16)
{
    int begin = r->all_begin & ~1, end = r->all_end & ~1;
    if (end < begin || count == 1)
        end = begin;
    for (int q = 0; q < count; q++) {
        int last = queries[q].last + 1;
        add_alone(c, values, queries + q, queries[q].first & ~1, begin < last ? begin : last);
    }
    if (count > 1)
        add_values(c, values, queries, count, begin, end, bfloat16);
    for (int q = 0; q < count; q++)
        add_alone(c, values, queries + q, end, queries[q].last + 1);
}

ALWAYS void attend_as(const struct attention *a, size_t keys, const struct query *queries, int count,
                      int bfloat16)
{
    const struct cache *c = a->cache;
    struct reach reach = reach_of(queries, count);
    score_all(a, keys, queries, count, &reach, bfloat16);
    float whole[SLICE];
    for (int q = 0; q < count; q++)
        whole[q] = weigh(queries + q);
    mix(c, keys + (size_t)BLOCK * c->width, queries, count, &reach, bfloat16);
    for (int q = 0; q < count; q++)
        for (int i = 0; i < a->head_width; i++)
            queries[q].out[i] = queries[q].sums[i] / whole[q];
}

ALWAYS void attend_some(const struct attention *a, size_t keys, const struct query *queries,
                        int count)
{
    if (a->cache->bfloat16)
        attend_as(a, keys, queries, count, 1);
    else
        attend_as(a, keys, queries, count, 0);
}

/* What up to SLICE queries make of the keys, and then values, that begin at `keys`. How many these are
 * is spelled out so that their sums stay in registers. */
static void attend_slice(const struct attention *a, size_t keys, const struct query *q, int count)
{
    switch (count) {
    case 1: attend_some(a, keys, q, 1); break;
    case 2: attend_some(a, keys, q, 2); break;
    case 3: attend_some(a, keys, q, 3); break;
#if VECTOR == 64
    case 4: attend_some(a, keys, q, 4); break;
    case 5: attend_some(a, keys, q, 5); break;
    case 6: attend_some(a, keys, q, 6); break;
    case 7: attend_some(a, keys, q, 7); break;
#endif
    default: attend_some(a, keys, q, SLICE);
    }
}

#endif
