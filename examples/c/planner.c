/* A tensor lies at the low end of the arena or at the high end, and a step moves it to the other
 * end unless it runs in place. So a step needs exactly its own bytes, and the arena is the largest
 * step. In place, a tensor at the low end may change its size; one at the high end may not. */
#include "planner.h"

#include <string.h>

#include "schedule.h"

enum { STATES = MNV2_MAX_BLOCKS + MOST_TAIL + 1, LEAST_ROOM = 7 << 10, FIRST_CACHE_BYTES = 32 << 10 };

/* The best way to come to a block with its input at one end of the arena. */
typedef struct {
    bool is_reached;
    int64_t cost, bytes; /* the least cost, and among those the least sum of bytes */
    schedule last;       /* the schedule that leads there */
    bool was_high;       /* where that one's input lies */
} state;

static bool is_better(const state *a, const state *b) {
    if (!b->is_reached) return true;
    return a->cost != b->cost ? a->cost < b->cost : a->bytes < b->bytes;
}

/* Whether the output may lie at the end `to` when the input lies at the end `from`. */
static bool may_move(const schedule *s, bool from, bool to) {
    if (!s->is_in_place) return s->input_bytes == 0 || from != to;
    return from == to && (!from || s->input_bytes == s->output_bytes);
}

static void follow(state states[STATES][2], int32_t at, bool high, const schedule *s,
                   int64_t cost) {
    const state *before = &states[at][high];
    const state made = {true, cost, before->bytes + s->bytes, *s, high};
    for (int to = 0; to < 2; to++) {
        state *after = &states[at + (s->count > 0 ? s->count : 1)][to];
        if (may_move(s, high, to) && is_better(&made, after)) *after = made;
    }
}

/* Finds the fastest sequence within `arena` bytes; with an arena of -1 the one of the least arena,
 * which is returned. `end` is where the last output lies. */
static int64_t search(const planned *plan, int64_t arena, state states[STATES][2], bool *end) {
    const int32_t last = plan->net->block_count + tail_count(plan->net);
    memset(states, 0, STATES * sizeof *states);
    states[0][0].is_reached = true;
    for (int32_t at = 0; at < last; at++) {
        schedule found[MOST_SCHEDULES];
        const int count = schedules_from(plan, at, found);
        for (int i = 0; i < count; i++)
            for (int high = 0; high < 2; high++) {
                const state *before = &states[at][high];
                const int64_t most =
                    before->cost > found[i].bytes ? before->cost : found[i].bytes;
                if (!before->is_reached) continue;
                if (arena < 0)
                    follow(states, at, high, &found[i], most);
                else if (found[i].bytes <= arena)
                    follow(states, at, high, &found[i], before->cost + found[i].cycles);
            }
    }
    /* Among equals the high end, as in the Python package, whose plans are the same. */
    const state *low = &states[last][0], *high = &states[last][1];
    *end = high->is_reached && !(low->is_reached && is_better(low, high));
    return states[last][*end].cost;
}

/* What may be spent on speed: int8 gains more from it, but little where all fits a first cache. */
static int64_t room_beyond(const planned *plan, int64_t least) {
    if (plan->net->precision == MNV2_INT8) return least / (least <= FIRST_CACHE_BYTES ? 32 : 7);
    return least / 16 > LEAST_ROOM ? least / 16 : LEAST_ROOM;
}

/* Places the tensors of a step whose output lies at the high end or not, and its scratch between
 * them. */
static void place(const planned *plan, const schedule *s, bool was_high, bool is_high,
                  int64_t arena, mnv2_step *step) {
    int64_t low = 0; /* bytes of the tensors at the low end */
    if (!was_high) low = s->input_bytes;
    if (!is_high && s->output_bytes > low) low = s->output_bytes;
    place_scratch(plan, s, low, step);
    /* 0 where it is the caller's. */
    step->input = was_high && s->input_bytes > 0 ? arena - s->input_bytes : 0;
    step->output = is_high && s->output_bytes > 0 ? arena - s->output_bytes : 0;
}

void plan_network(network_plan *made, const network *net, int64_t weight_bytes, int32_t threads) {
    state states[STATES][2];
    bool high;
    memcpy(made->blocks, net->blocks, sizeof made->blocks);
    const planned plan = planned_of(net, made->blocks, threads);
    const int64_t least = search(&plan, -1, states, &high);
    search(&plan, least + room_beyond(&plan, least), states, &high);

    memcpy(made->blocks, net->blocks, sizeof made->blocks); /* without the scratch of trials */

    /* The sequence, from its end to its beginning. */
    const int32_t last = net->block_count + tail_count(net);
    int64_t arena = 0;
    int32_t steps = 0;
    bool at_high = high;
    for (int32_t at = last; at > 0; steps++) {
        const state *reached = &states[at][at_high];
        if (reached->last.bytes > arena) arena = reached->last.bytes;
        at_high = reached->was_high;
        at -= reached->last.count > 0 ? reached->last.count : 1;
    }
    int32_t index = steps;
    at_high = high;
    for (int32_t at = last; at > 0;) {
        const state *reached = &states[at][at_high];
        place(&plan, &reached->last, reached->was_high, at_high, arena, &made->steps[--index]);
        at_high = reached->was_high;
        at -= reached->last.count > 0 ? reached->last.count : 1;
    }
    /* What int8 kernels may read, and ignore, behind an array. */
    if (net->precision == MNV2_INT8) arena += MNV2_OVERREAD;
    made->plan = (mnv2_plan){
        .stem = net->stem,
        .head = net->head,
        .blocks = made->blocks,
        .convs = net->conv_count ? net->convs : NULL,
        .dense = net->dense_count ? net->dense : NULL,
        .steps = made->steps,
        .block_count = net->block_count,
        .conv_count = net->conv_count,
        .dense_count = net->dense_count,
        .step_count = steps,
        .precision = (int32_t)net->precision,
        .threads = threads,
        .arena_bytes = arena,
        .weight_bytes = weight_bytes,
    };
}
