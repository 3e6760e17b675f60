#include "decoder.h"

#include <math.h>

#include "vectors.h"

/* What a task on rows needs; each task takes of it what it reads. */
struct rows {
    const struct decoder *decoder;
    const struct room *room;
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
        if (d->positions)
            x[i] = d->positions[(size_t)place.position * d->hidden + i] + x[i];
    }
}

/* Of one row: the mean first, then the spread around it. */
static void layer_norm(const struct decoder *d, const struct norm *norm, const float *from,
                       float *to)
{
    int width = d->hidden, whole = width / LANES * LANES;
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
    float scale = 1 / sqrtf((sum_of(squares) + tail) / (float)width + d->epsilon);
    for (int i = 0; i < whole; i += LANES)
        store(to + i, fma16((load(from + i) - mean) * scale, load(norm->weight + i),
                            load(norm->bias + i)));
    for (int i = whole; i < width; i++)
        to[i] = (from[i] - mean) * scale * norm->weight[i] + norm->bias[i];
}

static void rms_norm(const struct decoder *d, const struct norm *norm, const float *from, float *to)
{
    int width = d->hidden, whole = width / LANES * LANES;
    vfloat squares = {0};
    float tail = 0;
    for (int i = 0; i < whole; i += LANES)
        squares = fma16(load(from + i), load(from + i), squares);
    for (int i = whole; i < width; i++)
        tail += from[i] * from[i];
    float scale = 1 / sqrtf((sum_of(squares) + tail) / (float)width + d->epsilon);
    for (int i = 0; i < width; i++)
        to[i] = from[i] * scale * norm->weight[i];
}

static void normalize_row(const void *context, int row, int thread)
{
    (void)thread;
    const struct rows *r = context;
    const struct decoder *d = r->decoder;
    const float *from = r->from + (size_t)row * r->width;
    float *to = r->room->normalized + (size_t)row * r->width;
    if (d->norm == RMS_NORM)
        rms_norm(d, r->norm, from, to);
    else
        layer_norm(d, r->norm, from, to);
    operand_set(r->to, r->kind, row, to, r->width);
}

static void take_row(const void *context, int row, int thread)
{
    (void)thread;
    const struct rows *r = context;
    operand_set(r->to, r->kind, row, r->from + (size_t)row * r->width, r->width);
}

/* Gates and values, side by side, become a row of half as many numbers. */
static void gate_row(const void *context, int row, int thread)
{
    (void)thread;
    const struct rows *r = context;
    float *gates = r->room->widened + (size_t)row * 2 * r->width;
    linear_gate(r->decoder->gate, gates, gates + r->width, r->width);
    operand_set(r->to, r->kind, row, gates, r->width);
}

/* Rotary positions (arXiv:2104.09864) of queries and keys: the halves of a head turn against each
 * other. */
static void rotate_row(const void *context, int row, int thread)
{
    (void)thread;
    const struct rows *r = context;
    const struct decoder *d = r->decoder;
    int half = d->head_width / 2;
    const float *cosines = d->rotations + (size_t)r->room->places[row].position * d->head_width;
    const float *sines = cosines + half;
    float *x = r->room->projected + (size_t)row * r->width;
    for (int head = 0; head < d->heads + d->cache.heads; head++, x += d->head_width)
        for (int i = 0; i < half; i++) {
            float one = x[i], other = x[half + i];
            x[i] = one * cosines[i] - other * sines[i];
            x[half + i] = other * cosines[i] + one * sines[i];
        }
}

/* norm(x), as the next product reads it. */
static const struct operand *normalized(struct team *team, const struct decoder *d,
                                        const struct room *room, const struct norm *norm, int kind,
                                        int rows)
{
    struct rows r = {d, room, norm, room->x, &room->of_hidden, kind, d->hidden};
    team_run(team, normalize_row, &r, rows);
    return r.to;
}

static void attend(struct team *team, const struct decoder *d, const struct room *room, int index,
                   int rows)
{
    const struct layer *l = &d->layers[index];
    const struct operand *in
        = normalized(team, d, room, &l->before_attention, l->project.kind, rows);
    linear_run(team, &l->project, in, rows, room->projected, l->project.outputs, 0);
    if (d->rotations) {
        struct rows r = {.decoder = d, .room = room, .width = l->project.outputs};
        team_run(team, rotate_row, &r, rows);
    }
    struct attention a = {&d->cache, room->places, room->projected, room->mixed, room->scores,
                          d->heads,  d->head_width, index,          l->scale};
    attention_run(team, &a, rows);
    struct rows mixed = {.from = room->mixed, .to = &room->of_mixed, .kind = l->merge.kind};
    mixed.width = d->heads * d->head_width;
    team_run(team, take_row, &mixed, rows);
    linear_run(team, &l->merge, mixed.to, rows, room->x, d->hidden, 1);
}

static void run_network(struct team *team, const struct decoder *d, const struct room *room,
                        const struct layer *l, int rows)
{
    const struct operand *in = normalized(team, d, room, &l->before_network, l->widen.kind, rows);
    linear_run(team, &l->widen, in, rows, room->widened, l->widen.outputs, 0);
    struct rows wide = {d, room, NULL, room->widened, &room->of_inner, l->narrow.kind, d->inner};
    team_run(team, d->gate == NONE ? take_row : gate_row, &wide, rows);
    linear_run(team, &l->narrow, wide.to, rows, room->x, d->hidden, 1);
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
