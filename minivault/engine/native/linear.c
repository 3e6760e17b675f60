#include "linear.h"

#include "vectors.h"

enum {
    TILE = 8,              /* rows that share one reading of a panel */
    PART_BYTES = 96 << 10, /* a thread takes about so many bytes of weights at once */
    FEWEST_PARTS = 16,
};

/* --- rows of x --------------------------------------------------------------------------- */

static void to_bfloat16(uint16_t *to, const float *from, int count)
{
    int i = 0;
    for (; i + LANES <= count; i += LANES)
        store_half(to + i, narrowed(load(from + i)));
    for (; i < count; i++)
        to[i] = narrowed(splat(from[i]))[0];
}

/* To whole numbers from -127 to 127, kept 128 higher; their scale is that of the largest. What is no
 * number makes the scale none, and so the whole row. */
static float to_bytes(uint8_t *to, const float *from, int count)
{
    vfloat top = {0};
    vint wrong = {0};
    for (int i = 0; i < count; i += LANES) {
        vfloat v = load_some(from + i, count - i < LANES ? count - i : LANES);
        wrong |= v != v;
        top = larger(top, absolute(v));
    }
    float largest = largest_of(top);
    if (any_of(wrong) || !(largest <= __FLT_MAX__)) {
        memset(to, 128, (size_t)count);
        return __builtin_nanf("");
    }
    float levels = largest > 1e-30f ? 127 / largest : 0;
    int i = 0;
    for (; i + LANES <= count; i += LANES) {
        vint whole = __builtin_convertvector(rounded(load(from + i) * levels), vint) + 128;
        typedef uint8_t vbyte __attribute__((vector_size(16)));
        vbyte bytes = __builtin_convertvector(whole, vbyte);
        memcpy(to + i, &bytes, sizeof bytes);
    }
    for (; i < count; i++)
        to[i] = (uint8_t)(rounded(splat(from[i] * levels))[0] + 128);
    return largest / 127;
}

void operand_set(const struct operand *x, int kind, int row, const float *from, int count)
{
    size_t begin = (size_t)row * x->stride;
    if (kind == FLOAT32)
        memcpy((float *)x->rows + begin, from, count * sizeof *from);
    else if (kind == BFLOAT16)
        to_bfloat16((uint16_t *)x->rows + begin, from, count);
    else
        x->scale[row] = to_bytes((uint8_t *)x->rows + begin, from, count);
}

/* --- one tile: some rows by one panel ---------------------------------------------------- */

typedef struct {
    vfloat low, high;
} pair; /* one row's sums for the 32 outputs of a panel */

#if defined(__AVX2__) && defined(__FMA__) && !defined(__AVX512F__)
#include "pieces.h"
#else
#include "sums.h"
#endif

/* The whole numbers of INT8 become what they stand for. */
ALWAYS void scale_tile(const struct linear *l, int panel, const struct operand *x, int row,
                       int rows, pair *sums)
{
    vfloat low = load(l->scale + panel * PANEL), high = load(l->scale + panel * PANEL + LANES);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        vfloat scale = splat(x->scale[row + r]);
        sums[r].low = __builtin_convertvector((vint)sums[r].low, vfloat) * (low * scale);
        sums[r].high = __builtin_convertvector((vint)sums[r].high, vfloat) * (high * scale);
    }
}

/* --- what follows a product -------------------------------------------------------------- */

/* x·Φ(x) by the formula of GPT-2: tanh written with one exponential. */
static vfloat gelu_tanh(vfloat x)
{
    vfloat u = x * fma16(x * x, splat(0.044715f), splat(1.0f)) * 0.7978845608028654f;
    return x / (1.0f + exponential(choose(u < -40.0f, splat(80.0f), u * -2.0f)));
}

/* x·Φ(x) with the error function of Abramowitz and Stegun, 7.1.26: wrong by at most 1.5e-7. */
static vfloat gelu(vfloat x)
{
    vfloat z = absolute(x) * 0.70710678118654752f;
    vfloat t = 1.0f / fma16(z, splat(0.3275911f), splat(1.0f));
    vfloat p = fma16(t, splat(1.061405429f), splat(-1.453152027f));
    p = fma16(p, t, splat(1.421413741f));
    p = fma16(p, t, splat(-0.284496736f));
    p = fma16(p, t, splat(0.254829592f));
    vfloat tail = p * t * exponential(-z * z) * 0.5f; /* Φ(-|x|) */
    return x * choose(x < 0.0f, tail, 1.0f - tail);
}

