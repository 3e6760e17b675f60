/* What this build makes of small decoders: the same on every machine that keeps to the arithmetic. */

#ifndef CHECK_H
#define CHECK_H

#include <stdint.h>

#include "team.h"

enum { CHECKS = 5 }; /* kinds of weights, as linear.h counts them */

/* For each kind a hash of all logits and tokens that two decoders come to. Takes milliseconds. Returns
 * 0, or -1 if there is no memory. */
int check_run(struct team *team, int threads, uint64_t answers[CHECKS]);

/* Whether this build takes two bfloat16 neighbours at once; see bfloat16.h. */
int check_pairs(void);

#endif
