/* Prints what a build makes of small decoders, once for each number of threads. */

#include <inttypes.h>
#include <stdio.h>

#include "check.h"

int main(void)
{
    for (int threads = 1; threads <= 4; threads++) {
        uint64_t answers[CHECKS] = {0};
        struct team *team = team_new(threads);
        if (!team || check_run(team, threads, answers))
            return 1;
        for (int i = 0; i < CHECKS; i++)
            printf("%016" PRIx64 "%c", answers[i], i == CHECKS - 1 ? '\n' : ' ');
        team_free(team);
    }
}
