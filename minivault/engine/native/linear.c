#include "linear.h"

#include "sums.h"
#include "vectors.h"

enum {
    PARTS_OF_MANY = 8, /* rows, for each thread */
};

/* --- rows of x --------------------------------------------------------------------------- */

/* Whole numbers from -127 to 127; the scale is that of the largest. What is no number makes the scale
 * none, and so the whole row. */
static float to_bytes(int8_t *to, int32_t *sum, const float *from)
{
    vfloat top = {0};
    vint wrong = {0}, sums = {0};
    for (int i = 0; i < GROUP; i += LANES) {
        vfloat v = load(from + i);
        wrong |= v != v;
        top = larger(top, absolute(v));
    }
    float largest = largest_of(top);
    if (any_of(wrong) || !(largest <= __FLT_MAX__)) {
        memset(to, 0, GROUP);
        *sum = 0;
        return __builtin_nanf("");
    }
    float levels = largest > 1e-30f ? 127 / largest : 0;
    int32_t numbers[GROUP]; /* all are made bytes at once, which GCC makes well of a loop alone */
    for (int i = 0; i < GROUP; i += LANES) {
        vint number = (vint)(load(from + i) * levels + ROUNDER) - (vint)splat(ROUNDER);
        memcpy(numbers + i, &number, sizeof number);
        sums += number;
    }
    for (int i = 0; i < GROUP; i++)
        to[i] = (int8_t)numbers[i];
    *sum = 0;
    for (int i = 0; i < LANES; i++)
        *sum += sums[i];
    return largest / 127;
}

static void to_groups(const struct operand *x, int row, const float *from, int count)
{
    size_t group = (size_t)row * (x->stride / GROUP);
    int8_t *to = (int8_t *)x->rows + (size_t)row * x->stride;
    for (int i = 0; i < x->stride; i += GROUP, group++) {
        if (i + GROUP <= count) {
            x->scale[group] = to_bytes(to + i, &x->sums[group], from + i);
            continue;
        }
        float rest[GROUP] = {0};
        if (i < count)
            memcpy(rest, from + i, (count - i) * sizeof *rest);
        x->scale[group] = to_bytes(to + i, &x->sums[group], rest);
    }
}

/* To bfloat16, which lies as floats where these are what is multiplied. */
static void to_factors(uint8_t *to, const float *from, int count)
{
    for (int i = 0; i < count; i += LANES) {
        float rest[LANES] = {0};
        int whole = i + LANES <= count;
        if (!whole)
            memcpy(rest, from + i, (count - i) * sizeof *rest);
        vhalf numbers = factor(load(whole ? from + i : rest));
        if (PAIRS)
            store_half((uint16_t *)to + i, numbers);
        else
            store((float *)to + i, widened(numbers));
    }
}

/* Bytes of a row's number. */
static size_t number_size(int kind)
{
    return kind == FLOAT32 || kind == BFLOAT16 ? (kind == BFLOAT16 && PAIRS ? 2 : 4) : 1;
}

void operand_set(const struct operand *x, int kind, int row, const float *from, int count)
{
    size_t size = number_size(kind);
    uint8_t *to = (uint8_t *)x->rows + (size_t)row * x->stride * size;
    if (size == 1) {
        to_groups(x, row, from, count);
        return;
    }
    if (kind == BFLOAT16)
        to_factors(to, from, count);
    else
        memcpy(to, from, count * size);
    memset(to + count * size, 0, (x->stride - count) * size);
}

/* --- what follows a product -------------------------------------------------------------- */

/* x·Φ(x) by the formula of GPT-2: tanh written with one exponential. */
static vfloat gelu_tanh(vfloat x)
{
    vfloat u = x * fused(x * x, splat(0.044715f), splat(1.0f)) * 0.7978845608028654f;
    return x / (1.0f + exponential(choose(u < -40.0f, splat(80.0f), u * -2.0f)));
}

