/* Products of rows with weights: y = x·Wᵀ + b. A row's bits depend on that row alone: every output
 * is one sum over the inputs, made in their order, however many rows share the reading of W. */

#ifndef LINEAR_H
#define LINEAR_H

#include <stdint.h>

#include "team.h"

/* What weights are kept as. BFLOAT16: none is below SMALLEST but zeros; see bfloat16.h. INT8: d·(q - 128), INT4: d·(q - 8), INT4_LEAST: d·q + m, where d and m are
 * of 32 inputs of one output. */
enum kind { FLOAT32, BFLOAT16, INT8, INT4, INT4_LEAST };
enum activation { NONE, GELU, GELU_TANH, RELU, SILU };

enum {
    PANEL = 32, /* outputs whose weights lie together */
    GROUP = 32, /* inputs that share d and m; rows of x are filled up with zeros to a multiple of it */
};

/* The weights of a panel. FLOAT32: [input][32]. BFLOAT16: [pair of inputs][32][2]. The others: of each
 * group 32 d, then of INT4_LEAST 32 m, all float16, then q: [four inputs][32][4] bytes. A byte of the
 * narrowest holds two, in its low half one of the first 16 inputs, in its high half that 16 later. */
struct linear {
    const void *weight;
    const float *bias; /* (outputs up to whole panels) or NULL */
    int32_t kind;
    int32_t activation;
    int32_t gated;   /* each panel is 16 gates, then their values: y is activation(gate) × value */
    int32_t inputs;  /* a multiple of GROUP */
    int32_t outputs; /* numbers of y */
};

/* Rows in the form that a kind of product reads: floats, or whole numbers in groups of 32. */
struct operand {
    void *rows;         /* floats or signed bytes, `stride` of them a row */
    float *scale;       /* (rows, stride / 32) of each group */
    int32_t *sums;      /* (rows, stride / 32) of each group's whole numbers */
    const float *shift; /* of each row: added to all its outputs; or NULL */
    int stride;
};

/* Brings one row of `count` floats into that form; `row` says which it becomes. */
void operand_set(const struct operand *x, int kind, int row, const float *from, int count);

/* y (rows, stride) becomes the product, or grows by it. */
void linear_run(struct team *team, const struct linear *linear, const struct operand *x, int rows,
                float *y, int stride, int add);

#endif
