/* Rows of one sequence that follow each other go together, and of each the heads that share keys. */

#include "attention.h"

#include "bfloat16.h"
#include "queries.h"
#include "vectors.h"

/* The number in the cache's memory at which a head's first block begins. */
ALWAYS size_t head_begin(const struct cache *c, int slot, int layer, int head)
{
    return slot * c->slot_size + ((size_t)layer * c->heads + head) * block_size(c);
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
                       + position / BLOCK * next_block(c);
        size_t values = begin + c->keys;
        if (c->kind == FLOAT32) {
            float *memory = c->memory;
            for (int i = 0; i < a->head_width; i++)
                memory[begin + i * BLOCK + at] = keys[i];
            memcpy(memory + values + at * width, keys + all, a->head_width * sizeof *keys);
            continue;
        }
        uint16_t *memory = c->memory;
        if (c->kind == INT8)
            keep_bytes(c, (uint8_t *)(memory + begin), at, keys, a->head_width);
        for (int i = 0; i < a->head_width; i++) {
            if (c->kind == BFLOAT16)
                memory[begin + i / 2 * 2 * BLOCK + 2 * at + i % 2] = narrowed_one(keys[i]);
            memory[values + at / 2 * 2 * width + 2 * i + at % 2] = narrowed_one(keys[all + i]);
        }
    }
}

/* --- all rows ---------------------------------------------------------------------------- */

struct job {
    const struct attention *attention;
    const int32_t *begins; /* of each bundle of rows, and the end of the last */
    int bundles;
    int shared; /* queries that share a head of the cache */
    int pieces; /* in which they go, QUERIES at a time */
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
    int piece = part % job->pieces, head = part / job->pieces / job->bundles;
    const int32_t *rows = job->begins + part / job->pieces % job->bundles;
    size_t size = (size_t)c->blocks * BLOCK + c->width;
    float *room = a->scores + thread * QUERIES * size;
    int end = (piece + 1) * QUERIES < job->shared ? (piece + 1) * QUERIES : job->shared;
    struct query queries[QUERIES];
    int groups = key_groups(c), count = 0;
    int8_t bytes[QUERIES * groups * GROUP];
    float scales[QUERIES * groups];
    int32_t sums[QUERIES * groups];
    struct operand x = {bytes, scales, sums, NULL, groups * GROUP};
    for (int row = rows[0]; row < rows[1]; row++)
        for (int i = piece * QUERIES; i < end; i++, count++) {
            queries[count] = query_of(a, row, head * job->shared + i, room + count * size);
            queries[count].bytes = &x, queries[count].row = count;
            if (c->kind == INT8)
                set_bytes(&x, count, queries[count].numbers, a->head_width);
        }
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
    struct job job = {a, begins, bundles, shared, (shared + QUERIES - 1) / QUERIES};
    team_run(team, attend, &job, bundles * a->cache->heads * job.pieces);
}
