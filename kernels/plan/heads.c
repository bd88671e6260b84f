/* Outputs lie in room at the arena's high end, which no tensor may take from the first step on that
 * makes one. Those of a map are handed to the caller as soon as both are there, and when none waits
 * any more the next ones begin at the end again. As mnv2_engine/plan/shapes.py has it. */
#include "heads.h"

static int32_t chain_of(const mnv2_plan *net) { return net->block_count - net->predictor_count; }

/* Whether `count` heads from `first` on are the next ones. */
static bool takes(int32_t first, int32_t count, int32_t *next, int32_t end) {
    if (count == 0) return true;
    if (first != *next || count < 0 || count > end - *next) return false;
    *next += count;
    return true;
}

static bool are_read(const mnv2_plan *net) {
    const int32_t chain = chain_of(net), end = net->block_count;
    int32_t next = chain;
    if (net->blocks[0].within_count != 0) return false; /* which runs by rows */
    for (int32_t i = 0; i < end; i++) {
        const mnv2_block *block = &net->blocks[i];
        if (i >= chain && (block->within_count != 0 || block->behind_count != 0)) return false;
        if (!takes(block->within, block->within_count, &next, end) ||
            !takes(block->behind, block->behind_count, &next, end))
            return false;
    }
    return next == end;
}

static bool are_mapped(const mnv2_plan *net) {
    const int32_t chain = chain_of(net);
    uint64_t mapped = 0; /* heads by number: a bit each */
    for (int32_t i = 0; i < net->map_count; i++) {
        const int32_t both[] = {net->maps[i].boxes, net->maps[i].scores};
        for (int n = 0; n < 2; n++) {
            if (both[n] < chain || both[n] >= net->block_count) return false;
            const uint64_t bit = (uint64_t)1 << (both[n] - chain);
            if (mapped & bit) return false;
            mapped |= bit;
        }
    }
    return true;
}

bool mnv2_heads_fit(const mnv2_plan *net) {
    if (net->predictor_count < 0 || net->predictor_count >= net->block_count ||
        net->map_count < 0 || net->map_count > MNV2_MAX_MAPS ||
        net->predictor_count != 2 * net->map_count)
        return false;
    if (net->map_count > 0 && (!net->maps || net->conv_count > 0 || net->dense_count > 0))
        return false;
    return are_read(net) && are_mapped(net);
}

static void order_blocks(planned *plan) {
    const mnv2_plan *net = plan->net;
    plan->chain = chain_of(net);
    plan->positions = 0;
    for (int32_t i = 0; i < plan->chain; i++) {
        const mnv2_block *block = &plan->blocks[i];
        plan->order[plan->positions++] = i;
        for (int32_t n = 0; n < block->behind_count; n++)
            plan->order[plan->positions++] = block->behind + n;
    }
}

/* The outputs of the heads [first, first + count), which one step makes. */
static void add_outputs(planned *plan, int32_t first, int32_t count, int64_t *at, int32_t *found) {
    const mnv2_plan *net = plan->net;
    bool is_one_waiting = false;
    for (int32_t head = first; head < first + count; head++) {
        const mnv2_block *block = &plan->blocks[head];
        *at += mnv2_tensor_bytes(plan, block->out_height, block->out_width, block->out_channels);
        plan->below[head] = *at;
        if (*at > plan->output_bytes) plan->output_bytes = *at;
        for (int32_t i = 0; i < net->map_count; i++)
            found[i] += net->maps[i].boxes == head || net->maps[i].scores == head;
    }
    for (int32_t i = 0; i < net->map_count; i++) {
        if (found[i] == 1) is_one_waiting = true;
        if (found[i] != 2) continue;
        plan->complete[i] = first + count - 1;
        found[i]++;
    }
    if (!is_one_waiting) *at = 0;
}

void mnv2_place_heads(planned *plan) {
    int32_t found[MNV2_MAX_MAPS] = {0}; /* outputs of a map that are there; 3: handed over */
    int64_t at = 0;
    order_blocks(plan);
    plan->output_bytes = 0;
    plan->outputs_from = plan->net->block_count;
    for (int32_t i = plan->chain - 1; i >= 0; i--) {
        const mnv2_block *block = &plan->blocks[i];
        if (block->behind_count > 0) plan->outputs_from = i + 1;
        if (block->within_count > 0) plan->outputs_from = i;
    }
    for (int32_t i = 0; i < plan->chain; i++) {
        const mnv2_block *block = &plan->blocks[i];
        if (block->within_count > 0)
            add_outputs(plan, block->within, block->within_count, &at, found);
        for (int32_t n = 0; n < block->behind_count; n++)
            add_outputs(plan, block->behind + n, 1, &at, found);
    }
}

int32_t mnv2_last_head(const planned *plan, const schedule *chosen) {
    if (chosen->kind != MNV2_TILES) return -1;
    const mnv2_block *block = &plan->blocks[chosen->first];
    if (chosen->first >= plan->chain) return chosen->first;
    return block->within_count > 0 ? block->within + block->within_count - 1 : -1;
}
