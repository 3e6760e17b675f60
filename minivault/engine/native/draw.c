#include "draw.h"

#include "likeliest.h"

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

/* Tokens that may be drawn, in the order in which they are added up. */
struct candidates {
    const float *values;
    const int32_t *ids; /* NULL: each token's place is its id */
    int count;
    float top; /* the largest value */
};

/* sums[i] becomes the weight of the first i + 1. */
static void add_up(const struct candidates *c, double temperature, double *sums)
{
    double sum = 0;
    for (int begin = 0; begin < c->count; begin += DOUBLES) {
        vdouble x = {0};
        int some = c->count - begin < DOUBLES ? c->count - begin : DOUBLES;
        for (int i = 0; i < some; i++)
            x[i] = ((double)c->values[begin + i] - c->top) / temperature;
        x = exponential_double(x);
        for (int i = 0; i < some; i++)
            sums[begin + i] = sum += x[i];
    }
}

static int32_t pick(const struct candidates *c, const struct sampling *sampling, uint64_t step,
                    double *sums)
{
    if (isinf(c->top))
        return NO_NUMBERS;
    if (sampling->temperature == 0)
        return c->ids[0];
    add_up(c, sampling->temperature, sums);
    int kept = c->count;
    if (sampling->top_p < 1) {
        double enough = sampling->top_p * sums[c->count - 1];
        for (kept = 1; kept < c->count && sums[kept - 1] < enough; kept++)
            ;
    }
    double mark = uniform(sampling->seed, step) * sums[kept - 1];
    int chosen = 0;
    while (chosen < kept - 1 && sums[chosen] <= mark)
        chosen++;
    return c->ids ? c->ids[chosen] : chosen;
}

/* --- one row ----------------------------------------------------------------------------- */

struct job {
    const struct draw *draw;
    float *logits;
    const struct place *places;
    int32_t *tokens;
};

static float *maxima_of(const struct draw *d, int thread)
{
    return d->maxima + (size_t)thread * (d->vocabulary / 16 + 16);
}

/* Makes tokens that the sequence holds less likely (arXiv:1909.05858); keeps what they were. */
static void penalize(float *logits, const int32_t *tokens, int count, float penalty, float *saved)
{
    for (int i = 0; i < count; i++)
        saved[i] = logits[tokens[i]];
    for (int i = 0; i < count; i++)
        logits[tokens[i]] = saved[i] > 0 ? saved[i] / penalty : saved[i] * penalty;
}

static void restore(float *logits, const int32_t *tokens, int count, const float *saved)
{
    for (int i = 0; i < count; i++)
        logits[tokens[i]] = saved[i];
}

/* The likeliest `count` tokens, best first. */
static struct candidates cut(const struct draw *d, const float *logits, int count, int thread)
{
    size_t room = (size_t)thread * d->vocabulary;
    float *values = d->values + room;
    int32_t *ids = d->ids + room;
    if (count <= FEW) {
        struct heap best = {values, ids, 0, count};
        find_likeliest(&best, logits, d->vocabulary, maxima_of(d, thread));
        return (struct candidates){values, ids, best.size, values[0]};
    }
    sort_all(logits, d->vocabulary, d->order + 2 * room, ids);
    for (int i = 0; i < count; i++)
        values[i] = logits[ids[i]];
    return (struct candidates){values, ids, count, values[0]};
}

/* The token, from logits that the penalty has changed already. */
static int32_t draw_one(const struct draw *d, const struct sampling *sampling, const float *logits,
                        uint64_t step, int thread)
{
    int all = d->vocabulary;
    int count = sampling->top_k && sampling->top_k < all ? sampling->top_k : all;
    if (sampling->temperature == 0)
        count = 1;
    float top;
    if (!find_maxima(logits, all, maxima_of(d, thread), &top))
        return NO_NUMBERS;
    struct candidates c = {logits, NULL, all, top};
    if (sampling->top_k || sampling->temperature == 0 || sampling->top_p < 1)
        c = cut(d, logits, count, thread);
    return pick(&c, sampling, step, d->sums + (size_t)thread * all);
}

static void draw_row(const void *context, int row, int thread)
{
    const struct job *job = context;
    const struct draw *d = job->draw;
    struct place place = job->places[row];
    const struct sampling *sampling = &d->sampling[place.slot];
    float *logits = job->logits + (size_t)row * d->vocabulary;
    const int32_t *tokens = d->history + (size_t)place.slot * d->positions;
    int count = sampling->penalty == 1 ? 0 : place.position + 1;
    float *saved = d->saved + (size_t)thread * d->positions;
    penalize(logits, tokens, count, sampling->penalty, saved);
    uint64_t step = (uint64_t)(place.position + 1 - sampling->prompt);
    job->tokens[row] = draw_one(d, sampling, logits, step, thread);
    restore(logits, tokens, count, saved);
}

void draw_run(struct team *team, const struct draw *draw, float *logits,
              const struct place *places, int32_t *tokens, int rows)
{
    struct job job = {draw, logits, places, tokens};
    team_run(team, draw_row, &job, rows);
}
