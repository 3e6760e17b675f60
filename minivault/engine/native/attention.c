#include "attention.h"

#include "vectors.h"

ALWAYS size_t block_size(const struct cache *c)
{
    return 2 * (size_t)BLOCK * c->width;
}

/* The number in the cache's memory at which a head's first block begins. */
ALWAYS size_t head_begin(const struct cache *c, int slot, int layer, int head)
{
    size_t heads_before = ((size_t)slot * c->layers + layer) * c->heads + head;
    return heads_before * c->blocks * block_size(c);
}

/* So many of the numbers, each `stride` after the one before. */
ALWAYS void put_numbers(const struct cache *c, size_t at, vfloat x, int count, int stride)
{
    vhalf half = narrowed(x);
    for (int i = 0; i < count; i++, at += stride)
        if (c->bfloat16)
            ((uint16_t *)c->memory)[at] = half[i];
        else
            ((float *)c->memory)[at] = x[i];
}

ALWAYS vfloat sixteen(const struct cache *c, size_t at, int bfloat16)
{
    if (bfloat16)
        return widened(load_half((const uint16_t *)c->memory + at));
    return load((const float *)c->memory + at);
}

ALWAYS const float *projected_row(const struct attention *a, int row)
{
    return a->projected + (size_t)row * (a->heads + 2 * a->cache->heads) * a->head_width;
}

static void keep_row(const void *context, int row, int thread)
{
    (void)thread;
    const struct attention *a = context;
    const struct cache *c = a->cache;
    int all = c->heads * a->head_width;
    int position = a->places[row].position;
    const float *keys = projected_row(a, row) + a->heads * a->head_width;
    for (int head = 0; head < c->heads; head++) {
        size_t block = head_begin(c, a->places[row].slot, a->layer, head)
                       + position / BLOCK * block_size(c);
        size_t key = block + position % BLOCK;
        size_t value = block + (size_t)BLOCK * c->width + (size_t)position % BLOCK * c->width;
        for (int i = 0; i < a->head_width; i += LANES) {
            int count = a->head_width - i < LANES ? a->head_width - i : LANES;
            const float *from = keys + head * a->head_width + i;
            put_numbers(c, key + (size_t)i * BLOCK, load_some(from, count), count, BLOCK);
            put_numbers(c, value + i, load_some(from + all, count), count, 1);
        }
    }
}

/* The first position that a row at `last` attends to. */
ALWAYS int first_of(const struct attention *a, int last)
{
    return a->window && last >= a->window ? last - a->window + 1 : 0;
}

/* The scores of the positions up to `last`, what else is in their blocks at minus infinity; returns
 * the largest. */
ALWAYS float score(const struct attention *a, size_t keys, const float *query, int last,
                   float *scores, int bfloat16)
{
    const struct cache *c = a->cache;
    vfloat top = splat(-__builtin_inff());
    vint lane;
    for (int i = 0; i < LANES; i++)
        lane[i] = i;
    int begin = first_of(a, last), block = begin / BLOCK;
    keys += block * block_size(c);
    for (int first = block * BLOCK; first <= last; first += BLOCK, keys += block_size(c)) {
        vfloat sums[4] = {0}; /* one would wait for itself */
        int i = 0;
        for (; i + 4 <= a->head_width; i += 4)
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++)
                sums[j] = fma16(sixteen(c, keys + (size_t)(i + j) * BLOCK, bfloat16),
                                splat(query[i + j]), sums[j]);
        for (; i < a->head_width; i++)
            sums[0] = fma16(sixteen(c, keys + (size_t)i * BLOCK, bfloat16), splat(query[i]), sums[0]);
        vfloat sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) * a->scale;
        sum = choose((lane + first <= last) & (lane + first >= begin), sum,
                     splat(-__builtin_inff()));
        store(scores + first, sum);
        top = larger(top, sum);
    }
    return largest_of(top);
}

/* e^(score - top) in place; returns their sum. */
static float weigh(float *scores, int begin, int last, float top)
{
    vfloat sum = {0};
    for (int first = begin / BLOCK * BLOCK; first <= last; first += BLOCK) {
        vfloat weights = exponential(load(scores + first) - top);
        store(scores + first, weights);
        sum += weights;
    }
    return sum_of(sum);
}

/* Σ weight × value, LANES × `vectors` numbers of it from `begin`, over `whole`. */
ALWAYS void add_values(const struct attention *a, size_t values, const float *weights, int last,
                float whole, int begin, int vectors, float *out, int bfloat16)
{
    const struct cache *c = a->cache;
    vfloat sums[4] = {0};
    for (int position = first_of(a, last); position <= last; position++) {
        size_t at = values + position / BLOCK * block_size(c)
                    + (size_t)(position % BLOCK) * c->width + begin;
        vfloat weight = splat(weights[position]);
#pragma GCC unroll 4
        for (int i = 0; i < vectors; i++)
            sums[i] = fma16(sixteen(c, at + i * LANES, bfloat16), weight, sums[i]);
    }
    for (int i = 0; i < vectors; i++) {
        vfloat y = sums[i] / whole;
        int left = a->head_width - begin - i * LANES;
        memcpy(out + begin + i * LANES, &y, (left < LANES ? left : LANES) * sizeof(float));
    }
}

ALWAYS void attend_as(const struct attention *a, int row, int head, float *scores, int bfloat16)
{
    const struct cache *c = a->cache;
    int last = a->places[row].position;
    int shared = a->heads / c->heads;
    size_t begin = head_begin(c, a->places[row].slot, a->layer, head / shared);
    const float *query = projected_row(a, row) + head * a->head_width;
    float *out = a->mixed + ((size_t)row * a->heads + head) * a->head_width;
    float top = score(a, begin, query, last, scores, bfloat16);
    float whole = weigh(scores, first_of(a, last), last, top);
    size_t values = begin + (size_t)BLOCK * c->width;
    int i = 0;
    for (; i + 4 * LANES <= c->width; i += 4 * LANES)
        add_values(a, values, scores, last, whole, i, 4, out, bfloat16);
    for (; i < c->width; i += LANES)
        add_values(a, values, scores, last, whole, i, 1, out, bfloat16);
}

static void attend(const void *context, int part, int thread)
{
    const struct attention *a = context;
    const struct cache *c = a->cache;
    float *scores = a->scores + (size_t)thread * c->blocks * BLOCK;
    if (c->bfloat16)
        attend_as(a, part / a->heads, part % a->heads, scores, 1);
    else
        attend_as(a, part / a->heads, part % a->heads, scores, 0);
}

void attention_run(struct team *team, const struct attention *attention, int rows)
{
    team_run(team, keep_row, attention, rows);
    team_run(team, attend, attention, rows * attention->heads);
}
