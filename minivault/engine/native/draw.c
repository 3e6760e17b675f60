/* The likeliest k of a row are found in two passes. The first cuts the row into groups of 16 numbers
 * and keeps the largest of each. Take the k-th largest of these: k groups, so k numbers at least,
 * reach it, and the likeliest k do. The second pass looks at those alone. */

#include "draw.h"

#include <math.h>
#include <stdbool.h>

#include "vectors.h"

enum { BUNDLE = 16 * LANES }; /* sixteen groups, one in each lane */

/* --- the likeliest tokens ---------------------------------------------------------------- */

/* The best so far: a heap whose top is the worst of them. */
struct heap {
    float *values;
    int32_t *ids;
    int size;
    int room;
};

static bool worse(float value, int32_t id, float than, int32_t than_id)
{
    return value < than || (value == than && id > than_id);
}

static void sink(struct heap *h, int at, float value, int32_t id)
{
    for (int child; (child = 2 * at + 1) < h->size; at = child) {
        int other = child + 1;
        if (other < h->size
            && worse(h->values[other], h->ids[other], h->values[child], h->ids[child]))
            child = other;
        if (!worse(h->values[child], h->ids[child], value, id))
            break;
        h->values[at] = h->values[child];
        h->ids[at] = h->ids[child];
    }
    h->values[at] = value;
    h->ids[at] = id;
}

static void offer(struct heap *h, float value, int32_t id)
{
    if (h->size == h->room) {
        if (worse(h->values[0], h->ids[0], value, id))
            sink(h, 0, value, id);
        return;
    }
    int at = h->size++;
    while (at) {
        int parent = (at - 1) / 2;
        if (!worse(value, id, h->values[parent], h->ids[parent]))
            break;
        h->values[at] = h->values[parent];
        h->ids[at] = h->ids[parent];
        at = parent;
    }
    h->values[at] = value;
    h->ids[at] = id;
}

/* From a heap to best first. */
static void settle(struct heap *h)
{
    while (h->size > 1) {
        float worst = h->values[0];
        int32_t id = h->ids[0];
        int last = --h->size;
        sink(h, 0, h->values[last], h->ids[last]);
        h->values[last] = worst;
        h->ids[last] = id;
    }
}

static vfloat at_most_left(const float *numbers, int left)
{
    if (left >= LANES)
        return load(numbers);
    vfloat v = splat(-INFINITY);
    memcpy(&v, numbers, left > 0 ? left * sizeof *numbers : 0);
    return v;
}

/* The maxima of all bundles' lanes; returns whether all are numbers. */
static bool find_maxima(const float *numbers, int width, float *maxima)
{
    vint wrong = {0};
    for (int begin = 0; begin < width; begin += BUNDLE, maxima += LANES) {
        vfloat top = splat(-INFINITY);
        for (int i = begin; i < begin + BUNDLE && i < width; i += LANES) {
            vfloat v = at_most_left(numbers + i, width - i);
            wrong |= v != v;
            top = larger(v, top);
        }
        store(maxima, top);
    }
    return !any_of(wrong);
}

/* The k-th largest maximum, k being how many `room` holds; it is left empty. */
static float bound(const float *maxima, int total, struct heap room)
{
    if (room.room > total)
        return -INFINITY;
    for (int i = 0; i < total; i++)
        if (room.size < room.room || maxima[i] > room.values[0])
            offer(&room, maxima[i], i);
    return room.values[0];
}

static void offer_bundle(struct heap *best, const float *numbers, int begin, int width, float least)
{
    for (int i = begin; i < begin + BUNDLE && i < width; i += LANES) {
        if (!any_of(at_most_left(numbers + i, width - i) >= least))
            continue;
        for (int j = i; j < i + LANES && j < width; j++)
            if (numbers[j] >= least)
                offer(best, numbers[j], j);
    }
}

