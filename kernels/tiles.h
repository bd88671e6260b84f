/* Inverted residuals by channel tiles: the paper's own form (section 5.1),
 *
 *     F(x) = sum over tiles i of B_i(N(A_i x))
 *
 * so that the activations stay and the weights stream, each read once. For late blocks: small
 * maps, megabytes of weights. Scratch is two panels, expanded
 *
 *     [2][lines][columns][16]      lines and columns include the zero padding
 *
 * and one tile of `tile` hidden channels, filtered [tile/16][out_height * out_width][16]. A larger
 * tile loads and stores the sums of the output less often. The sum over i is held in the thin
 * output itself, or beside it where that has 16 bits; the shortcut is added with the last tile.
 *
 * Parts share the hidden channels of a tile, which is as many times wider, and in the next phase
 * its projection, by output pixels, each before its channels of the next tile. So there is one
 * phase a tile, and two filtered tiles take turns where there are several parts.
 *
 * A detector's heads are branches (branches.h). */
#ifndef MNV2_TILES_H
#define MNV2_TILES_H

#include <string.h>

#include "block.h"
#include "branches.h"

/* What a branch filters of one expanded panel, x, number `panel` of its hidden ones. */
static void filter_panel(const mnv2_context *context, const mnv2_block *block, int panel,
                         const float *x, ptrdiff_t line, activation *y, ptrdiff_t y_step) {
    if (block->depthwise_weight >= 0) {
        const gather_map map = {
            .x = x,
            .line = line,
            .w = depthwise_weight(context, block, panel, 0),
            .bias = depthwise_bias(context, block, panel),
            .y = y,
            .y_step = y_step,
            .rows = block->out_height,
            .pixels = block->out_width,
            .clip = limits_of(block->depthwise_activation),
        };
        gather(block->kernel, block->stride, &map);
        return;
    }
    for (int r = 0; r < block->out_height; r++, x += line)
        for (int p = 0; p < block->out_width; p++, y += y_step)
            for (int lane = 0; lane < PANEL; lane += LANES)
                vf_to_values(y + lane, vf_load(x + p * PANEL + lane));
}

/* Channels [first, first + count) of the expanded tensor to the caller's array, [in_height]
 * [in_width][hidden]; x: panels panel_step apart, of lines of so many floats. */
static void tap_expanded(const mnv2_block *block, int first, int count, const float *x,
                         ptrdiff_t line, ptrdiff_t panel_step, float *y) {
    for (int c = 0; c < count; c += LANES) {
        const float *from = x + c / PANEL * panel_step + c % PANEL;
        const int lanes = least(LANES, block->hidden - first - c);
        for (int j = 0; j < block->in_height && lanes > 0; j++)
            for (int p = 0; p < block->in_width; p++) {
                float *to = y + ((ptrdiff_t)j * block->in_width + p) * block->hidden + first + c;
                vf_store_part(to, vf_load(from + j * line + p * PANEL), lanes);
            }
    }
}

/* Channels `part` of the `count` of a tile that begins at hidden channel `first`, of the whole
 * input, expanded and filtered by each branch: [count/16][out_height * out_width][16], in blocks
 * (filtered.h), `turn` such tiles behind the branch's first. `expanded` has its zero padding
 * already. */
