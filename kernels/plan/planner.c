/* Which blocks stream into each other, and where in the arena every array lies: the same plan as
 * mnv2_engine/plan/planner.py makes, which says why.
 *
 * A tensor lies at the low end of the arena or at the high end, and a step moves it to the other
 * end unless it runs in place. So a step needs exactly its own bytes, and the arena is the largest
 * step. In place, a tensor at the low end may change its size; one at the high end may not. */
#include <string.h>

#include "heads.h"

/* Of a path through a network: its blocks, and what is behind them. */
enum { MOST_PLACES = MNV2_MAX_BLOCKS + MNV2_MAX_CONVS + 1 + MNV2_MAX_DENSE };
enum { STATES = MOST_PLACES + 1, LEAST_ROOM = 7 << 10, FIRST_CACHE_BYTES = 32 << 10 };

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
    const bool is_still = s->input_bytes == s->output_bytes && s->above_input == s->above_output;
    return from == to && (!from || is_still);
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
    const int32_t last = plan->positions + mnv2_tail_count(plan->net);
    memset(states, 0, STATES * sizeof *states);
    states[0][0].is_reached = true;
    for (int32_t at = 0; at < last; at++) {
        schedule found[MOST_SCHEDULES];
        const int count = mnv2_schedules_from(plan, at, found);
        for (int i = 0; i < count; i++)
            for (int high = 0; high < 2; high++) {
                const state *before = &states[at][high];
                const int64_t most =
                    before->cost > found[i].bytes ? before->cost : found[i].bytes;
                if (!before->is_reached) continue;
                if (arena < 0)
                    follow(states, at, high, &found[i], most);
                else if (found[i].bytes <= arena)
                    follow(states, at, high, &found[i], before->cost + found[i].time);
            }
    }
    /* Among equals the high end, of a detector the low one: as in the Python package, whose plans
     * are the same. */
    const state *low = &states[last][0], *high = &states[last][1];
    const bool is_detector = plan->net->map_count > 0;
    *end = high->is_reached &&
           (is_detector ? is_better(high, low) : !(low->is_reached && is_better(low, high)));
    return states[last][*end].cost;
}

/* What may be spent on speed: int8 gains more from it, but little where all fits a first cache. */
static int64_t room_beyond(const planned *plan, int64_t least) {
    if (plan->net->precision == MNV2_INT8) return least / (least <= FIRST_CACHE_BYTES ? 32 : 7);
    return least / 16 > LEAST_ROOM ? least / 16 : LEAST_ROOM;
}

/* Bytes of the arena of the sequence that leads to the state at the end. */
static int64_t arena_of(state states[STATES][2], int32_t last, bool high) {
    int64_t arena = 0;
    for (int32_t at = last; at > 0;) {
        const state *reached = &states[at][high];
        if (reached->last.bytes > arena) arena = reached->last.bytes;
        high = reached->was_high;
        at -= reached->last.count > 0 ? reached->last.count : 1;
    }
    return arena;
}

/* Places the tensors of a step whose output lies at the high end or not, and its scratch between
 * them. */
static void place(const planned *plan, const schedule *s, bool was_high, bool is_high,
                  int64_t arena, mnv2_step *step) {
    int64_t low = 0; /* bytes of the tensors at the low end */
    if (!was_high) low = s->input_bytes;
    if (!is_high && s->output_bytes > low) low = s->output_bytes;
    mnv2_place_scratch(plan, s, low, step);
    /* 0 where it is the caller's. */
    step->input = was_high && s->input_bytes > 0 ? arena - s->above_input - s->input_bytes : 0;
    step->output = is_high && s->output_bytes > 0 ? arena - s->above_output - s->output_bytes : 0;
}

/* How many maps are complete with a schedule, and the steps that hand them to the caller. */
static int32_t hand_over(const planned *plan, const schedule *s, int64_t at, mnv2_step *steps) {
    const int32_t head = mnv2_last_head(plan, s);
    int32_t count = 0;
    for (int32_t i = 0; head >= 0 && i < plan->net->map_count; i++) {
        if (plan->complete[i] != head) continue;
        if (steps)
            steps[count] = (mnv2_step){.kind = MNV2_BOXES,
                                       .first = i,
                                       .input = at,
                                       .output = at,
                                       .layers = MNV2_EXPAND | MNV2_DEPTHWISE | MNV2_PROJECT};
        count++;
    }
    return count;
}

/* The sequence that leads to the state at the end, from there to its beginning. */
static void place_all(const planned *plan, state states[STATES][2], bool high, mnv2_plan *made,
                      mnv2_step *steps) {
    const int32_t last = plan->positions + mnv2_tail_count(made);
    int64_t arena = arena_of(states, last, high);
    bool at_high = high;
    made->step_count = made->map_count;
    for (int32_t at = last; at > 0; made->step_count++) {
        const state *reached = &states[at][at_high];
        at_high = reached->was_high;
        at -= reached->last.count > 0 ? reached->last.count : 1;
    }
    int32_t index = made->step_count;
    at_high = high;
    for (int32_t at = last; at > 0;) {
        const state *reached = &states[at][at_high];
        index -= 1 + hand_over(plan, &reached->last, 0, NULL);
        place(plan, &reached->last, reached->was_high, at_high, arena, &steps[index]);
        hand_over(plan, &reached->last, steps[index].output, &steps[index + 1]);
        at_high = reached->was_high;
        at -= reached->last.count > 0 ? reached->last.count : 1;
    }
    for (int32_t head = plan->chain; head < made->block_count; head++)
        plan->blocks[head].output = arena - plan->below[head];
    /* What int8 kernels may read, and ignore, behind an array. */
    if (made->precision == MNV2_INT8) arena += MNV2_OVERREAD;
    made->arena_bytes = arena;
    made->steps = steps;
}

/* Blocks without scratch. */
static void clear(mnv2_block *blocks, int32_t count) {
    for (mnv2_block *block = blocks; block < blocks + count; block++) {
        block->partial = block->ring = block->thin = 0;
        block->output = block->filtered = block->sums = 0;
        block->thin_rows = 0;
    }
}

int32_t mnv2_make_plan(mnv2_plan *plan, mnv2_block *blocks, mnv2_step *steps, const char *cpu) {
    state states[STATES][2];
    bool high;
    if (plan->block_count < 1 || plan->block_count > MNV2_MAX_BLOCKS || plan->conv_count < 0 ||
        plan->conv_count > MNV2_MAX_CONVS || plan->dense_count < 0 ||
        plan->dense_count > MNV2_MAX_DENSE || plan->tap_count != 0 ||
        plan->threads < 1 || plan->threads > MNV2_MAX_THREADS || !mnv2_heads_fit(plan))
        return MNV2_BAD_PLAN;
    const planned what = mnv2_planned_of(plan, blocks, cpu);
    const planned any = mnv2_planned_of(plan, blocks, "any");
    int64_t arena = search(&any, -1, states, &high);
    arena += room_beyond(&any, arena);
    if (what.costs != any.costs) { /* no more bytes than on any CPU */
        search(&any, arena, states, &high);
        arena = arena_of(states, any.positions + mnv2_tail_count(plan), high);
    }
    search(&what, arena, states, &high);
    clear(blocks, plan->block_count); /* of trials */
    place_all(&what, states, high, plan, steps);
    return MNV2_OK;
}
