/* Queries that read the same keys and values go together: of heads that share them, and of rows that
 * follow each other in one sequence. Each has its own sums, made in the order of the positions. */

#include "attention.h"

#include "vectors.h"

enum {
    PARTS = BLOCK / LANES, /* vectors of a block's positions */
    SLICE = VECTOR == 64 ? 8 : 4, /* queries whose sums fit into the processor's registers, */
    BLOCKS = 4,                   /* and of one alone the blocks, */
    VALUES = VECTOR == 64 ? 4 : 8, /* and the vectors of its values */
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

/* The number in the cache's memory at which a head's first block begins. */
ALWAYS size_t head_begin(const struct cache *c, int slot, int layer, int head)
{
    size_t heads_before = ((size_t)slot * c->layers + layer) * c->heads + head;
    return heads_before * c->blocks * block_size(c);
}

ALWAYS const float *projected_row(const struct attention *a, int row)
{
    return a->projected + (size_t)row * (a->heads + 2 * a->cache->heads) * a->head_width;
}

/* --- keeping ----------------------------------------------------------------------------- */

static void keep_row(const void *context, int row, int thread)
{
    (void)thread;
    const struct attention *a = context;
    const struct cache *c = a->cache;
    int all = c->heads * a->head_width, width = c->width;
    int position = a->places[row].position, at = position % BLOCK;
    const float *keys = projected_row(a, row) + a->heads * a->head_width;
    for (int head = 0; head < c->heads; head++, keys += a->head_width) {
        size_t begin = head_begin(c, a->places[row].slot, a->layer, head)
                       + position / BLOCK * block_size(c);
        size_t values = begin + (size_t)BLOCK * width;
        if (!c->bfloat16) {
            float *memory = c->memory;
            for (int i = 0; i < a->head_width; i++)
                memory[begin + i * BLOCK + at] = keys[i];
            memcpy(memory + values + at * width, keys + all, a->head_width * sizeof *keys);
            continue;
        }
        uint16_t *memory = c->memory;
        for (int i = 0; i < a->head_width; i++) {
            memory[begin + i / 2 * 2 * BLOCK + 2 * at + i % 2] = narrowed_one(keys[i]);
            memory[values + at / 2 * 2 * width + 2 * i + at % 2] = narrowed_one(keys[all + i]);
        }
    }
}

/* --- scores ------------------------------------------------------------------------------ */

/* One vector of each of two neighbours: `at` is where their numbers begin, `apart` what floats of the
 * second come after those of the first. */
ALWAYS void load_two(const struct cache *c, size_t at, int lane, size_t apart, int bfloat16,
                     vfloat *first, vfloat *second)
{
    if (bfloat16) {
        vint both = load_ints((const uint16_t *)c->memory + at + 2 * lane);
        *first = (vfloat)(both << 16);
        *second = (vfloat)(both & (int32_t)0xffff0000);
    } else {
        *first = load((const float *)c->memory + at + lane);
        *second = load((const float *)c->memory + at + apart + lane);
    }
}

/* Scores of `blocks` blocks that begin at position `begin`. */
ALWAYS void score(const struct attention *a, size_t keys, const struct query *queries, int count,
                  int begin, int blocks, int bfloat16)
{
    const struct cache *c = a->cache;
    vfloat sums[SLICE][BLOCKS][PARTS] = {0};
    for (int i = 0; i < a->head_width; i += 2)
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++)
#pragma GCC unroll 4
            for (int p = 0; p < PARTS; p++) {
                vfloat first, second;
                size_t at = keys + b * block_size(c) + (size_t)i * BLOCK;
                load_two(c, at, p * LANES, BLOCK, bfloat16, &first, &second);
#pragma GCC unroll 8
                for (int q = 0; q < count; q++) {
                    const float *each = queries[q].numbers + i;
                    sums[q][b][p] = fused(first, splat(each[0]), sums[q][b][p]);
                    sums[q][b][p] = fused(second, splat(each[1]), sums[q][b][p]);
                }
            }
    vint lane;
    for (int i = 0; i < LANES; i++)
        lane[i] = i;
#pragma GCC unroll 8
    for (int q = 0; q < count; q++)
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++)
#pragma GCC unroll 4
            for (int p = 0; p < PARTS; p++) {
                int from = begin + b * BLOCK + p * LANES;
                vint position = lane + from;
                vint seen = (position >= queries[q].first) & (position <= queries[q].last);
                vfloat found = sums[q][b][p] * a->scale;
                store(queries[q].scores + from, choose(seen, found, splat(-__builtin_inff())));
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

/* Adds weight × value of the positions from `begin`, which is even, to before `end`; `vectors` vectors
 * from number `lane` on. */
ALWAYS void add_some(const struct cache *c, size_t values, const struct query *queries, int count,
                     int begin, int end, int lane, int vectors, int bfloat16)
{
    vfloat sums[SLICE][VALUES];
#pragma GCC unroll 8
    for (int q = 0; q < count; q++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            sums[q][v] = load(queries[q].sums + lane + v * LANES);
    for (int position = begin; position < end; position += 2) {
        int both = position + 1 < end;
        size_t at = values + position / BLOCK * block_size(c) + position % BLOCK * (size_t)c->width;
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) {
            vfloat first, second;
            load_two(c, at, lane + v * LANES, c->width, bfloat16, &first, &second);
#pragma GCC unroll 8
            for (int q = 0; q < count; q++) {
                const float *weights = queries[q].scores + position;
                sums[q][v] = fused(first, splat(weights[0]), sums[q][v]);
                if (both)
                    sums[q][v] = fused(second, splat(weights[1]), sums[q][v]);
            }
        }
    }
#pragma GCC unroll 8
    for (int q = 0; q < count; q++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            store(queries[q].sums + lane + v * LANES, sums[q][v]);
}

ALWAYS void add_values(const struct cache *c, size_t values, const struct query *queries, int count,
                       int begin, int end, int bfloat16)
{
    int vectors = count == 1 ? VALUES : count <= 3 ? 2 : SLICE / 4, lane = 0;
    for (; lane + vectors * LANES <= c->width; lane += vectors * LANES)
        add_some(c, values, queries, count, begin, end, lane, vectors, bfloat16);
    for (; lane < c->width; lane += LANES)
        add_some(c, values, queries, count, begin, end, lane, 1, bfloat16);
}

/* --- some queries ------------------------------------------------------------------------ */

static void add_alone(const struct cache *c, size_t values, const struct query *query, int begin,
                      int end)
{
    if (c->bfloat16)
        add_values(c, values, query, 1, begin, end, 1);
    else
        add_values(c, values, query, 1, begin, end, 0);
}

/* Each query adds up its positions in order: alone before those that all have, with the others, and
 * alone after them. So none reads what lies beyond its own. */
ALWAYS void mix(const struct cache *c, size_t values, const struct query *queries, int count,
                int bfloat16)
{
    int begin = 0, end = c->blocks * BLOCK;
    for (int q = 0; q < count; q++) {
        int first = queries[q].first & ~1, last = queries[q].last + 1;
        begin = first > begin ? first : begin;
        end = last < end ? last : end;
    }
    end = end & ~1;
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
    int together = count == 1 ? BLOCKS : count <= 3 ? 2 : 1;
    int first = queries[0].first, last = queries[0].last;
    for (int q = 1; q < count; q++) {
        first = queries[q].first < first ? queries[q].first : first;
        last = queries[q].last > last ? queries[q].last : last;
    }
    int begin = first / BLOCK * BLOCK, end = last / BLOCK * BLOCK + BLOCK;
    size_t at = keys + begin / BLOCK * block_size(c);
    for (; begin + together * BLOCK <= end; begin += together * BLOCK, at += together * block_size(c))
        score(a, at, queries, count, begin, together, bfloat16);
    for (; begin < end; begin += BLOCK, at += block_size(c))
        score(a, at, queries, count, begin, 1, bfloat16);
    float whole[SLICE];
    for (int q = 0; q < count; q++)
        whole[q] = weigh(queries + q);
    mix(c, keys + (size_t)BLOCK * c->width, queries, count, bfloat16);
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

/* How many there are is spelled out so that their sums stay in registers. */
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

/* --- all rows ---------------------------------------------------------------------------- */

struct job {
    const struct attention *attention;
    const int32_t *begins; /* of each bundle of rows, and the end of the last */
    int shared;            /* queries that share a head of the cache */
    int pieces;            /* in which they go, QUERIES at a time */
};

static struct query query_of(const struct attention *a, int row, int head, float *room)
{
    const struct cache *c = a->cache;
    int last = a->places[row].position;
    return (struct query){
        .numbers = projected_row(a, row) + head * a->head_width,
        .out = a->mixed + ((size_t)row * a->heads + head) * a->head_width,
        .scores = room,
        .sums = memset(room + c->blocks * BLOCK, 0, c->width * sizeof *room),
        .first = a->window && last >= a->window ? last - a->window + 1 : 0,
        .last = last,
    };
}

static void attend(const void *context, int part, int thread)
{
    const struct job *job = context;
    const struct attention *a = job->attention;
    const struct cache *c = a->cache;
    int piece = part % job->pieces, head = part / job->pieces % c->heads;
    const int32_t *rows = job->begins + part / job->pieces / c->heads;
    size_t size = (size_t)c->blocks * BLOCK + c->width;
    float *room = a->scores + thread * QUERIES * size;
    int end = (piece + 1) * QUERIES < job->shared ? (piece + 1) * QUERIES : job->shared;
    struct query queries[QUERIES];
    int count = 0;
    for (int row = rows[0]; row < rows[1]; row++)
        for (int i = piece * QUERIES; i < end; i++, count++)
            queries[count] = query_of(a, row, head * job->shared + i, room + count * size);
    size_t keys = head_begin(c, a->places[rows[0]].slot, a->layer, head);
    for (int i = 0; i < count; i += SLICE)
        attend_slice(a, keys, queries + i, count - i < SLICE ? count - i : SLICE);
}

void attention_run(struct team *team, const struct attention *a, int rows)
{
    team_run(team, keep_row, a, rows);
    int32_t begins[rows + 1];
    int shared = a->heads / a->cache->heads, most = shared < QUERIES ? QUERIES / shared : 1;
    int bundles = 0;
    for (int row = 0; row < rows; row++)
        if (!row || a->places[row].slot != a->places[row - 1].slot
            || row - begins[bundles - 1] == most)
            begins[bundles++] = row;
    begins[bundles] = rows;
    struct job job = {a, begins, shared, (shared + QUERIES - 1) / QUERIES};
    team_run(team, attend, &job, bundles * a->cache->heads * job.pieces);
}
