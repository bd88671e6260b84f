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
static inline float *scratch_of(const mnv2_context *context, const mnv2_step *step, int part,
                                int64_t offset) {
    return (float *)(context->arena + offset + part * step->thread_bytes);
}

/* Between two phases of a step, the second of which reads what other parts wrote in the first. */
static inline void all_parts_done(const mnv2_context *context) {
    if (context->pool) mnv2_pool_barrier(context->pool);
}

#endif
