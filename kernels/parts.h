/* How a step is cut into parts, one a thread: by output rows, pixels or channels, never along a
 * sum, so the answer is the same for any number of parts. */
#ifndef MNV2_PARTS_H
#define MNV2_PARTS_H

#include <stddef.h>

#include "isa.h"

typedef struct {
    int first, end;
} range;

/* Part `part` of `count` things, of which `unit` stay together. */
static inline range share_of(const mnv2_context *context, int part, int count, int unit) {
    const int parts = context->plan->threads, units = (count + unit - 1) / unit;
    const int first = units * part / parts * unit, end = units * (part + 1) / parts * unit;
    return (range){first < count ? first : count, end < count ? end : count};
}

/* What a part has at `offset` of its own scratch. */
static inline void *scratch_of(const mnv2_context *context, const mnv2_step *step, int part,
                                int64_t offset) {
    return context->arena + offset + part * step->thread_bytes;
}

/* The next part that this thread takes, or -1 when all parts are done, by whatever thread. A step
 * has a loop over this for each of its phases, and all threads go through the same ones. */
static inline int next_part(const mnv2_context *context) {
    if (context->pool) return mnv2_pool_next_part(context->pool, context->place);
    if (*context->next < context->plan->threads) return (*context->next)++;
    *context->next = 0;
    return -1;
}

#endif
