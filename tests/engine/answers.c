/* Prints what a build makes of small decoders, once for each number of threads, called by a thread that
 * takes tiny numbers for zero. */

#include <inttypes.h>
#include <stdio.h>

#include "check.h"

/* Ends with 2 where a thread of the team does as its caller does, with 3 where the caller no longer
 * does. */

static volatile float tiny = 0x1p-140f;

static void flush_tiny(void)
{
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(0x9fc0);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)1 << 24));
#endif
}

static void add_one(const void *context, int part, int thread)
{
    (void)thread;
    ((volatile float *)context)[part] = tiny * 2;
}

static int keeps_tiny(struct team *team)
{
    enum { PARTS = 64 };
    float found[PARTS] = {0};
    team_wake(team);
    team_run(team, add_one, found, PARTS);
    int kept = 1;
    for (int i = 0; i < PARTS; i++)
        kept &= found[i] != 0;
    team_rest(team);
    return kept;
}

int main(void)
{
    flush_tiny();
    for (int threads = 1; threads <= 4; threads++) {
        uint64_t answers[CHECKS] = {0};
        struct team *team = team_new(threads);
        if (!team || check_run(team, threads, answers))
            return 1;
        for (int i = 0; i < CHECKS; i++)
            printf("%016" PRIx64 "%c", answers[i], i == CHECKS - 1 ? '\n' : ' ');
        if (!keeps_tiny(team))
            return 2;
        if (tiny * 2 != 0)
            return 3;
        team_free(team);
    }
}
