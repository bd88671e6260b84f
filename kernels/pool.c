/* The pool: POSIX threads, two counters that only grow, and one condition for all who sleep.
 *
 * Whoever waits looks at its counter for some microseconds and then sleeps. Whoever moves a
 * counter on looks for sleepers afterwards, and a sleeper looks at the counter after it has
 * said that it sleeps; both in sequentially consistent order, so that one of them sees the other. */
#define _POSIX_C_SOURCE 200809L /* for pthread_sigmask */
#include "pool.h"

#include <stdatomic.h>
#include <stddef.h>

#if defined(_WIN32)

/* Not written yet: a run computes all parts on the calling thread. */
int64_t mnv2_pool_bytes(void) { return 64; }
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
void mnv2_pool_run(mnv2_pool *pool, mnv2_task *task, void *argument) {
    (void)pool;
    task(argument, 0);
}
void mnv2_pool_barrier(mnv2_pool *pool) { (void)pool; }

#else

#include <pthread.h>
#include <signal.h>

#if defined(__x86_64__)
#include <emmintrin.h>
static inline void pause_briefly(void) { _mm_pause(); }
#elif defined(__aarch64__)
static inline void pause_briefly(void) { __asm__ volatile("isb"); }
#else
static inline void pause_briefly(void) {}
#endif

/* Looks before sleeping, each of 10 to 40 ns: a step of a run is over sooner than a sleeper wakes
 * up (50 us), so that is waited for; for the next run, only as long as a caller needs who makes
 * one after the other. */
enum { LOOKS_WITHIN_RUN = 5000, LOOKS_BETWEEN_RUNS = 1000 };

enum { STACK_BYTES = 512 << 10 }; /* of which a run touches a few pages */

typedef struct {
    mnv2_pool *pool;
    int32_t part;
} worker;

struct mnv2_pool {
    _Alignas(64) atomic_uint phase; /* barriers that all have passed */
    atomic_uint arrived;            /* threads at the next one */
    _Alignas(64) atomic_uint runs;
    atomic_int sleepers;
    atomic_flag in_use;
    int stopping;
    int32_t threads;
    mnv2_task *task;
    void *argument;
    pthread_mutex_t mutex;
    pthread_cond_t moved; /* a counter */
    pthread_t handles[MNV2_MAX_THREADS];
    worker workers[MNV2_MAX_THREADS];
};

static int reached(atomic_uint *counter, unsigned target) {
    return (int)(atomic_load(counter) - target) >= 0;
}

static void wait_for(mnv2_pool *pool, atomic_uint *counter, unsigned target, int looks) {
    for (int i = 0; i < looks; i++) {
        if (reached(counter, target)) return;
        pause_briefly();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!reached(counter, target)) pthread_cond_wait(&pool->moved, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void move_on(mnv2_pool *pool, atomic_uint *counter) {
    atomic_fetch_add(counter, 1);
    if (atomic_load(&pool->sleepers) == 0) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->moved);
    pthread_mutex_unlock(&pool->mutex);
}

void mnv2_pool_barrier(mnv2_pool *pool) {
    const unsigned next = atomic_load(&pool->phase) + 1; /* cannot move on without this thread */
    if (atomic_fetch_add(&pool->arrived, 1) + 1 < (unsigned)pool->threads) {
        wait_for(pool, &pool->phase, next, LOOKS_WITHIN_RUN);
    } else {
        atomic_store(&pool->arrived, 0);
        move_on(pool, &pool->phase);
    }
}

static void *work(void *argument) {
    const worker *self = argument;
    mnv2_pool *pool = self->pool;
    for (unsigned run = 1;; run++) {
        wait_for(pool, &pool->runs, run, LOOKS_BETWEEN_RUNS);
        if (pool->stopping) return NULL;
        pool->task(pool->argument, self->part);
        mnv2_pool_barrier(pool);
    }
}

int64_t mnv2_pool_bytes(void) { return (int64_t)sizeof(mnv2_pool); }

int32_t mnv2_pool_threads(const mnv2_pool *pool) { return pool->threads; }

int mnv2_pool_acquire(mnv2_pool *pool) { return !atomic_flag_test_and_set(&pool->in_use); }

void mnv2_pool_run(mnv2_pool *pool, mnv2_task *task, void *argument) {
    pool->task = task;
    pool->argument = argument;
    move_on(pool, &pool->runs);
    task(argument, 0);
    mnv2_pool_barrier(pool);
    atomic_flag_clear(&pool->in_use);
}

/* Ends the threads of parts 1 to started. */
static void stop(mnv2_pool *pool, int32_t started) {
    pool->stopping = 1;
    move_on(pool, &pool->runs);
    for (int32_t part = 1; part <= started; part++) pthread_join(pool->handles[part], NULL);
    pthread_cond_destroy(&pool->moved);
    pthread_mutex_destroy(&pool->mutex);
}

int32_t mnv2_pool_start(void *memory, int32_t threads) {
    mnv2_pool *pool = memory;
    pthread_attr_t attributes;
    sigset_t all, callers;
    if (threads < 1 || threads > MNV2_MAX_THREADS) return MNV2_NO_THREADS;
    *pool = (mnv2_pool){.threads = threads, .in_use = ATOMIC_FLAG_INIT};
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
        worker *next = &pool->workers[started + 1];
        *next = (worker){.pool = pool, .part = started + 1};
        failed = pthread_create(&pool->handles[next->part], &attributes, work, next);
        if (!failed) started++;
    }
    pthread_sigmask(SIG_SETMASK, &callers, NULL);
    pthread_attr_destroy(&attributes);
    if (failed) stop(pool, started);
    return failed ? MNV2_NO_THREADS : MNV2_OK;
}

void mnv2_pool_stop(mnv2_pool *pool) { stop(pool, pool->threads - 1); }

#endif
