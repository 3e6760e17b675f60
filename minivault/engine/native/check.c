/* Prompts are longer than a block of positions and a tile of rows, so that every path of products,
 * attention, norms and draws is taken. */

#include "check.h"

#include <stdlib.h>

#include "bfloat16.h"
#include "decoder.h"
#include "dice.h"

enum {
    HIDDEN = 96,
    INNER = 160,
    HEADS = 6,
    KEY_HEADS = 2,
    HEAD_WIDTH = 20,
    VOCABULARY = 131,
    CONTEXT = 64,
    SLOTS = 3,
    PROMPT = 19, /* tokens of each prompt at once, twice */
    ROWS = SLOTS * PROMPT,
    TINY_ROWS = 11,
    DRAWN = 12,
    QUERIES_WIDTH = HEADS * HEAD_WIDTH,
    ALL_WIDTH = QUERIES_WIDTH + 2 * KEY_HEADS * HEAD_WIDTH,
    CACHE_WIDTH = 32,
    ROOM = 1 << 23, /* bytes */
};

static struct linear product(struct check *c, int inputs, int outputs, int activation, int gated)
{
    int whole = (inputs + GROUP - 1) / GROUP * GROUP, width = gated ? PANEL / 2 : PANEL;
    int panels = (outputs + width - 1) / width;
    const void *weight = weights(c, c->kind, whole, panels);
    return (struct linear){
        .weight = weight,
        .bias = floats(c, panels * PANEL, 0, 0.1f),
        .kind = c->kind,
        .activation = activation,
        .gated = gated,
        .inputs = whole,
        .outputs = outputs,
    };
}

static struct norm norm(struct check *c, int width)
{
    const float *weight = floats(c, width, 1, 0.3f);
    return (struct norm){weight, floats(c, width, 0, 0.1f)};
}

static struct layer layer(struct check *c, int modern, int last)
{
    struct layer l = {
        .projects = 1,
        .rotation = modern ? 0 : -1,
        .window = modern && last ? 21 : 0,
        .scale = 0.25f,
    };
    l.before_attention = norm(c, HIDDEN);
    l.before_network = norm(c, HIDDEN);
    l.project[0] = product(c, HIDDEN, ALL_WIDTH, NONE, 0);
    l.merge = product(c, QUERIES_WIDTH, HIDDEN, NONE, 0);
    l.narrow = product(c, INNER, HIDDEN, NONE, 0);
    int activation = modern ? (last ? GELU_TANH : SILU) : last ? RELU : GELU;
    l.widen = product(c, HIDDEN, INNER, activation, modern);
    if (modern) {
        l.after_network = norm(c, HIDDEN);
        l.queries = norm(c, HEAD_WIDTH);
        l.keys = norm(c, HEAD_WIDTH);
    }
    return l;
}

static struct decoder decoder(struct check *c, int modern)
{
    int bfloat16 = c->kind != FLOAT32;
    struct layer *layers = space(c, 2 * sizeof *layers);
    layers[0] = layer(c, modern, 0);
    layers[1] = layer(c, modern, 1);
    int keys = bfloat16 && c->kind != BFLOAT16 ? INT8 : c->kind;
    int keys_size = BLOCK * (keys == INT8 ? (GROUP + 4) / 2 : CACHE_WIDTH); /* of one group */
    int block_size = 2 * KEY_HEADS * (keys_size + BLOCK * CACHE_WIDTH); /* of all heads */
    size_t cache = (size_t)SLOTS * 2 * KEY_HEADS * 2 * CONTEXT * CACHE_WIDTH * (bfloat16 ? 2 : 4);
    struct decoder d = {
        .layers = layers,
        .cache = {memset(space(c, cache), 0, cache), keys, 2, KEY_HEADS, CONTEXT / BLOCK,
                  CACHE_WIDTH, keys_size, CONTEXT / BLOCK * block_size},
        .bfloat16 = bfloat16,
        .count = 2,
        .hidden = HIDDEN,
        .heads = HEADS,
        .head_width = HEAD_WIDTH,
        .rotary = HEAD_WIDTH,
        .inner = INNER,
        .context = CONTEXT,
        .norm = modern ? RMS_NORM : LAYER_NORM,
        .epsilon = 1e-5f,
        .embedding = modern ? 1.7f : 1,
        .residual = modern ? 0.8f : 1,
    };
    d.tokens = weights(c, bfloat16 ? BFLOAT16 : FLOAT32, HIDDEN, VOCABULARY / PANEL + 1);
    d.positions = modern ? NULL : floats(c, CONTEXT * HIDDEN, 0, 0.5f);
    d.rotations = floats(c, CONTEXT * HEAD_WIDTH, 0, 1);
    d.mean = modern ? NULL : floats(c, HIDDEN, 0, 0.1f);
    d.last = norm(c, HIDDEN);
    d.head = product(c, HIDDEN, VOCABULARY, NONE, 0);
    return d;
}

static struct operand operand(struct check *c, int width)
{
    int groups = (width + GROUP - 1) / GROUP;
    return (struct operand){
        .rows = space(c, ROWS * groups * GROUP * sizeof(float)),
        .scale = space(c, ROWS * groups * sizeof(float)),
        .sums = space(c, ROWS * groups * sizeof(int32_t)),
        .stride = groups * GROUP,
    };
}

