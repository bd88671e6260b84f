/* The pool: POSIX threads, counters that only grow, and one condition for all who sleep.
 *
 * Whoever waits looks at its counter for a tenth of a millisecond and then sleeps. Whoever moves a
 * counter on looks for sleepers afterwards, and a sleeper looks at the counter after it has said
 * that it sleeps; both in sequentially consistent order, so that one of them sees the other.
 *
 * A run does not wait for threads that hold no part. One that is late goes through the same phases
 * and finds them all taken; phases are numbered on from run to run, so that it cannot mistake the
 * parts of a later one for its own. */
#define _POSIX_C_SOURCE 200809L /* for pthread_sigmask */
#include "pool.h"

#include <stdatomic.h>
#include <stddef.h>

#if defined(_WIN32)

/* Not written yet: a run computes all parts on the calling thread. */
int64_t mnv2_pool_bytes(int32_t threads) {
    (void)threads;
    return 64;
}
int32_t mnv2_pool_start(void *memory, int32_t threads) {
    (void)memory, (void)threads;
    return MNV2_NO_THREADS;
}
void mnv2_pool_stop(mnv2_pool *pool) { (void)pool; }
int32_t mnv2_pool_threads(const mnv2_pool *pool) {
    (void)pool;
    return 1;
}
int mnv2_pool_acquire(mnv2_pool *pool) {
    (void)pool;
    return 0;
}
void mnv2_pool_run(mnv2_pool *pool, mnv2_task *task, const void *argument, int32_t bytes) {
    (void)pool, (void)task, (void)argument, (void)bytes;
}
int32_t mnv2_pool_next_part(mnv2_pool *pool, mnv2_place *place) {
    (void)pool, (void)place;
    return -1;
}

#else

#include <pthread.h>
#include <signal.h>
#include <string.h>

#if defined(__x86_64__)
#include <emmintrin.h>
static inline void pause_briefly(void) { _mm_pause(); }
#elif defined(__aarch64__)
static inline void pause_briefly(void) { __asm__ volatile("isb"); }
#else
static inline void pause_briefly(void) {}
#endif

/* Looks before sleeping, each of 10 to 40 ns, 0.1 ms in all: a part is done, and the next of
 * several images or calls in a row begins, sooner than a sleeper wakes up and has found a CPU. */
enum { LOOKS_BEFORE_SLEEP = 5000 };

/* A thread that is on its way finds its own scratch in its cache, so it gets a microsecond before
 * another does its part. */
enum { LOOKS_BEFORE_HELPING = 40 };

enum { STACK_BYTES = 512 << 10 }; /* of which a run touches a few pages */

typedef struct {
    mnv2_task *task; /* NULL: there is none, or it is over */
    int64_t first_phase;
    char argument[MNV2_ARGUMENT_BYTES];
} job;

/* The phase in which a part is to be taken next; a cache line each. */
typedef struct {
    _Alignas(64) atomic_llong phase;
} part;

typedef struct {
    mnv2_pool *pool;
    int32_t index;
    pthread_t thread;
} worker;

struct mnv2_pool {
    _Alignas(64) atomic_llong done; /* parts, of all phases so far */
    _Alignas(64) atomic_llong runs;
    atomic_int sleepers;
    atomic_flag in_use;
    int32_t threads;
    pthread_cond_t moved;  /* a counter */
    pthread_mutex_t mutex; /* of `moved`, `current` and `stopping` */
    job current;
    int stopping;
    worker workers[MNV2_MAX_THREADS]; /* all but that of the caller */
    part parts[];
};

