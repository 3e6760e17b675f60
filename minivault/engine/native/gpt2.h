/* GPT-2 (Radford et al. 2019): rows of one token each, any number of sequences. */

#ifndef GPT2_H
#define GPT2_H

#include <stdint.h>

#include "attention.h"
#include "draw.h"
#include "linear.h"
#include "team.h"

struct norm {
    const float *weight;
    const float *bias;
};

struct layer {
    struct norm before_attention, before_network;
    struct linear project, merge, widen, narrow;
    float scale; /* of attention scores */
};

struct gpt2 {
    const struct layer *layers;
    const void *tokens;     /* (vocabulary, width) bfloat16, or floats */
    const float *positions; /* (positions, width) */
    int32_t *history;       /* (slots, positions) the tokens that were run */
    struct norm last;
    struct linear head;
    const float *mean; /* (width) taken from all outputs of the head, or NULL */
    struct cache cache;
    int32_t bfloat16; /* the table of tokens is */
    int32_t count; /* of layers */
    int32_t width;
    int32_t inner;
    int32_t context; /* positions of a slot */
    float epsilon;
    /* Room for so many rows as are ever run; what an operand's rows are filled up with stays zero. */
    struct operand of_width, of_inner;
    float *shift;     /* (rows) */
    float *projected; /* (rows, 3 × width) */
    float *mixed;     /* (rows, width) */
    float *widened;   /* (rows, inner) */
    float *scores;    /* (threads, positions) */
};

/* What the layers make of some rows: x (rows, width). Keeps their keys and values; rows of
 * one sequence may come together, in any order. */
void gpt2_run(struct team *team, const struct gpt2 *model, int rows, const int32_t *tokens,
              const struct place *places, float *x);

/* float logits (rows, vocabulary) of x (rows, width). */
void gpt2_logits(struct team *team, const struct gpt2 *model, int rows, const float *x,
                 float *logits);

/* All of a step: runs `tokens`, and of the first `drawn` rows makes logits and overwrites the tokens
 * with those drawn. The others' keys and values are what they are run for. */
void gpt2_step(struct team *team, const struct gpt2 *model, const struct draw *draw, int rows,
               int drawn, int32_t *tokens, const struct place *places, float *x, float *logits);

#endif
