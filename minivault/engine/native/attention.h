/* Keys and values of all sequences, and attention over them. */

#ifndef ATTENTION_H
#define ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#include "linear.h"
#include "team.h"

enum {
    BLOCK = 16,  /* positions whose keys and values lie together */
    QUERIES = 8, /* that share one reading of keys and values, at most */
};

/* Memory: [slot][block of positions][layer][head][keys, then values], so that a text's memory grows in
 * one run, and fills large pages. Keys lie across, so that sixteen scores are made at once. As floats:
 * keys (width, 16), values (16, width). As bfloat16 two neighbours lie together, so that they are widened
 * at once: keys (width / 2, 16, 2), values (8, width, 2). Keys as bytes come in groups of 32 numbers: 16
 * scales, a float each, then d·(q - 128) as (8, 16, 4); values are bfloat16 beside them. */
struct cache {
    void *memory;
    int32_t kind; /* of keys: FLOAT32, BFLOAT16 or INT8 */
    int32_t layers;
    int32_t heads; /* that have keys and values */
    int32_t blocks; /* of a slot */
    int32_t width; /* of a head, filled up to a multiple of 16 */
    int32_t keys;  /* numbers of the memory that those of a block take */
    size_t slot_size; /* numbers from one slot to the next */
};

/* Where a row's sequence lies, and which of its positions the row is. */
struct place {
    int32_t slot;
    int32_t position;
};

struct attention {
    const struct cache *cache;
    const struct place *places;
    const float *projected; /* (rows, (heads + 2 × cache heads) × head_width): queries, keys, values */
    float *mixed;           /* (rows, heads × head_width) */
    float *scores;          /* (threads, QUERIES, blocks × 16 + width) */
    int32_t heads; /* of queries; as many share one head of the cache */
    int32_t head_width;
    int32_t layer;
    int32_t window; /* so many positions are attended to, the row's own among them; 0: all */
    float scale;
};

/* Keeps the rows' keys and values, then lets each row attend to its sequence's positions up to its
 * own, as far back as the window reaches. A row's bits depend on its query and those positions alone. */
void attention_run(struct team *team, const struct attention *attention, int rows);

#endif
