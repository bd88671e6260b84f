/* How a network runs: which blocks stream into each other, and where in the arena every array lies.
 *
 * The arena is the least that any sequence of schedules (schedule.h) needs, plus at most a seventh
 * or 7 KiB, which are spent on longer strips and larger tiles: speed. Whatever is chosen, the
 * answer is the same to the bit. */
#ifndef PLANNER_H
#define PLANNER_H

#include "network.h"

enum { MOST_TAIL = MAX_CONVS + 1 + MNV2_MAX_DENSE }; /* steps behind the blocks */

/* What mnv2_run needs. It points into itself and into the network, so both must stay. */
typedef struct {
    mnv2_plan plan;
    mnv2_block blocks[MNV2_MAX_BLOCKS];
    mnv2_step steps[MNV2_MAX_BLOCKS + MOST_TAIL];
} network_plan;

/* Plans a network whose weights begin at the first of `weight_bytes` bytes, for `threads` threads,
 * 1 to MNV2_MAX_THREADS. */
void plan_network(network_plan *made, const network *net, int64_t weight_bytes, int32_t threads);

#endif
