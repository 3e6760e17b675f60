/* Queries that read the same keys and values together. Each has its own sums, made in the order of the
 * positions, so its bits are those that it has alone. How many blocks or vectors go together is what a
 * processor's registers can hold beside the queries' sums; it is spelled out so that these stay there. */

#ifndef QUERIES_H
#define QUERIES_H

#include "keys.h"
#include "vectors.h"

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
                    int position, int lane, int vectors, int both, int kind,
                    vfloat sums[][TOGETHER])
{
    vfloat first[TOGETHER], second[TOGETHER];
    size_t at = values + position / BLOCK * next_block(c) + position % BLOCK * (size_t)c->width;
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++)
        load_two(c, at, lane + v * LANES, c->width, kind, &first[v], &second[v]);
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
                     int begin, int end, int lane, int vectors, int kind)
{
    vfloat sums[SLICE][TOGETHER];
#pragma GCC unroll 8
    for (int q = 0; q < count; q++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sums[q][v] = load(queries[q].sums + lane + v * LANES);
    int position = begin;
    for (; position + 1 < end; position += 2)
        add_one(c, values, queries, count, position, lane, vectors, 1, kind, sums);
    if (position < end)
        add_one(c, values, queries, count, position, lane, vectors, 0, kind, sums);
#pragma GCC unroll 8
    for (int q = 0; q < count; q++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            store(queries[q].sums + lane + v * LANES, sums[q][v]);
}

ALWAYS void add_values(const struct cache *c, size_t values, const struct query *queries, int count,
                       int begin, int end, int kind)
{
    int vectors = together(count, 1), lane = 0;
    for (; lane + vectors * LANES <= c->width; lane += vectors * LANES)
        add_some(c, values, queries, count, begin, end, lane, vectors, kind);
    for (; lane < c->width; lane += LANES)
        add_some(c, values, queries, count, begin, end, lane, 1, kind);
}

static void add_alone(const struct cache *c, size_t values, const struct query *query, int begin,
                      int end)
{
    if (c->kind != FLOAT32)
        add_values(c, values, query, 1, begin, end, BFLOAT16);
    else
        add_values(c, values, query, 1, begin, end, FLOAT32);
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
                      const struct reach *r, int kind)
{
    int blocks = kind == INT8 ? 1 : together(count, PARTS), begin = r->begin / BLOCK * BLOCK;
    size_t at = keys + begin / BLOCK * next_block(a->cache);
    for (int next; begin < r->end; begin = next, at += blocks * next_block(a->cache)) {
        next = begin + blocks * BLOCK;
        int all = begin >= r->all_begin && next <= r->all_end;
        if (next <= r->all_end || blocks == 1)
            score(a, at, queries, count, begin, blocks, all, kind);
        else
            for (int b = 0; b < blocks && begin + b * BLOCK < r->end; b++)
                score(a, at + b * next_block(a->cache), queries, count, begin + b * BLOCK, 1, 0,
                      kind);
    }
}

/* Each query adds up its positions in order: alone before those that all have, with the others, and
 * alone after them. So none reads what lies beyond its own. */
ALWAYS void mix(const struct cache *c, size_t values, const struct query *queries, int count,
                const struct reach *r, int kind)
{
    int begin = r->all_begin & ~1, end = r->all_end & ~1;
    if (end < begin || count == 1)
        end = begin;
    for (int q = 0; q < count; q++) {
        int last = queries[q].last + 1;
        add_alone(c, values, queries + q, queries[q].first & ~1, begin < last ? begin : last);
    }
    if (count > 1)
        add_values(c, values, queries, count, begin, end, kind);
    for (int q = 0; q < count; q++)
        add_alone(c, values, queries + q, end, queries[q].last + 1);
}

ALWAYS void attend_as(const struct attention *a, size_t keys, const struct query *queries, int count,
                      int kind)
{
    const struct cache *c = a->cache;
    struct reach reach = reach_of(queries, count);
    score_all(a, keys, queries, count, &reach, kind);
    float whole[SLICE];
    for (int q = 0; q < count; q++)
        whole[q] = weigh(queries + q);
    mix(c, keys + c->keys, queries, count, &reach, kind);
    for (int q = 0; q < count; q++)
        for (int i = 0; i < a->head_width; i++)
            queries[q].out[i] = queries[q].sums[i] / whole[q];
}

ALWAYS void attend_some(const struct attention *a, size_t keys, const struct query *queries,
                        int count)
{
    if (a->cache->kind == INT8)
        attend_as(a, keys, queries, count, INT8);
    else if (a->cache->kind == BFLOAT16)
        attend_as(a, keys, queries, count, BFLOAT16);
    else
        attend_as(a, keys, queries, count, FLOAT32);
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
