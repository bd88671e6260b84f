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
 * phase a tile, and two filtered tiles take turns where there are several parts. */
#ifndef MNV2_TILES_H
#define MNV2_TILES_H

#include <string.h>

#include "block.h"
#include "parts.h"

/* Channels `part` of the `count` of a tile that begins at hidden channel `first`, of the whole
 * input, expanded and filtered: y is [count/16][out_height * out_width][16], in blocks
 * (filtered.h). `expanded` has its zero padding already. */
static void filter_channels(const mnv2_context *context, const mnv2_step *step, int first,
                            int count, range part, float *expanded, activation *y) {
    const mnv2_block *block = &context->plan->blocks[step->first];
    const activation *x = (const activation *)(context->arena + step->input);
    const ptrdiff_t line_floats = (ptrdiff_t)step->columns * PANEL;
    const ptrdiff_t panel_step = step->lines * line_floats;
    const ptrdiff_t filtered_step = (ptrdiff_t)block->out_height * block->out_width * PANEL;
    for (int panel = 0, c = part.first; c < part.end; c += PANEL, panel++) {
        if (panel == EXPANDED_PANELS) panel = 0;
        if (panel == 0)
            for (int j = 0; j < block->in_height; j++)
                expand(context, block, first + c, least(EXPANDED_PANELS * PANEL, part.end - c),
                       x + (ptrdiff_t)j * block->in_width * block->in_channels, block->in_width,
                       expanded + (block->pad_top + j) * line_floats + block->pad_left * PANEL,
                       panel_step);
        const gather_map map = {
            .x = expanded + panel * panel_step,
            .line = line_floats,
            .w = depthwise_weight(context, block, (first + c) / PANEL, 0),
            .bias = depthwise_bias(context, block, (first + c) / PANEL),
            .y = y + filtered_at(c / PANEL, filtered_step),
            .y_step = filtered_pixel(c / PANEL, panels_of(count)),
            .rows = block->out_height,
            .pixels = block->out_width,
            .clip = limits_of(block->depthwise_activation),
        };
        gather(block->kernel, block->stride, &map);
    }
}

/* Adds hidden channels [first, first + count), filtered at x, to a part's output pixels. */
static ALWAYS_INLINE void project_channels(const mnv2_context *context, const mnv2_step *step,
                                           int part, int first, int count,
                                           const activation *x) {
    const mnv2_block *block = &context->plan->blocks[step->first];
    const int out_pixels = block->out_height * block->out_width;
    const range pixels = share_of(context, part, out_pixels, 1);
    const int is_last = first + count == block->hidden;
    const activation *thin = (const activation *)(context->arena + step->input);
    activation *y = (activation *)(context->arena + step->output);
    const ptrdiff_t at = (ptrdiff_t)pixels.first * block->out_channels;
    float *sums = (float *)(context->arena + (THIN_HOLDS_SUMS ? step->output : step->sums)) + at;
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
    const mnv2_block *block = &context->plan->blocks[step->first];
    const int threads = context->plan->threads, tile = threads * step->tile;
    const size_t expanded_bytes = (size_t)(least(EXPANDED_PANELS, panels_of(step->tile)) *
                                           step->lines * step->columns) *
                                  PANEL * sizeof(float);
    const ptrdiff_t filtered_step = (ptrdiff_t)block->out_height * block->out_width * PANEL;
    activation *filtered = (activation *)(context->arena + step->filtered);
    activation *before = threads > 1 ? filtered + panels_of(tile) * filtered_step : filtered;

    for (int first = 0, ready = 0; first < block->hidden || ready > 0; first += tile) {
        const int count = first < block->hidden ? least(tile, block->hidden - first) : 0;
        for (int part; (part = next_part(context)) >= 0;) {
            if (ready > 0) project_channels(context, step, part, first - tile, ready, before);
            if (count == 0) continue;
            const range channels = share_of(context, part, count, PANEL);
            float *expanded = scratch_of(context, step, part, step->expanded);
            if (first == 0) memset(expanded, 0, expanded_bytes); /* for the zero padding */
            filter_channels(context, step, first, count, channels, expanded, filtered);
        }
        activation *const swap = filtered;
        filtered = before;
        before = swap;
        ready = count;
    }
}

#endif
