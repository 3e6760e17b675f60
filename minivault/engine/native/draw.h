/* Draws the next token of each row: repetition penalty, top-k with ties by token id, temperature,
 * top-p, as engine/sampler.py does it. Sums are made in double, one token after the other: likeliest
 * first, or by id where nothing is cut off. */

#ifndef DRAW_H
#define DRAW_H

#include <stdint.h>

#include "attention.h"
#include "team.h"

enum {
    NO_NUMBERS = -1, /* instead of a token: the row holds a NaN */
    FEW = 1024,      /* a cut to at most so many tokens keeps the best of them as they come */
};

/* How the tokens of one sequence are drawn. */
struct sampling {
    uint64_t seed;
    double temperature; /* 0 takes the likeliest token */
    double top_p;
    float penalty;
    int32_t top_k;  /* 0 cuts off none */
    int32_t prompt; /* how many tokens it has */
};

struct draw {
    const struct sampling *sampling; /* of each slot */
    const int32_t *history;          /* (slots, positions) tokens */
    int32_t positions;
    int32_t vocabulary;
    /* Room of each thread. */
    float *maxima;   /* (threads, vocabulary / 16 + 16): one of 16, however wide a vector is */
    float *saved;    /* (threads, positions) */
    float *values;   /* (threads, vocabulary) */
    int32_t *ids;    /* (threads, vocabulary) */
    double *sums;    /* (threads, vocabulary) */
    uint64_t *order; /* (threads, 2, vocabulary) */
};

/* `tokens` (rows,) follow the rows at `places`. The logits (rows, vocabulary) are left as they
 * were. */
void draw_run(struct team *team, const struct draw *draw, float *logits,
              const struct place *places, int32_t *tokens, int rows);

#endif