static void filter_channels(const mnv2_context *context, const mnv2_step *step, int first,
                            int count, range part, int turn, float *expanded) {
    const mnv2_plan *plan = context->plan;
    const mnv2_block *block = &plan->blocks[step->first];
    const activation *x = (const activation *)(context->arena + step->input);
    const ptrdiff_t line_floats = (ptrdiff_t)step->columns * PANEL;
    const ptrdiff_t panel_step = step->lines * line_floats;
    const padding room = padding_of(plan, block);
    for (int panel = 0, c = part.first; c < part.end; c += PANEL, panel++) {
        if (panel == EXPANDED_PANELS) panel = 0;
        float *inside = expanded + room.top * line_floats + room.left * PANEL;
        const int some = least(EXPANDED_PANELS * PANEL, part.end - c);
        if (panel == 0)
            for (int j = 0; j < block->in_height; j++)
                expand(context, block, first + c, some,
                       x + (ptrdiff_t)j * block->in_width * block->in_channels, block->in_width,
                       inside + j * line_floats, panel_step);
        if (panel == 0 && block->expanded_tap > 0 && context->taps &&
            context->taps[block->expanded_tap - 1])
            tap_expanded(block, first + c, some, inside, line_floats, panel_step,
                         context->taps[block->expanded_tap - 1]);
        for (int i = 0; i <= block->within_count; i++) {
            const branch each = branch_of(plan, step, i);
            const mnv2_block *to = each.block;
            const ptrdiff_t filtered_step = (ptrdiff_t)to->out_height * to->out_width * PANEL;
            activation *y = (activation *)(context->arena + each.filtered) +
                            turn * panels_of(plan->threads * step->tile) * filtered_step;
            filter_panel(context, to, (first + c) / PANEL,
                         expanded + panel * panel_step + (room.top - to->pad_top) * line_floats +
                             (room.left - to->pad_left) * PANEL,
                         line_floats, y + filtered_at(c / PANEL, filtered_step),
                         filtered_pixel(c / PANEL, panels_of(count)));
        }
    }
}

/* Adds hidden channels [first, first + count), filtered at x, to a part's output pixels. */
static ALWAYS_INLINE void project_branch(const mnv2_context *context, const mnv2_step *step,
                                         const branch *to, int part, int first, int count,
                                         const activation *x) {
    const mnv2_block *block = to->block;
    const int out_pixels = block->out_height * block->out_width;
    const range pixels = share_of(context, part, out_pixels, 1);
    const int is_last = first + count == block->hidden;
    const activation *thin = (const activation *)(context->arena + step->input);
    activation *y = (activation *)(context->arena + to->output);
    const ptrdiff_t at = (ptrdiff_t)pixels.first * block->out_channels;
    float *sums = (float *)(context->arena + (THIN_HOLDS_SUMS ? to->output : to->sums)) + at;
    const pointwise_output out = {
        .activation = is_last ? block->project_activation : MNV2_LINEAR,
        .thin = y + at,
        .channels = block->out_channels,
        .begin = first > 0 ? sums : NULL,
        .unfinished = is_last ? NULL : sums,
        .residual = block->residual && is_last
                        ? thin + (ptrdiff_t)pixels.first * block->in_channels
                        : NULL,
        .residual_pixel_step = block->in_channels,
        .residual_panel_step = PANEL,
    };
    project(context, block, first, count, x, (ptrdiff_t)out_pixels * PANEL, pixels.first,
            pixels.end - pixels.first, &out);
}

static void tiles_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_plan *plan = context->plan;
    const mnv2_block *block = &plan->blocks[step->first];
    const int threads = plan->threads, tile = threads * step->tile;
    const size_t expanded_bytes = (size_t)(least(EXPANDED_PANELS, panels_of(step->tile)) *
                                           step->lines * step->columns) *
                                  PANEL * sizeof(float);
    int turn = 0, before = threads > 1;

    for (int first = 0, ready = 0; first < block->hidden || ready > 0; first += tile) {
        const int count = first < block->hidden ? least(tile, block->hidden - first) : 0;
        for (int part; (part = next_part(context)) >= 0;) {
            for (int i = 0; i <= block->within_count && ready > 0; i++) {
                const branch to = branch_of(plan, step, i);
                const ptrdiff_t filtered_step =
                    (ptrdiff_t)to.block->out_height * to.block->out_width * PANEL;
                const activation *filtered = (const activation *)(context->arena + to.filtered) +
                                             before * panels_of(tile) * filtered_step;
                project_branch(context, step, &to, part, first - tile, ready, filtered);
            }
            if (count == 0) continue;
            const range channels = share_of(context, part, count, PANEL);
            float *expanded = scratch_of(context, step, part, step->expanded);
            if (first == 0) memset(expanded, 0, expanded_bytes); /* for the zero padding */
            filter_channels(context, step, first, count, channels, turn, expanded);
        }
        const int swap = turn;
        turn = before;
        before = swap;
        ready = count;
    }
}

#endif