static vfloat activated(vfloat y, int activation)
{
    switch (activation) {
    case GELU_TANH:
        return gelu_tanh(y);
    case GELU:
        return gelu(y);
    case RELU:
        return choose(y < 0.0f, (vfloat){0}, y);
    case SILU:
        return y / (1.0f + exponential(choose(y < -80.0f, splat(80.0f), -y)));
    default:
        return y;
    }
}

void linear_gate(int activation, float *gates, const float *values, int count)
{
    for (int i = 0; i < count; i += LANES) {
        int some = count - i < LANES ? count - i : LANES;
        vfloat y = activated(load_some(gates + i, some), activation) * load_some(values + i, some);
        memcpy(gates + i, &y, some * sizeof *gates);
    }
}

/* Sixteen outputs of one row, or as many as there are. */
static void finish(const struct linear *l, vfloat sum, float shift, int output, float *y, int add)
{
    int count = l->outputs - output;
    if (count <= 0)
        return;
    sum += shift;
    if (l->bias)
        sum += load(l->bias + output);
    if (l->activation != NONE)
        sum = activated(sum, l->activation);
    if (count >= LANES) {
        store(y + output, add ? load(y + output) + sum : sum);
    } else {
        for (int i = 0; i < count; i++)
            y[output + i] = add ? y[output + i] + sum[i] : sum[i];
    }
}

/* --- the whole product ------------------------------------------------------------------- */

struct job {
    const struct linear *linear;
    const struct operand *x;
    float *y;
    int rows, stride, add, panels, panels_each;
};

ALWAYS void tile(const struct job *job, int panel, int row, int rows)
{
    const struct linear *l = job->linear;
    pair sums[TILE] = {0};
    if (l->kind == FLOAT32) { /* each kind is compiled by itself */
        sum_tile(l, FLOAT32, panel, job->x, row, rows, sums);
    } else if (l->kind == BFLOAT16) {
        sum_tile(l, BFLOAT16, panel, job->x, row, rows, sums);
    } else {
        sum_tile(l, INT8, panel, job->x, row, rows, sums);
        scale_tile(l, panel, job->x, row, rows, sums);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        float *y = job->y + (size_t)(row + r) * job->stride;
        float shift = job->x->shift ? job->x->shift[row + r] : 0;
        finish(l, sums[r].low, shift, panel * PANEL, y, job->add);
        finish(l, sums[r].high, shift, panel * PANEL + LANES, y, job->add);
    }
}

/* The number of rows is spelled out so that their sums stay in registers. */
static void some_rows(const struct job *job, int panel, int row, int rows)
{
    switch (rows) {
    case 1: tile(job, panel, row, 1); break;
    case 2: tile(job, panel, row, 2); break;
    case 3: tile(job, panel, row, 3); break;
    case 4: tile(job, panel, row, 4); break;
    case 5: tile(job, panel, row, 5); break;
    case 6: tile(job, panel, row, 6); break;
    case 7: tile(job, panel, row, 7); break;
    default: tile(job, panel, row, 8);
    }
}

static void some_panels(const void *context, int part, int thread)
{
    (void)thread;
    const struct job *job = context;
    int end = (part + 1) * job->panels_each;
    end = end < job->panels ? end : job->panels;
    for (int panel = part * job->panels_each; panel < end; panel++)
        for (int row = 0; row < job->rows; row += TILE)
            some_rows(job, panel, row, job->rows - row < TILE ? job->rows - row : TILE);
}

static int panels_each(const struct linear *l, int panels)
{
    static const int bytes[] = {[FLOAT32] = 4, [BFLOAT16] = 2, [INT8] = 1};
    int most = PART_BYTES / (l->inputs * PANEL * bytes[l->kind]);
    int fair = panels / FEWEST_PARTS;
    int each = most < fair ? most : fair;
    return each > 1 ? each : 1;
}

void linear_run(struct team *team, const struct linear *linear, const struct operand *x, int rows,
                float *y, int stride, int add)
{
    int panels = (linear->outputs + PANEL - 1) / PANEL;
    struct job job = {linear, x, y, rows, stride, add, panels, panels_each(linear, panels)};
    team_run(team, some_panels, &job, (panels + job.panels_each - 1) / job.panels_each);
}
