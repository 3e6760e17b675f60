#include "decoder.h"

#include <math.h>

#include "bfloat16.h"
#include "vectors.h"

/* What a task on rows needs; each task takes of it what it reads. */
struct rows {
    const struct decoder *decoder;
    const struct room *room;
    const struct layer *layer;
    const struct norm *norm;
    const float *from;
    const struct operand *to;
    int kind, width;
};

static void embed(const void *context, int row, int thread)
{
    (void)thread;
    const struct rows *r = context;
    const struct decoder *d = r->decoder;
    struct place place = r->room->places[row];
    size_t token = (size_t)r->room->tokens[row] * d->hidden;
    float *x = r->room->x + (size_t)row * d->hidden;
    r->room->history[(size_t)place.slot * d->context + place.position] = r->room->tokens[row];
    for (int i = 0; i < d->hidden; i++) {
        vhalf half = {0};
        if (d->bfloat16)
            half[0] = ((const uint16_t *)d->tokens)[token + i];
        x[i] = d->bfloat16 ? widened(half)[0] : ((const float *)d->tokens)[token + i];
        x[i] *= d->embedding;
        if (d->positions)
            x[i] = d->positions[(size_t)place.position * d->hidden + i] + x[i];
    }
}

/* Of one row: the mean first, then the spread around it. */
static void layer_norm(const struct decoder *d, const struct norm *norm, const float *from,
                       float *to, int width)
{
    float mean = row_sum(from, width) / (float)width;
    float scale = 1 / sqrtf(row_squares(from, mean, width) / (float)width + d->epsilon);
    for (int i = 0; i < width; i++)
        to[i] = (from[i] - mean) * scale * norm->weight[i] + norm->bias[i];
}

static void rms_norm(const struct decoder *d, const struct norm *norm, const float *from, float *to,
                     int width)
{
    float scale = 1 / sqrtf(row_squares(from, 0, width) / (float)width + d->epsilon);
    for (int i = 0; i < width; i++)
        to[i] = from[i] * scale * norm->weight[i];
}

/* `from` and `to` may be the same. */
static void normalize(const struct decoder *d, const struct norm *norm, const float *from, float *to,
                      int width)
{
    if (d->norm == RMS_NORM)
        rms_norm(d, norm, from, to, width);
    else
        layer_norm(d, norm, from, to, width);
}

static void normalize_row(const void *context, int row, int thread)
{
    (void)thread;
    const struct rows *r = context;
    const float *from = r->from + (size_t)row * r->width;
    float *to = r->room->normalized + (size_t)row * r->width;
    normalize(r->decoder, r->norm, from, to, r->width);
    operand_set(r->to, r->kind, row, to, r->width);
}

static void take_row(const void *context, int row, int thread)
{
    (void)thread;
    const struct rows *r = context;
    operand_set(r->to, r->kind, row, r->from + (size_t)row * r->width, r->width);
}

/* Rotary positions (arXiv:2104.09864) of one head: its halves turn against each other. */
static void turn(float *x, const float *cosines, const float *sines, int half)
{
    for (int i = 0; i < half; i++) {
        float one = x[i], other = x[half + i];
        x[i] = one * cosines[i] - other * sines[i];
        x[half + i] = other * cosines[i] + one * sines[i];
    }
}

/* What is done to heads of queries, or of keys, before they meet. */
static void prepare(const struct rows *r, const struct norm *norm, float *x, int heads, int position)
{
    const struct decoder *d = r->decoder;
    int width = d->head_width;
    if (norm->weight && r->layer->whole)
        normalize(d, norm, x, x, heads * width);
    for (float *end = x + heads * width; x < end; x += width) {
        if (norm->weight && !r->layer->whole)
            normalize(d, norm, x, x, width);
        if (r->layer->rotation >= 0) {
            size_t at = (size_t)r->layer->rotation * d->context + position;
            const float *cosines = d->rotations + at * d->rotary;
            turn(x, cosines, cosines + d->rotary / 2, d->rotary / 2);
        }
    }
}

static void prepare_row(const void *context, int row, int thread)
{
    (void)thread;
    const struct rows *r = context;
    const struct decoder *d = r->decoder;
    int position = r->room->places[row].position, queries = d->heads * d->head_width;
    float *x = r->room->projected + (size_t)row * r->width;
    prepare(r, &r->layer->queries, x, d->heads, position);
    prepare(r, &r->layer->keys, x + queries, d->cache.heads, position);
    if (d->stretch)
        for (int i = 0; i < queries; i++)
            x[i] *= d->stretch[position];
}

/* What a layer's half has made is added to x, after its norm and factor. */
static void join_row(const void *context, int row, int thread)
{
    (void)thread;
    const struct rows *r = context;
    float *y = r->room->branch + (size_t)row * r->width;
    float *x = r->room->x + (size_t)row * r->width;
    if (r->norm->weight)
        normalize(r->decoder, r->norm, y, y, r->width);
    for (int i = 0; i < r->width; i++)
        x[i] += y[i] * r->decoder->residual;
}

