/* The ways to run a block, each with its exact bytes and about how long it takes; the planner
 * chooses among them. They are those of mnv2_engine/plan/schedules.py:
 *
 *   rows   an input row is expanded strip by strip; weights stay, activations stream. Blocks stream
 *          into each other (a cascade), the first from the stem. In place where its output rows
 *          never reach an input row that is still needed.
 *   tiles  one tile of hidden channels at a time; activations stay, weights stream. A detector in 8
 *          bits may do so for one band of output rows after the other; each thread may for a band of
 *          its own. */
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include <stdbool.h>

#include "mnv2.h"

enum { PANEL = 16, IMAGE_CHANNELS = 3, ARENA_ALIGNMENT = 64 };
enum {
    LONGEST_CASCADE = 6, /* blocks; the rows of a longer one outgrow the tensors that it saves */
    MOST_SCHEDULES = 48  /* that begin at a block */
};

typedef struct {
    mnv2_kind kind;
    int32_t first, count; /* blocks; of convolutions and dense layers the number, and 0 */
    bool is_in_place;
    int32_t strip; /* rows: output pixels of a strip, at most */
    int32_t tile;  /* tiles: hidden channels of a thread's part of one, at most */
    int32_t bands; /* tiles: of output rows, that are run one after the other; 1 of others */
    bool is_apart; /* tiles: whether each thread makes one of as many bands alone */
    int64_t input_bytes, output_bytes; /* of tensors in the arena; 0 where they are the caller's */
    /* Of the arena's high end, that belong to a detector's outputs, above the input and above the
     * output. */
    int64_t above_input, above_output;
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

/* A network that is being planned. Blocks get the offsets of their scratch. What is said of heads is
 * heads.h's; a network without any has its blocks in order. */
typedef struct {
    const mnv2_plan *net; /* all but its steps and the blocks' scratch */
    mnv2_block *blocks;   /* its own */
    int32_t threads;
    value_sizes sizes;
    const cpu_costs *costs;
    int32_t chain;                  /* blocks that stand in a row; heads are behind them */
    int32_t order[MNV2_MAX_BLOCKS]; /* blocks that have steps, heads of thin tensors behind theirs */
    int32_t positions;              /* in `order` */
    int64_t output_bytes;           /* of the room for a detector's outputs */
    int32_t outputs_from;           /* the first block whose input may not lie in it */
    int64_t below[MNV2_MAX_BLOCKS]; /* of a head: from its output to the arena's end, bytes */
    int32_t complete[MNV2_MAX_MAPS]; /* of a map: the last head of the step that completes it */
} planned;

planned mnv2_planned_of(const mnv2_plan *net, mnv2_block *blocks, const char *cpu);

/* Steps behind the blocks: convolutions, head, dense layers; none of a detector. */
int32_t mnv2_tail_count(const mnv2_plan *net);

/* Bytes of a thin tensor. */
int64_t mnv2_tensor_bytes(const planned *plan, int64_t height, int64_t width, int64_t channels);

/* Tiles: the lines of the expanded tensor, from the first one's padding (below 0) on, that lie under
 * output rows of a band, of the block and of the heads within its step: [*first, *end). */
void mnv2_band_lines(const planned *plan, const schedule *s, int32_t band, int32_t *first,
                     int32_t *end);

/* Every way to run the blocks from place `at` of the order on, one or several; past the last one the
 * one way of each step behind them. Returns how many there are. */
int mnv2_schedules_from(const planned *plan, int32_t at, schedule found[MOST_SCHEDULES]);

/* Places the scratch of a schedule from byte `at` of the arena on: offsets, strip, tile and sizes
 * of `step` and of its blocks. Returns where it ends. */
int64_t mnv2_place_scratch(const planned *plan, const schedule *chosen, int64_t at,
                           mnv2_step *step);

#endif