/* Fills `best` with the likeliest tokens, best first; false if one of all is no number. */
static bool find_likeliest(struct heap *best, const float *logits, int width, float *maxima)
{
    if (!find_maxima(logits, width, maxima))
        return false;
    int bundles = (width + BUNDLE - 1) / BUNDLE;
    float least = bound(maxima, bundles * LANES, *best);
    for (int bundle = 0; bundle < bundles; bundle++)
        if (any_of(load(maxima + bundle * LANES) >= least))
            offer_bundle(best, logits, bundle * BUNDLE, width, least);
    int found = best->size;
    settle(best);
    best->size = found;
    return true;
}

/* --- one of them ------------------------------------------------------------------------- */

static uint64_t scrambled(uint64_t number)
{
    number += 0x9E3779B97F4A7C15;
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9;
    number = (number ^ number >> 27) * 0x94D049BB133111EB;
    return number ^ number >> 31;
}

/* In [0, 1), of seed and step alone: SplitMix64 (Steele, Lea, Flood 2014), its upper 53 bits. */
static double uniform(uint64_t seed, uint64_t step)
{
    return (double)(scrambled(scrambled(seed) + step * 0x9E3779B97F4A7C15) >> 11) * 0x1p-53;
}

static int32_t pick(const struct heap *best, const struct wish *wish, uint64_t step, double *sums)
{
    if (isinf(best->values[0]))
        return NO_NUMBERS;
    if (wish->temperature == 0)
        return best->ids[0];
    double sum = 0;
    for (int i = 0; i < best->size; i++) {
        sum += exp(((double)best->values[i] - best->values[0]) / wish->temperature);
        sums[i] = sum;
    }
    if (isnan(sum))
        return NO_NUMBERS;
    int kept = best->size;
    if (wish->top_p < 1) {
        double enough = wish->top_p * sum;
        for (kept = 1; kept < best->size && sums[kept - 1] < enough; kept++)
            ;
    }
    double mark = uniform(wish->seed, step) * sums[kept - 1];
    int chosen = 0;
    while (chosen < kept - 1 && sums[chosen] <= mark)
        chosen++;
    return best->ids[chosen];
}

/* --- one row ----------------------------------------------------------------------------- */

struct job {
    const struct draw *draw;
    float *logits;
    const struct place *places;
    int32_t *tokens;
};

/* Makes tokens that the sequence holds less likely (arXiv:1909.05858); keeps what they were. */
static void penalize(float *logits, const int32_t *tokens, int count, float penalty, float *held)
{
    for (int i = 0; i < count; i++)
        held[i] = logits[tokens[i]];
    for (int i = 0; i < count; i++)
        logits[tokens[i]] = held[i] > 0 ? held[i] / penalty : held[i] * penalty;
}

static void restore(float *logits, const int32_t *tokens, int count, const float *held)
{
    for (int i = 0; i < count; i++)
        logits[tokens[i]] = held[i];
}

static void draw_row(const void *context, int row, int thread)
{
    const struct job *job = context;
    const struct draw *d = job->draw;
    struct place place = job->places[row];
    const struct wish *wish = &d->wishes[place.slot];
    if (!wish->top_k) {
        job->tokens[row] = NOT_DRAWN;
        return;
    }
    float *logits = job->logits + (size_t)row * d->width;
    const int32_t *tokens = d->history + (size_t)place.slot * d->positions;
    int count = wish->penalty == 1 ? 0 : place.position + 1;
    float *held = d->held + (size_t)thread * d->positions;
    size_t room = (size_t)thread * d->most;
    struct heap best = {d->values + room, d->ids + room, 0, wish->top_k};
    penalize(logits, tokens, count, wish->penalty, held);
    bool found = find_likeliest(&best, logits, d->width,
                                d->maxima + (size_t)thread * (d->width / LANES + LANES));
    restore(logits, tokens, count, held);
    uint64_t step = (uint64_t)(place.position + 1 - wish->prompt);
    job->tokens[row] = found ? pick(&best, wish, step, d->sums + room) : NO_NUMBERS;
}

void draw_run(struct team *team, const struct draw *draw, float *logits,
              const struct place *places, int32_t *tokens, int rows)
{
    struct job job = {draw, logits, places, tokens};
    team_run(team, draw_row, &job, rows);
}
