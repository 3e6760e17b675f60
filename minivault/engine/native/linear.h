/* Products of rows with weights: y = x·Wᵀ + b. A row's bits depend on that row alone: every output
 * is one sum over the inputs, made in their order, however many rows share the reading of W. */

#ifndef LINEAR_H
#define LINEAR_H

#include <stdint.h>

#include "team.h"

enum kind { FLOAT32, BFLOAT16, INT8 };
enum activation { NONE, GELU, GELU_TANH, RELU, SILU };

enum {
    PANEL = 32, /* outputs whose weights lie together: [panel][inputs / group][32][group] */
    GROUP = 4,  /* rows of x are filled up with zeros to a multiple of this */
};

struct linear {
    const void *weight;
    const float *bias;     /* (outputs up to whole panels) or NULL */
    const float *scale;    /* INT8: of each output */
    const int32_t *offset; /* INT8: -128 × the sum of each output's weights */
    int32_t kind;
    int32_t activation;
    int32_t inputs; /* a multiple of GROUP */
    int32_t outputs;
};

/* Rows in the form that a kind of product reads. */
struct operand {
    void *rows;         /* floats, bfloat16 or bytes, `stride` of them a row */
    float *scale;       /* INT8: of each row */
    const float *shift; /* of each row: added to all its outputs; or NULL */
    int stride;
};

/* Brings one row of `count` floats into that form; `row` says which it becomes. */
void operand_set(const struct operand *x, int kind, int row, const float *from, int count);

/* gates[i] becomes activation(gates[i]) × values[i]. */
void linear_gate(int activation, float *gates, const float *values, int count);

/* y (rows, stride) becomes the product, or grows by it. */
void linear_run(struct team *team, const struct linear *linear, const struct operand *x, int rows,
                float *y, int stride, int add);

#endif
