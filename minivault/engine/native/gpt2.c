#include "gpt2.h"

#include <math.h>

#include "vectors.h"

/* What a task on rows needs; each task takes of it what it reads. */
struct rows {
    const struct gpt2 *model;
    const struct norm *norm;
    const int32_t *tokens;
    const struct place *places;
    const float *from;
    float *x;
    const struct operand *to;
    int kind, width;
};

static void embed(const void *context, int row, int thread)
{
    (void)thread;
    const struct rows *r = context;
    const struct gpt2 *m = r->model;
    size_t token = (size_t)r->tokens[row] * m->width;
    const float *position = m->positions + (size_t)r->places[row].position * m->width;
    float *x = r->x + (size_t)row * m->width;
    m->history[(size_t)r->places[row].slot * m->context + r->places[row].position] = r->tokens[row];
    for (int i = 0; i < m->width; i++) {
        vhalf half = {0};
        if (m->bfloat16)
            half[0] = ((const uint16_t *)m->tokens)[token + i];
        x[i] = position[i] + (m->bfloat16 ? widened(half)[0] : ((const float *)m->tokens)[token + i]);
    }
}

/* Layer normalization (arXiv:1607.06450) of one row: mean first, then the spread around it. */
static void normalize(const struct gpt2 *m, const struct norm *norm, const float *from, float *to)
{
    int width = m->width, whole = width / LANES * LANES;
    vfloat sums = {0};
    float tail = 0;
    for (int i = 0; i < whole; i += LANES)
        sums += load(from + i);
    for (int i = whole; i < width; i++)
        tail += from[i];
    float mean = (sum_of(sums) + tail) / (float)width;
    vfloat squares = {0};
    tail = 0;
    for (int i = 0; i < whole; i += LANES) {
        vfloat off = load(from + i) - mean;
        squares = fma16(off, off, squares);
    }
    for (int i = whole; i < width; i++)
        tail += (from[i] - mean) * (from[i] - mean);
    float scale = 1 / sqrtf((sum_of(squares) + tail) / (float)width + m->epsilon);
    for (int i = 0; i < whole; i += LANES)
        store(to + i, fma16((load(from + i) - mean) * scale, load(norm->weight + i),
                            load(norm->bias + i)));
    for (int i = whole; i < width; i++)
        to[i] = (from[i] - mean) * scale * norm->weight[i] + norm->bias[i];
}

static void normalize_row(const void *context, int row, int thread)
{
    (void)thread;
    const struct rows *r = context;
    float *room = r->model->mixed + (size_t)row * r->width;
    normalize(r->model, r->norm, r->from + (size_t)row * r->width, room);
    operand_set(r->to, r->kind, row, room, r->width);
}

static void take_row(const void *context, int row, int thread)
{
    (void)thread;
    const struct rows *r = context;
    operand_set(r->to, r->kind, row, r->from + (size_t)row * r->width, r->width);
}

/* norm(x), as the next product reads it. */
static const struct operand *normalized(struct team *team, const struct gpt2 *m,
                                        const struct norm *norm, const float *x, int rows)
{
    struct rows r = {.model = m, .norm = norm, .from = x, .to = &m->of_width};
    r.kind = m->head.kind;
    r.width = m->width;
    team_run(team, normalize_row, &r, rows);
    return r.to;
}

/* `from` (rows, width), as the next product reads it. */
static const struct operand *taken(struct team *team, const struct gpt2 *m,
                                   const struct operand *to, const float *from, int width, int rows)
{
    struct rows r = {.model = m, .from = from, .to = to, .kind = m->head.kind, .width = width};
    team_run(team, take_row, &r, rows);
    return to;
}

static void run_layer(struct team *team, const struct gpt2 *m, int index, int rows,
                      const struct place *places, float *x)
{
    const struct layer *l = &m->layers[index];
    const struct operand *in = normalized(team, m, &l->before_attention, x, rows);
    linear_run(team, &l->project, in, rows, m->projected, 3 * m->width, 0);
    struct attention a = {&m->cache,
                          places,
                          m->projected,
                          m->mixed,
                          m->scores,
                          m->width / m->cache.heads,
                          index,
                          l->scale};
    attention_run(team, &a, rows);
    in = taken(team, m, &m->of_width, m->mixed, m->width, rows);
    linear_run(team, &l->merge, in, rows, x, m->width, 1);
    in = normalized(team, m, &l->before_network, x, rows);
    linear_run(team, &l->widen, in, rows, m->widened, m->inner, 0);
    in = taken(team, m, &m->of_inner, m->widened, m->inner, rows);
    linear_run(team, &l->narrow, in, rows, x, m->width, 1);
}

static void run_layers(struct team *team, const struct gpt2 *m, int rows, const int32_t *tokens,
                       const struct place *places, float *x)
{
    struct rows r = {.model = m, .tokens = tokens, .places = places, .x = x};
    team_run(team, embed, &r, rows);
    for (int index = 0; index < m->count; index++)
        run_layer(team, m, index, rows, places, x);
}

/* What the mean of the head's weights adds to every logit of a row. It is large, so narrow weights
 * are kept without it. Reads what `normalize_row` has left. */
static void shift_row(const void *context, int row, int thread)
{
    (void)thread;
    const struct rows *r = context;
    const float *x = r->model->mixed + (size_t)row * r->width;
    float sum = 0;
    for (int i = 0; i < r->width; i++)
        sum += x[i] * r->model->mean[i];
    r->model->shift[row] = sum;
}

static void run_head(struct team *team, const struct gpt2 *m, int rows, const float *x,
                     float *logits)
{
    struct operand in = *normalized(team, m, &m->last, x, rows);
    if (m->mean) {
        struct rows r = {.model = m, .width = m->width};
        team_run(team, shift_row, &r, rows);
        in.shift = m->shift;
    }
    linear_run(team, &m->head, &in, rows, logits, m->head.outputs, 0);
}

void gpt2_run(struct team *team, const struct gpt2 *model, int rows, const int32_t *tokens,
              const struct place *places, float *x)
{
    team_wake(team);
    run_layers(team, model, rows, tokens, places, x);
    team_rest(team);
}

void gpt2_logits(struct team *team, const struct gpt2 *model, int rows, const float *x,
                 float *logits)
{
    team_wake(team);
    run_head(team, model, rows, x, logits);
    team_rest(team);
}

void gpt2_step(struct team *team, const struct gpt2 *model, const struct draw *draw, int rows,
               int drawn, int32_t *tokens, const struct place *places, float *x, float *logits)
{
    team_wake(team);
    run_layers(team, model, rows, tokens, places, x);
    run_head(team, model, drawn, x, logits);
    draw_run(team, draw, logits, places, tokens, drawn);
    team_rest(team);
}
