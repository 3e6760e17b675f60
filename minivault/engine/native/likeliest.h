/* The likeliest tokens of a row. A few are found in two passes. The first cuts the row into groups of
 * 16 numbers and keeps the largest of each. Take the k-th largest of these: k groups, so k numbers at
 * least, reach it, and the likeliest k do. The second pass looks at those alone. Many are found by
 * sorting all, digit by digit, which costs the same whatever the numbers are. */

#ifndef LIKELIEST_H
#define LIKELIEST_H

#include <math.h>
#include <stdbool.h>

#include "vectors.h"

enum { BUNDLE = 16 * LANES }; /* sixteen groups, one in each lane */

/* The best so far: a heap whose top is the worst of them. */
struct heap {
    float *values;
    int32_t *ids;
    int size;
    int room;
};

static bool worse(float value, int32_t id, float than, int32_t than_id)
{
    return value < than || (value == than && id > than_id);
}

static void sink(struct heap *h, int at, float value, int32_t id)
{
    for (int child; (child = 2 * at + 1) < h->size; at = child) {
        int other = child + 1;
        if (other < h->size
            && worse(h->values[other], h->ids[other], h->values[child], h->ids[child]))
            child = other;
        if (!worse(h->values[child], h->ids[child], value, id))
            break;
        h->values[at] = h->values[child];
        h->ids[at] = h->ids[child];
    }
    h->values[at] = value;
    h->ids[at] = id;
}

static void offer(struct heap *h, float value, int32_t id)
{
    if (h->size == h->room) {
        if (worse(h->values[0], h->ids[0], value, id))
            sink(h, 0, value, id);
        return;
    }
    int at = h->size++;
    while (at) {
        int parent = (at - 1) / 2;
        if (!worse(value, id, h->values[parent], h->ids[parent]))
            break;
        h->values[at] = h->values[parent];
        h->ids[at] = h->ids[parent];
        at = parent;
    }
    h->values[at] = value;
    h->ids[at] = id;
}

/* From a heap to best first. */
static void settle(struct heap *h)
{
    while (h->size > 1) {
        float worst = h->values[0];
        int32_t id = h->ids[0];
        int last = --h->size;
        sink(h, 0, h->values[last], h->ids[last]);
        h->values[last] = worst;
        h->ids[last] = id;
    }
}

static vfloat at_most_left(const float *numbers, int left)
{
    if (left >= LANES)
        return load(numbers);
    vfloat v = splat(-INFINITY);
    memcpy(&v, numbers, left > 0 ? left * sizeof *numbers : 0);
    return v;
}

/* The maxima of all bundles' lanes, and of all; returns whether all are numbers. */
static bool find_maxima(const float *numbers, int width, float *maxima, float *largest)
{
    vint wrong = {0};
    vfloat all = splat(-INFINITY);
    for (int begin = 0; begin < width; begin += BUNDLE, maxima += LANES) {
        vfloat top = splat(-INFINITY);
        for (int i = begin; i < begin + BUNDLE && i < width; i += LANES) {
            vfloat v = at_most_left(numbers + i, width - i);
            wrong |= v != v;
            top = larger(v, top);
        }
        store(maxima, top);
        all = larger(all, top);
    }
    *largest = largest_of(all);
    return !any_of(wrong);
}

/* The k-th largest maximum, k being how many `room` holds; it is left empty. */
static float bound(const float *maxima, int total, struct heap room)
{
    if (room.room > total)
        return -INFINITY;
    for (int i = 0; i < total; i++)
        if (room.size < room.room || maxima[i] > room.values[0])
            offer(&room, maxima[i], i);
    return room.values[0];
}

static void offer_bundle(struct heap *best, const float *numbers, int begin, int width, float least)
{
    for (int i = begin; i < begin + BUNDLE && i < width; i += LANES) {
        if (!any_of(at_most_left(numbers + i, width - i) >= least))
            continue;
        for (int j = i; j < i + LANES && j < width; j++)
            if (numbers[j] >= least)
                offer(best, numbers[j], j);
    }
}

/* Fills `best` with the likeliest tokens, best first. */
static void find_likeliest(struct heap *best, const float *logits, int width, const float *maxima)
{
    int bundles = (width + BUNDLE - 1) / BUNDLE;
    float least = bound(maxima, bundles * LANES, *best);
    for (int bundle = 0; bundle < bundles; bundle++)
        if (any_of(load(maxima + bundle * LANES) >= least))
            offer_bundle(best, logits, bundle * BUNDLE, width, least);
    int found = best->size;
    settle(best);
    best->size = found;
}

/* A number that is the smaller the larger x is. */
static uint32_t rank(float x)
{
    uint32_t bits;
    x += 0.0f; /* of the two zeros one */
    memcpy(&bits, &x, sizeof bits);
    return bits >> 31 ? bits : ~bits & 0x7fffffff;
}

/* The ids of all tokens, likeliest first, ties by id: a radix sort of 11 bits a pass, which leaves
 * what is equal in its order. */
static void sort_all(const float *logits, int width, uint64_t *room, int32_t *ids)
{
    enum { BITS = 11, PASSES = 3 };
    int begins[PASSES][1 << BITS] = {0};
    uint64_t *from = room, *to = room + width;
    for (int i = 0; i < width; i++) {
        uint32_t key = rank(logits[i]);
        from[i] = (uint64_t)key << 32 | (uint32_t)i;
        for (int pass = 0; pass < PASSES; pass++)
            begins[pass][key >> pass * BITS & ((1 << BITS) - 1)]++;
    }
    for (int pass = 0; pass < PASSES; pass++) {
        int begin = 0;
        for (int digit = 0; digit < 1 << BITS; digit++) {
            int count = begins[pass][digit];
            begins[pass][digit] = begin;
            begin += count;
        }
        for (int i = 0; i < width; i++)
            to[begins[pass][from[i] >> (32 + pass * BITS) & ((1 << BITS) - 1)]++] = from[i];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    for (int i = 0; i < width; i++)
        ids[i] = (int32_t)from[i];
}

#endif
