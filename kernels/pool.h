/* Threads that run a task together; they belong to whoever started them (mnv2_pool_start). */
#ifndef MNV2_POOL_H
#define MNV2_POOL_H

#include "mnv2.h"

/* One part of a task, on one thread of the pool. */
typedef void mnv2_task(void *argument, int32_t part);

int32_t mnv2_pool_threads(const mnv2_pool *pool);
/* Whether the pool was free and is the caller's now, until it has run a task. */
int mnv2_pool_acquire(mnv2_pool *pool);
/* Runs task(argument, part) for every part, 0 on the calling thread; returns when all are done. */
void mnv2_pool_run(mnv2_pool *pool, mnv2_task *task, void *argument);
/* Within a task: waits until all parts have come here. */
void mnv2_pool_barrier(mnv2_pool *pool);

#endif
