/* Threads that run a task together; they belong to whoever started them (mnv2_pool_start).
 *
 * A task goes through phases, each of as many parts as the pool has threads. A thread takes its own
 * part and then those that nobody has begun, so that one that is late, asleep or out of a CPU is
 * not waited for unless it holds a part; a phase is over when all its parts are done. */
#ifndef MNV2_POOL_H
#define MNV2_POOL_H

#include "mnv2.h"

/* Where a thread is in a task. */
typedef struct {
    int64_t phase;    /* of all that the pool has gone through */
    int32_t own_part; /* that it takes first */
    int holds_part;
} mnv2_place;

typedef void mnv2_task(const void *argument, mnv2_pool *pool, mnv2_place *place);

enum { MNV2_ARGUMENT_BYTES = 192 };

int32_t mnv2_pool_threads(const mnv2_pool *pool);
/* Whether the pool was free and is the caller's now, until it has run a task. */
int mnv2_pool_acquire(mnv2_pool *pool);
/* Runs the task on the calling thread and on those of the pool that come in time; returns when the
 * calling thread has gone through it. Others may still look at it then and find nothing left to
 * do: what the argument points to has to stay, or not be read outside a part. Each has a copy of
 * the argument itself, of at most MNV2_ARGUMENT_BYTES. */
void mnv2_pool_run(mnv2_pool *pool, mnv2_task *task, const void *argument, int32_t bytes);
/* Within a task: the next part that this thread takes, after the one before is done; or -1 when the
 * phase is over, and the next one begins. */
int32_t mnv2_pool_next_part(mnv2_pool *pool, mnv2_place *place);

#endif