static void wait_for(mnv2_pool *pool, atomic_llong *counter, int64_t target) {
    for (int i = 0; i < LOOKS_BEFORE_SLEEP; i++) {
        if (atomic_load(counter) >= target) return;
        pause_briefly();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(counter) < target) pthread_cond_wait(&pool->moved, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

/* After a counter has moved to where someone may wait for it. */
static void wake(mnv2_pool *pool) {
    if (atomic_load(&pool->sleepers) == 0) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->moved);
    pthread_mutex_unlock(&pool->mutex);
}

static int take(mnv2_pool *pool, mnv2_place *place, int32_t index) {
    long long phase = place->phase;
    place->holds_part =
        atomic_compare_exchange_strong(&pool->parts[index].phase, &phase, phase + 1);
    return place->holds_part;
}

int32_t mnv2_pool_next_part(mnv2_pool *pool, mnv2_place *place) {
    const int64_t end = (place->phase + 1) * pool->threads;
    if (place->holds_part && atomic_fetch_add(&pool->done, 1) + 1 == end) wake(pool);
    if (take(pool, place, place->own_part)) return place->own_part;
    for (int i = 0; i < LOOKS_BEFORE_HELPING && atomic_load(&pool->done) < end; i++)
        pause_briefly();
    for (int32_t i = 0; i < pool->threads && atomic_load(&pool->done) < end; i++)
        if (take(pool, place, i)) return i;
    wait_for(pool, &pool->done, end);
    place->phase++;
    return -1;
}

static void *work(void *argument) {
    const worker *self = argument;
    mnv2_pool *pool = self->pool;
    for (int64_t seen = 0;;) {
        wait_for(pool, &pool->runs, seen + 1);
        pthread_mutex_lock(&pool->mutex);
        seen = atomic_load(&pool->runs); /* or one less than that of the job, which is seen twice */
        const job mine = pool->current;
        const int stopping = pool->stopping;
        pthread_mutex_unlock(&pool->mutex);
        if (stopping) return NULL;
        mnv2_place place = {.phase = mine.first_phase, .own_part = self->index};
        if (mine.task) mine.task(mine.argument, pool, &place);
    }
}

int64_t mnv2_pool_bytes(int32_t threads) {
    return (int64_t)sizeof(mnv2_pool) + threads * (int64_t)sizeof(part);
}

int32_t mnv2_pool_threads(const mnv2_pool *pool) { return pool->threads; }

int mnv2_pool_acquire(mnv2_pool *pool) { return !atomic_flag_test_and_set(&pool->in_use); }

/* Has everyone look at `next`. */
static void announce(mnv2_pool *pool, const job *next, int stopping) {
    pthread_mutex_lock(&pool->mutex);
    pool->current = *next;
    pool->stopping = stopping;
    pthread_mutex_unlock(&pool->mutex); /* first: whoever finds it locked goes to sleep */
    atomic_fetch_add(&pool->runs, 1);
    wake(pool);
}

void mnv2_pool_run(mnv2_pool *pool, mnv2_task *task, const void *argument, int32_t bytes) {
    mnv2_place place = {.phase = atomic_load(&pool->done) / pool->threads};
    job next = {.task = task, .first_phase = place.phase};
    memcpy(next.argument, argument, (size_t)bytes);
    announce(pool, &next, 0);
    task(argument, pool, &place);
    pthread_mutex_lock(&pool->mutex);
    pool->current.task = NULL;
    pthread_mutex_unlock(&pool->mutex);
    atomic_flag_clear(&pool->in_use);
}

static void stop(mnv2_pool *pool, int32_t started) {
    announce(pool, &(job){.task = NULL}, 1);
    for (int32_t i = 0; i < started; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->moved);
    pthread_mutex_destroy(&pool->mutex);
}

int32_t mnv2_pool_start(void *memory, int32_t threads) {
    mnv2_pool *pool = memory;
    pthread_attr_t attributes;
    sigset_t all, callers;
    if (threads < 1 || threads > MNV2_MAX_THREADS) return MNV2_NO_THREADS;
    *pool = (mnv2_pool){.threads = threads, .in_use = ATOMIC_FLAG_INIT};
    for (int32_t i = 0; i < threads; i++) atomic_init(&pool->parts[i].phase, 0);
    if (pthread_mutex_init(&pool->mutex, NULL)) return MNV2_NO_THREADS;
    if (pthread_cond_init(&pool->moved, NULL) || pthread_attr_init(&attributes)) {
        pthread_mutex_destroy(&pool->mutex);
        return MNV2_NO_THREADS;
    }
    pthread_attr_setstacksize(&attributes, STACK_BYTES); /* else the default, which is larger */
    sigfillset(&all); /* signals are the business of the caller's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &callers);
    int32_t started = 0, failed = 0;
    while (started + 1 < threads && !failed) {
        worker *next = &pool->workers[started];
        next->pool = pool;
        next->index = started + 1;
        failed = pthread_create(&next->thread, &attributes, work, next);
        if (!failed) started++;
    }
    pthread_sigmask(SIG_SETMASK, &callers, NULL);
    pthread_attr_destroy(&attributes);
    if (failed) stop(pool, started);
    return failed ? MNV2_NO_THREADS : MNV2_OK;
}

void mnv2_pool_stop(mnv2_pool *pool) { stop(pool, pool->threads - 1); }

#endif