/* x·Φ(x) with the error function of Abramowitz and Stegun, 7.1.26: wrong by at most 1.5e-7. */
static vfloat gelu(vfloat x)
{
    vfloat z = absolute(x) * 0.70710678118654752f;
    vfloat t = 1.0f / fused(z, splat(0.3275911f), splat(1.0f));
    vfloat p = fused(t, splat(1.061405429f), splat(-1.453152027f));
    p = fused(p, t, splat(1.421413741f));
    p = fused(p, t, splat(-0.284496736f));
    p = fused(p, t, splat(0.254829592f));
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

/* Sixteen outputs of one row, or as many as there are, from number `output` on. */
ALWAYS void finish(const struct linear *l, const float *sums, const float *bias, float shift,
                   int output, float *y, int add)
{
    float done[HALF];
    for (int i = 0; i < HALF; i += LANES) {
        vfloat sum = load(sums + i) + shift;
        if (bias)
            sum += load(bias + i);
        if (l->activation != NONE)
            sum = activated(sum, l->activation);
        if (l->gated) {
            vfloat value = load(sums + HALF + i);
            sum *= bias ? value + load(bias + HALF + i) : value;
        }
        store(done + i, sum);
    }
    int count = l->outputs - output < HALF ? l->outputs - output : HALF;
    for (int i = 0; i < count; i++)
        y[output + i] = add ? y[output + i] + done[i] : done[i];
}

/* --- the whole product ------------------------------------------------------------------- */

struct job {
    const struct linear *linear;
    const struct operand *x;
    float *y;
    int rows, stride, add, panels, parts;
};

static size_t panel_size(const struct linear *l)
{
    if (l->kind == FLOAT32 || l->kind == BFLOAT16)
        return (size_t)l->inputs * PANEL * (l->kind == FLOAT32 ? 4 : 2);
    return (size_t)l->inputs / GROUP * group_size(l->kind);
}

static void finish_panel(const struct job *job, int panel, int row, int rows, float sums[][PANEL])
{
    const struct linear *l = job->linear;
    const float *bias = l->bias ? l->bias + panel * PANEL : NULL;
    for (int r = 0; r < rows; r++) {
        float *y = job->y + (size_t)(row + r) * job->stride;
        float shift = job->x->shift ? job->x->shift[row + r] : 0;
        if (l->gated) {
            finish(l, sums[r], bias, shift, panel * HALF, y, job->add);
            continue;
        }
        finish(l, sums[r], bias, shift, panel * PANEL, y, job->add);
        finish(l, sums[r] + HALF, bias ? bias + HALF : NULL, shift, panel * PANEL + HALF, y, job->add);
    }
}

ALWAYS void tile(const struct job *job, int panel, int row, int rows)
{
    const struct linear *l = job->linear;
    const struct operand *x = job->x;
    size_t begin = (size_t)row * x->stride;
    struct reading t = {
        (const uint8_t *)l->weight + panel * panel_size(l),
        (const uint8_t *)x->rows + begin * number_size(l->kind),
        x->scale + begin / GROUP,
        x->sums + begin / GROUP,
        l->inputs,
        x->stride,
    };
    float sums[TILE][PANEL];
    switch (l->kind) { /* each kind is compiled by itself */
    case FLOAT32: sum_panel(&t, FLOAT32, rows, sums); break;
    case BFLOAT16: sum_panel(&t, BFLOAT16, rows, sums); break;
    case INT8: sum_panel(&t, INT8, rows, sums); break;
    case INT4: sum_panel(&t, INT4, rows, sums); break;
    default: sum_panel(&t, INT4_LEAST, rows, sums);
    }
    finish_panel(job, panel, row, rows, sums);
}

/* The number of rows is spelled out so that their sums stay in registers. */
static void some_rows(const struct job *job, int panel, int row, int rows)
{
    switch (rows) {
    case 1: tile(job, panel, row, 1); break;
    case 2: tile(job, panel, row, 2); break;
    case 3: tile(job, panel, row, 3); break;
#if TILE == 8
    case 4: tile(job, panel, row, 4); break;
    case 5: tile(job, panel, row, 5); break;
    case 6: tile(job, panel, row, 6); break;
    case 7: tile(job, panel, row, 7); break;
#endif
    default: tile(job, panel, row, TILE);
    }
}

static void some_panels(const void *context, int part, int thread)
{
    (void)thread;
    const struct job *job = context;
    int end = (int)((int64_t)job->panels * (part + 1) / job->parts);
    for (int panel = (int)((int64_t)job->panels * part / job->parts); panel < end; panel++)
        for (int row = 0; row < job->rows; row += TILE)
            some_rows(job, panel, row, job->rows - row < TILE ? job->rows - row : TILE);
}

/* Few rows wait for their weights, so each thread reads one long run of them: where a run ends, the
 * processor has fetched ahead what another thread reads. Many rows take their time at every panel, and
 * something else may take a thread away meanwhile: then whoever is free does more. */
static int parts_of(const struct team *team, int rows, int panels)
{
    int parts = team_size(team) * (rows > TILE ? PARTS_OF_MANY : 1);
    return parts < panels ? parts : panels;
}

void linear_run(struct team *team, const struct linear *linear, const struct operand *x, int rows,
                float *y, int stride, int add)
{
    int width = linear->gated ? HALF : PANEL, panels = (linear->outputs + width - 1) / width;
    struct job job = {linear, x, y, rows, stride, add, panels, parts_of(team, rows, panels)};
    team_run(team, some_panels, &job, job.parts);
}
