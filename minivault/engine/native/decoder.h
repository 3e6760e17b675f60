/* A decoder: rows of one token each, of any number of sequences. Its layers are described by data: a
 * family of models is a description, and what no description says yet. */

#ifndef DECODER_H
#define DECODER_H

#include <stdint.h>

#include "attention.h"
#include "draw.h"
#include "linear.h"
#include "team.h"

enum norm_kind {
    LAYER_NORM, /* arXiv:1607.06450 */
    RMS_NORM,   /* arXiv:1910.07467 */
};

struct norm {
    const float *weight; /* NULL: there is none here */
    const float *bias;   /* of LAYER_NORM alone */
};

struct layer {
    struct norm before_attention, after_attention, before_network, after_network;
    struct norm queries, keys; /* before they are turned */
    /* Together: to queries of all heads, then keys, then values of the groups. */
    struct linear project[3];
    struct linear merge;
    struct linear widen; /* to `inner` numbers, gated or not */
    struct linear narrow;
    int32_t projects; /* how many there are */
    int32_t whole;    /* queries and keys have one norm for all heads together, else one for each */
    int32_t rotation; /* which table; -1: none */
    int32_t window;   /* so many positions are looked at, the row's own among them; 0: all */
    float scale;      /* of attention scores */
};

struct decoder {
    const struct layer *layers;
    const void *tokens;     /* (vocabulary, hidden) bfloat16, or floats */
    const float *positions; /* (context, hidden) added to the tokens, or NULL */
    const float *rotations; /* (tables, context, rotary) cosines, then sines; or NULL */
    const float *stretch;   /* (context) what queries are multiplied with, or NULL */
    struct norm last;
    struct linear head;
    const float *mean; /* (hidden) taken from all outputs of the head, or NULL */
    struct cache cache;
    int32_t bfloat16; /* the table of tokens is */
    int32_t count;    /* of layers */
    int32_t hidden;   /* numbers of a row between the layers */
    int32_t heads;
    int32_t head_width;
    int32_t rotary; /* numbers of a head that are turned, the first ones */
    int32_t inner;
    int32_t context; /* positions of a slot */
    int32_t norm;    /* enum norm_kind */
    float epsilon;
    float embedding; /* what the tokens are multiplied with */
    float residual;  /* what is multiplied with before it is added to x */
};

/* Room for so many rows as are ever run; what an operand's rows are filled up with stays zero. */
struct room {
    int32_t *tokens;      /* (rows) */
    struct place *places; /* (rows) */
    float *x;             /* (rows, hidden) */
    float *logits;        /* (rows, vocabulary) */
    int32_t *history;     /* (slots, context) the tokens that were run */
    struct operand of_hidden, of_mixed, of_inner;
    float *shift;      /* (rows) */
    float *normalized; /* (rows, hidden) */
    float *projected;  /* (rows, outputs of `project`) */
    float *mixed;      /* (rows, heads × head_width) */
    float *widened;    /* (rows, inner) */
    float *branch;     /* (rows, hidden) what comes before it is added to x, where it is not at once */
    float *scores;     /* (threads, QUERIES, context + head_width, each up to whole blocks) */
};

/* What the layers make of `rows` tokens at their places: x. Keeps their keys and values; rows of
 * one sequence may come together, in any order. */
void decoder_run(struct team *team, const struct decoder *decoder, const struct room *room,
                 int rows);

/* The logits of the first `rows` of x. */
void decoder_logits(struct team *team, const struct decoder *decoder, const struct room *room,
                    int rows);

/* All of a step: runs `rows` tokens, and of the first `drawn` makes logits and overwrites the tokens
 * with those drawn. The others' keys and values are what they are run for. */
void decoder_step(struct team *team, const struct decoder *decoder, const struct room *room,
                  const struct draw *draw, int rows, int drawn);

#endif
