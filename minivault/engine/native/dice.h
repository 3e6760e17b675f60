/* What a check draws, in a fixed order and by whole numbers alone, and the room in which it lies. */

#ifndef DICE_H
#define DICE_H

#include "bfloat16.h"
#include "linear.h"

struct check {
    uint8_t *room;
    size_t used;
    uint32_t dice;
    int kind;
};

static void *space(struct check *c, size_t bytes)
{
    void *found = c->room + c->used;
    c->used += (bytes + 63) / 64 * 64;
    return found;
}

static uint32_t roll(struct check *c)
{
    c->dice ^= c->dice << 13;
    c->dice ^= c->dice >> 17;
    c->dice ^= c->dice << 5;
    return c->dice;
}

/* Of either sign, 2^exponent or more and less than 2^(exponent + spread). */
static float sized(struct check *c, int exponent, int spread)
{
    uint32_t dice = roll(c), power = exponent + 127 + (dice >> 8 & 0xff) % spread;
    uint32_t bits = dice << 31 | power << 23 | dice >> 9;
    float found;
    memcpy(&found, &bits, sizeof found);
    return found;
}

/* In [-spread, spread), of 16 bits. */
static float drawn(struct check *c, float spread)
{
    return ((float)(roll(c) >> 16) - 32768) / 32768 * spread;
}

static float *floats(struct check *c, int count, float middle, float spread)
{
    float *found = space(c, count * sizeof *found);
    for (int i = 0; i < count; i++)
        found[i] = middle + drawn(c, spread);
    return found;
}

/* Whatever bytes are weights; scales have the exponent of 2^-9. */
static void *weights(struct check *c, int kind, int inputs, int panels)
{
    int count = inputs * panels * PANEL;
    if (kind == FLOAT32)
        return floats(c, count, 0, 0.2f);
    if (kind == BFLOAT16) {
        uint16_t *found = space(c, count * sizeof *found);
        for (int i = 0; i < count; i++)
            found[i] = narrowed_one(drawn(c, 0.2f));
        return found;
    }
    int groups = inputs / GROUP * panels, scales = kind == INT4_LEAST ? 2 * PANEL : PANEL;
    int numbers = PANEL * (kind == INT8 ? GROUP : GROUP / 2);
    uint8_t *found = space(c, groups * (2 * scales + numbers)), *to = found;
    for (int g = 0; g < groups; g++) {
        for (int i = 0; i < scales; i++, to += 2) {
            int exponent = kind == INT8 ? 5 : i < PANEL ? 8 : 11;
            uint16_t half = (uint16_t)((roll(c) & 0x83ff) | exponent << 10);
            memcpy(to, &half, sizeof half);
        }
        for (int i = 0; i < numbers; i++)
            *to++ = (uint8_t)(roll(c) >> 24);
    }
    return found;
}

#endif
