/* A few threads that share out the parts of one task after another. */

#ifndef TEAM_H
#define TEAM_H

struct team;

/* Does part number `part`; `thread` counts from 0 and may be used to choose a scratch area. */
typedef void task(const void *context, int part, int thread);

/* `threads` counts the caller's own. NULL if the system gives no more threads. */
struct team *team_new(int threads);
void team_free(struct team *team);
int team_size(const struct team *team);

/* Between these the other threads take part; outside the caller does everything alone. */
void team_wake(struct team *team);
void team_rest(struct team *team);

/* Returns when all parts (fewer than 2^23) are done. One caller at a time. */
void team_run(struct team *team, task *task, const void *context, int parts);

#endif