static struct room room(struct check *c, int threads)
{
    size_t number = sizeof(float), scores = CONTEXT + CACHE_WIDTH;
    return (struct room){
        .tokens = space(c, ROWS * number),
        .places = space(c, ROWS * sizeof(struct place)),
        .x = space(c, ROWS * HIDDEN * number),
        .logits = space(c, ROWS * VOCABULARY * number),
        .history = space(c, SLOTS * CONTEXT * number),
        .of_hidden = operand(c, HIDDEN),
        .of_mixed = operand(c, QUERIES_WIDTH),
        .of_inner = operand(c, INNER),
        .shift = space(c, ROWS * number),
        .normalized = space(c, ROWS * HIDDEN * number),
        .projected = space(c, ROWS * ALL_WIDTH * number),
        .mixed = space(c, ROWS * QUERIES_WIDTH * number),
        .widened = space(c, ROWS * INNER * number),
        .branch = space(c, ROWS * HIDDEN * number),
        .scores = space(c, threads * QUERIES * scores * number),
    };
}

static struct draw draw(struct check *c, const int32_t *history, int threads)
{
    static const struct sampling sampling[SLOTS] = {
        {7, 0.9, 0.95, 1.1f, 40, 2 * PROMPT},
        {8, 1.3, 0.9, 1, 0, 2 * PROMPT},
        {9, 0, 1, 1.3f, 0, 2 * PROMPT},
    };
    size_t all = (size_t)threads * VOCABULARY;
    return (struct draw){
        .sampling = sampling,
        .history = history,
        .positions = CONTEXT,
        .vocabulary = VOCABULARY,
        .maxima = space(c, threads * (VOCABULARY / 16 + 16) * sizeof(float)),
        .saved = space(c, threads * CONTEXT * sizeof(float)),
        .values = space(c, all * sizeof(float)),
        .ids = space(c, all * sizeof(int32_t)),
        .sums = space(c, all * sizeof(double)),
        .order = space(c, 2 * all * sizeof(uint64_t)),
    };
}

/* FNV-1a, 64 bits, over numbers of 32. */
static uint64_t hashed(uint64_t hash, const void *from, int count)
{
    const uint32_t *numbers = from;
    for (int i = 0; i < count; i++)
        hash = (hash ^ numbers[i]) * 0x100000001b3;
    return hash;
}

static uint64_t answer(struct check *c, struct team *team, int threads, int modern)
{
    struct decoder d = decoder(c, modern);
    struct room r = room(c, threads);
    struct draw w = draw(c, r.history, threads);
    uint64_t hash = 0xcbf29ce484222325;
    for (int half = 0; half < 2; half++) {
        for (int row = 0; row < ROWS; row++) {
            r.tokens[row] = (int32_t)(roll(c) % VOCABULARY);
            r.places[row] = (struct place){row / PROMPT, row % PROMPT + half * PROMPT};
        }
        decoder_run(team, &d, &r, ROWS);
        decoder_logits(team, &d, &r, ROWS);
        hash = hashed(hash, r.logits, ROWS * VOCABULARY);
    }
    for (int step = 0; step < DRAWN; step++) {
        for (int row = 0; row < SLOTS; row++)
            r.places[row] = (struct place){row, 2 * PROMPT + step};
        decoder_step(team, &d, &r, &w, SLOTS, SLOTS);
        hash = hashed(hash, r.logits, SLOTS * VOCABULARY);
        hash = hashed(hash, r.tokens, SLOTS);
    }
    return hash;
}

/* Products of the smallest numbers that there are, and of rows with smaller ones. Some pairs take away
 * what the one before them has added, but for what was rounded off. */
static uint64_t tiny_products(struct check *c, struct team *team)
{
    enum { INPUTS = 2 * PANEL };
    uint16_t *weight = space(c, INPUTS * PANEL * sizeof *weight);
    for (int i = 0; i < INPUTS * PANEL; i++)
        weight[i] = i / (2 * PANEL) % 2 ? weight[i - 2 * PANEL] ^ 0x8000
                                        : narrowed_one(sized(c, -56, 3));
    struct linear l = {.weight = weight, .kind = BFLOAT16, .inputs = INPUTS, .outputs = PANEL};
    struct operand x = operand(c, INPUTS);
    float *from = space(c, INPUTS * sizeof *from), *y = space(c, TINY_ROWS * PANEL * sizeof *y);
    for (int row = 0; row < TINY_ROWS; row++) {
        for (int i = 0; i < INPUTS; i++)
            from[i] = i % 8 < 6 ? sized(c, -58, 5) : from[i - 2];
        operand_set(&x, BFLOAT16, row, from, INPUTS);
    }
    linear_run(team, &l, &x, TINY_ROWS, y, PANEL, 0);
    return hashed(0xcbf29ce484222325, y, TINY_ROWS * PANEL);
}

int check_run(struct team *team, int threads, uint64_t answers[CHECKS])
{
    struct check c = {.room = aligned_alloc(64, ROOM)};
    if (!c.room)
        return -1;
    for (int kind = 0; kind < CHECKS; kind++) {
        answers[kind] = 0;
        for (int modern = 0; modern < 2; modern++) {
            c.used = 0;
            c.dice = 2463534242u + (unsigned)(2 * kind + modern);
            c.kind = kind;
            answers[kind] = answers[kind] * 31 + answer(&c, team, threads, modern);
        }
        if (kind == BFLOAT16)
            answers[kind] = answers[kind] * 31 + tiny_products(&c, team);
    }
    free(c.room);
    return 0;
}

int check_pairs(void)
{
    return PAIRS;
}