/* x, or its norm, as the next product reads it. */
static const struct operand *normalized(struct team *team, const struct decoder *d,
                                        const struct room *room, const struct norm *norm, int kind,
                                        int rows)
{
    struct rows r = {d, room, NULL, norm, room->x, &room->of_hidden, kind, d->hidden};
    team_run(team, norm->weight ? normalize_row : take_row, &r, rows);
    return r.to;
}

/* Several products of the same rows; their outputs come side by side. Returns how many these are. */
static int run_all(struct team *team, const struct linear *products, int count,
                   const struct operand *in, int rows, float *y)
{
    int stride = 0, begin = 0;
    for (int i = 0; i < count; i++)
        stride += products[i].outputs;
    for (int i = 0; i < count; begin += products[i++].outputs)
        linear_run(team, &products[i], in, rows, y + begin, stride, 0);
    return stride;
}

/* The last product of a layer's half, and the way back into x. */
static void run_last(struct team *team, const struct decoder *d, const struct room *room,
                     const struct linear *product, const struct norm *after,
                     const struct operand *in, int rows)
{
    int at_once = !after->weight && d->residual == 1;
    linear_run(team, product, in, rows, at_once ? room->x : room->branch, d->hidden, at_once);
    if (!at_once) {
        struct rows r = {.decoder = d, .room = room, .norm = after, .width = d->hidden};
        team_run(team, join_row, &r, rows);
    }
}

static void attend(struct team *team, const struct decoder *d, const struct room *room, int index,
                   int rows)
{
    const struct layer *l = &d->layers[index];
    const struct operand *in
        = normalized(team, d, room, &l->before_attention, l->project->kind, rows);
    int width = run_all(team, l->project, l->projects, in, rows, room->projected);
    if (l->rotation >= 0 || l->queries.weight || d->stretch) {
        struct rows r = {.decoder = d, .room = room, .layer = l, .width = width};
        team_run(team, prepare_row, &r, rows);
    }
    struct attention a = {&d->cache, room->places,  room->projected, room->mixed, room->scores,
                          d->heads,  d->head_width, index,           l->window,   l->scale};
    attention_run(team, &a, rows);
    struct rows mixed = {.from = room->mixed, .to = &room->of_mixed, .kind = l->merge.kind};
    mixed.width = d->heads * d->head_width;
    team_run(team, take_row, &mixed, rows);
    run_last(team, d, room, &l->merge, &l->after_attention, mixed.to, rows);
}

static void run_network(struct team *team, const struct decoder *d, const struct room *room,
                        const struct layer *l, int rows)
{
    const struct operand *in = normalized(team, d, room, &l->before_network, l->widen.kind, rows);
    linear_run(team, &l->widen, in, rows, room->widened, d->inner, 0);
    struct rows wide = {.decoder = d, .room = room, .from = room->widened, .to = &room->of_inner,
                        .kind = l->narrow.kind, .width = d->inner};
    team_run(team, take_row, &wide, rows);
    run_last(team, d, room, &l->narrow, &l->after_network, wide.to, rows);
}

static void run_layers(struct team *team, const struct decoder *d, const struct room *room,
                       int rows)
{
    struct rows r = {.decoder = d, .room = room};
    team_run(team, embed, &r, rows);
    for (int index = 0; index < d->count; index++) {
        attend(team, d, room, index, rows);
        run_network(team, d, room, &d->layers[index], rows);
    }
}

/* What the mean of the head's weights adds to every logit of a row. It is large, so narrow weights
 * are kept without it. Reads what `normalize_row` has left. */
static void shift_row(const void *context, int row, int thread)
{
    (void)thread;
    const struct rows *r = context;
    const float *x = r->room->normalized + (size_t)row * r->width;
    float sum = 0;
    for (int i = 0; i < r->width; i++)
        sum += x[i] * r->decoder->mean[i];
    r->room->shift[row] = sum;
}

static void run_head(struct team *team, const struct decoder *d, const struct room *room, int rows)
{
    struct operand in = *normalized(team, d, room, &d->last, d->head.kind, rows);
    if (d->mean) {
        struct rows r = {.decoder = d, .room = room, .width = d->hidden};
        team_run(team, shift_row, &r, rows);
        in.shift = room->shift;
    }
    linear_run(team, &d->head, &in, rows, room->logits, d->head.outputs, 0);
}

void decoder_run(struct team *team, const struct decoder *decoder, const struct room *room,
                 int rows)
{
    team_wake(team);
    run_layers(team, decoder, room, rows);
    team_rest(team);
}

void decoder_logits(struct team *team, const struct decoder *decoder, const struct room *room,
                    int rows)
{
    team_wake(team);
    run_head(team, decoder, room, rows);
    team_rest(team);
}

void decoder_step(struct team *team, const struct decoder *decoder, const struct room *room,
                  const struct draw *draw, int rows, int drawn)
{
    team_wake(team);
    run_layers(team, decoder, room, rows);
    run_head(team, decoder, room, drawn);
    draw_run(team, draw, room->logits, room->places, room->tokens, drawn);
    team_rest(team);
}
