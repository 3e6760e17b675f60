/* Draws the next token of each row: repetition penalty, top-k with ties by token id, temperature,
 * top-p, as engine/sampler.py does it. Sums are made in double, likeliest token first. */

#ifndef DRAW_H
#define DRAW_H

#include <stdint.h>

#include "attention.h"
#include "team.h"

enum {
    NO_NUMBERS = -1, /* instead of a token: the row holds a NaN */
    NOT_DRAWN = -2,  /* the row's wish has no top-k */
};

/* How one sequence wants to be drawn from. */
struct wish {
    uint64_t seed;
    double temperature; /* 0 takes the likeliest token */
    double top_p;
    float penalty;
    int32_t top_k;  /* at most `most`; 0 leaves the row to the caller */
    int32_t prompt; /* how many tokens it has */
};

struct draw {
    const struct wish *wishes; /* of each slot */
    const int32_t *history;    /* (slots, positions) tokens */
    int32_t positions;
    int32_t width; /* of a row: the vocabulary */
    int32_t most;
    /* Room of each thread. */
    double *sums;  /* (threads, most) */
    float *values; /* (threads, most) */
    int32_t *ids;  /* (threads, most) */
    float *maxima; /* (threads, width / LANES + LANES) */
    float *held;   /* (threads, positions) */
};

/* `tokens` (rows,) follow the rows at `places`. The logits (rows, width) are left as they were. */
void draw_run(struct team *team, const struct draw *draw, float *logits,
              const struct place *places, int32_t *tokens, int rows);

#endif
