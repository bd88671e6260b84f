/* The ways to run a block, each with its exact bytes and about how long it takes; the planner
 * chooses among them. They are those of mnv2_engine/plan/schedules.py:
 *
 *   rows   an input row is expanded strip by strip; weights stay, activations stream. Blocks stream
 *          into each other (a cascade), the first from the stem. In place where its output rows
 *          never reach an input row that is still needed.
 *   tiles  one tile of hidden channels at a time; activations stay, weights stream. */
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include <stdbool.h>

#include "mnv2.h"

enum { PANEL = 16, IMAGE_CHANNELS = 3, ARENA_ALIGNMENT = 64 };
enum {
    LONGEST_CASCADE = 6, /* blocks; the rows of a longer one outgrow the tensors that it saves */
    MOST_SCHEDULES = 32  /* that begin at a block */
};

typedef struct {
    mnv2_kind kind;
    int32_t first, count; /* blocks; of convolutions and dense layers the number, and 0 */
    bool is_in_place;
    int32_t strip; /* rows: output pixels of a strip, at most */
    int32_t tile;  /* tiles: hidden channels of a thread's part of one, at most */
    int64_t input_bytes, output_bytes; /* of tensors in the arena; 0 where they are the caller's */
    int64_t bytes;                     /* that are live: tensors and scratch */
    int64_t time; /* picoseconds */
} schedule;

/* Bytes of a value of each kind of array, in the precision of the plan, and how many terms of a sum
 * one multiply-add of a 1x1 convolution takes. */
typedef struct {
    int64_t thin;     /* input and output of a block */
    int64_t expanded; /* in front of the depthwise layer */
    int64_t filtered; /* behind it */
    int64_t sums;     /* of a convolution that is not complete */
    int64_t terms;
} value_sizes;

typedef struct cpu_costs cpu_costs; /* cost.h */

/* A network that is being planned. Blocks get the offsets of their scratch. */
typedef struct {
    const mnv2_plan *net; /* all but its steps and the blocks' scratch */
    mnv2_block *blocks;   /* its own */
    int32_t threads;
    value_sizes sizes;
    const cpu_costs *costs;
} planned;

planned mnv2_planned_of(const mnv2_plan *net, mnv2_block *blocks, const char *cpu);

/* Steps behind the blocks: convolutions, head, dense layers. */
int32_t mnv2_tail_count(const mnv2_plan *net);

/* Every way to run the blocks from `first` on, one or several; past the last block the one way of
 * each step behind them. Returns how many there are. */
int mnv2_schedules_from(const planned *plan, int32_t first, schedule found[MOST_SCHEDULES]);

/* Places the scratch of a schedule from byte `at` of the arena on: offsets, strip, tile and sizes
 * of `step` and of its blocks. Returns where it ends. */
int64_t mnv2_place_scratch(const planned *plan, const schedule *chosen, int64_t at,
                           mnv2_step *step);

#endif
