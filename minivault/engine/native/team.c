/* Parts are taken one by one, whoever is free, and the caller takes them too. So a thread that the
 * system has put aside (there is a server on the same cores) holds up at most its own part. */

#include "team.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { PART_BITS = 24, SPINS = 2000 };

/* A processor's switches for arithmetic as IEEE 754 has it, without traps. */
#if defined(__x86_64__)
enum { IEEE_754 = 0x1f80 };
#else
enum { IEEE_754 = 0 };
#endif

struct team {
    /* What is to be done, as one number: parts | parts taken. Only a thread that took a part looks
     * at the task, and no other task begins before that part is done. */
    _Alignas(64) _Atomic uint64_t ticket;
    _Alignas(64) atomic_int left;
    _Alignas(64) task *task;
    const void *context;
    int threads;
    unsigned callers_arithmetic;
    atomic_bool awake;
    bool closed;
    pthread_mutex_t mutex;
    pthread_cond_t called;
    atomic_int next_thread;
    pthread_t ids[];
};

static void relax(int *spins)
{
    if (++*spins < SPINS) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    } else {
        sched_yield();
    }
}

static bool open_parts(uint64_t ticket)
{
    uint64_t mask = (1u << PART_BITS) - 1;
    return (ticket & mask) < ticket >> PART_BITS;
}

static bool work(struct team *team, int thread)
{
    bool any = false;
    while (open_parts(atomic_load_explicit(&team->ticket, memory_order_relaxed))) {
        uint64_t mine = atomic_fetch_add_explicit(&team->ticket, 1, memory_order_acq_rel);
        if (!open_parts(mine))
            break;
        team->task(team->context, (int)(mine & ((1u << PART_BITS) - 1)), thread);
        atomic_fetch_sub_explicit(&team->left, 1, memory_order_release);
        any = true;
    }
    return any;
}

static bool sleep_until_called(struct team *team)
{
    pthread_mutex_lock(&team->mutex);
    while (!atomic_load(&team->awake) && !team->closed)
        pthread_cond_wait(&team->called, &team->mutex);
    bool closed = team->closed;
    pthread_mutex_unlock(&team->mutex);
    return !closed;
}

/* Arithmetic as IEEE 754 has it, in every thread alike: a library may have told one of them to take
 * tiny numbers for zero. Returns what was set before. */
static unsigned set_arithmetic(unsigned mode)
{
#if defined(__x86_64__)
    unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(mode);
    return before;
#elif defined(__aarch64__)
    uint64_t before, now = mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(now));
    return (unsigned)before;
#else
    return mode;
#endif
}

static void *help(void *argument)
{
    struct team *team = argument;
    set_arithmetic(IEEE_754);
    int thread = atomic_fetch_add(&team->next_thread, 1);
    while (sleep_until_called(team)) {
        int spins = 0;
        while (atomic_load_explicit(&team->awake, memory_order_relaxed)) {
            if (work(team, thread))
                spins = 0;
            else
                relax(&spins);
        }
    }
    return NULL;
}

struct team *team_new(int threads)
{
    size_t size = sizeof(struct team) + sizeof(pthread_t) * (size_t)threads;
    struct team *team = aligned_alloc(64, (size + 63) / 64 * 64);
    if (!team)
        return NULL;
    *team = (struct team){.threads = 1, .next_thread = 1};
    pthread_mutex_init(&team->mutex, NULL);
    pthread_cond_init(&team->called, NULL);
    for (; team->threads < threads; team->threads++)
        if (pthread_create(&team->ids[team->threads], NULL, help, team)) {
            team_free(team);
            return NULL;
        }
    return team;
}

void team_free(struct team *team)
{
    pthread_mutex_lock(&team->mutex);
    team->closed = true;
    pthread_cond_broadcast(&team->called);
    pthread_mutex_unlock(&team->mutex);
    for (int i = 1; i < team->threads; i++)
        pthread_join(team->ids[i], NULL);
    pthread_cond_destroy(&team->called);
    pthread_mutex_destroy(&team->mutex);
    free(team);
}

int team_size(const struct team *team)
{
    return team->threads;
}

void team_wake(struct team *team)
{
    team->callers_arithmetic = set_arithmetic(IEEE_754);
    if (team->threads == 1)
        return;
    pthread_mutex_lock(&team->mutex);
    atomic_store(&team->awake, true);
    pthread_cond_broadcast(&team->called);
    pthread_mutex_unlock(&team->mutex);
}

void team_rest(struct team *team)
{
    atomic_store(&team->awake, false);
    set_arithmetic(team->callers_arithmetic);
}

void team_run(struct team *team, task *task, const void *context, int parts)
{
    if (parts == 1 || team->threads == 1) {
        for (int part = 0; part < parts; part++)
            task(context, part, 0);
        return;
    }
    team->task = task;
    team->context = context;
    atomic_store_explicit(&team->left, parts, memory_order_relaxed);
    atomic_store_explicit(&team->ticket, (uint64_t)parts << PART_BITS, memory_order_release);
    work(team, 0);
    int spins = 0;
    while (atomic_load_explicit(&team->left, memory_order_acquire))
        relax(&spins);
}
