/* How a network runs: which blocks stream into each other, and where in the arena every array lies.
 *
 * mnv2_make_plan of the core decides. */
#ifndef PLANNER_H
#define PLANNER_H

#include "model/network.h"

/* What mnv2_run needs. It points into itself and into the network, so both must stay. */
typedef struct {
    mnv2_plan plan;
    mnv2_block blocks[MNV2_MAX_BLOCKS];
    mnv2_step steps[MNV2_MAX_STEPS];
} network_plan;

/* Plans a network whose weights begin at the first of `weight_bytes` bytes, for `threads` threads,
 * 1 to MNV2_MAX_THREADS, to be fast on a family of CPUs, such as mnv2_cpu_family() names. */
void plan_network(network_plan *made, const network *net, int64_t weight_bytes, int32_t threads,
                  const char *cpu);

#endif
