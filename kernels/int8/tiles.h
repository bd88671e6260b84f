/* Inverted residuals by channel tiles in 8 bits: the paper's own form (section 5.1),
 *
 *     F(x) = sum over tiles i of B_i(N(A_i x))
 *
 * so that the activations stay and the weights stream, each read once. For late blocks: small
 * maps, hundreds of kilobytes of weights. Scratch is two panels, expanded
 *
 *     [2][lines][columns][16]      lines and columns include the zero padding
 *
 * one tile of `tile` hidden channels, filtered [tile/16][out_height * out_width][16], and the sums
 * over i, which are 32 bits until the last tile: [out_channels/16][out_height * out_width][16].
 *
 * Parts share the hidden channels of a tile, which is as many times wider, and in the next phase
 * its projection, by output pixels, each before its channels of the next tile. So there is one
 * phase a tile, and two filtered tiles take turns where there are several parts. */
#ifndef MNV2_INT8_TILES_H
#define MNV2_INT8_TILES_H

#include "../parts.h"
#include "block.h"

/* Panels `part` of the `panels` of a tile that begins at hidden panel `first`, of the whole input,
 * expanded and filtered: y is [panels][out_height * out_width][16], in blocks (../filtered.h).
 * `expanded` has its zero padding already. */
static void filter_panels(const mnv2_context *context, const mnv2_step *step, int first, int panels,
                          range part, uint8_t *expanded, uint8_t *y) {
    const mnv2_block *block = &context->plan->blocks[step->first];
    const uint8_t *x = (const uint8_t *)context->arena + step->input;
    const ptrdiff_t line = (ptrdiff_t)step->columns * PANEL, panel_step = step->lines * line;
    const ptrdiff_t filtered_panel = (ptrdiff_t)block->out_height * block->out_width * PANEL;
    for (int n = part.first, at = 0; n < part.end; n++, at++) {
        if (at == EXPANDED_PANELS) at = 0;
        if (at == 0)
            for (int j = 0; j < block->in_height; j++)
                expand(context, block, first + n, least(EXPANDED_PANELS, part.end - n),
                       x + (ptrdiff_t)j * block->in_width * block->in_channels, block->in_width,
                       expanded + (block->pad_top + j) * line + block->pad_left * PANEL,
                       panel_step);
        depthwise_map map = depthwise_of(context, block, first + n);
        for (int ky = 0; ky < block->kernel; ky++)
            map.x[ky] = expanded + at * panel_step + ky * line;
        map.line = block->stride * line;
        map.y = y + filtered_at(n, filtered_panel);
        map.y_step = filtered_pixel(n, panels);
        map.rows = block->out_height;
        map.pixels = block->out_width;
        depthwise(block->kernel, block->stride, &map);
    }
}

/* Adds hidden panels [panel, panel + panels), filtered at x, to a part's output pixels. */
static void project_panels(const mnv2_context *context, const mnv2_step *step, int part,
                           int panel, int panels, const uint8_t *x) {
    const mnv2_block *block = &context->plan->blocks[step->first];
    const int out_pixels = block->out_height * block->out_width;
    const range pixels = share_of(context, part, out_pixels, 1);
    const uint8_t *thin = (const uint8_t *)context->arena + step->input;
    const int is_last = panel + panels == panels_of(block->hidden);
    const pointwise_input in = projected(context, block, panel, panels, x,
                                         (ptrdiff_t)out_pixels * PANEL, pixels.first);
    const pointwise_output out = {
        .y = (uint8_t *)context->arena + step->output +
             (ptrdiff_t)pixels.first * block->out_channels,
        .sums = (int32_t *)(context->arena + step->sums) + pixels.first * PANEL,
        .panel_step = (ptrdiff_t)out_pixels * PANEL,
        .channels = block->out_channels,
        .accumulate = panel > 0,
        .shortcut =
            block->residual ? thin + (ptrdiff_t)pixels.first * block->in_channels : NULL,
        .shortcut_pixel_step = block->in_channels,
        .shortcut_panel_step = PANEL,
        .shortcut_multiplier = block->residual,
    };
    const int out_panels = panels_of(block->out_channels), count = pixels.end - pixels.first;
    if (is_last)
        pointwise(TO_CHANNELS, count, out_panels, &in, &out);
    else
        pointwise(TO_SUMS, count, out_panels, &in, &out);
}

static void tiles_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_block *block = &context->plan->blocks[step->first];
    const int threads = context->plan->threads, tile = threads * panels_of(step->tile);
    const int hidden = panels_of(block->hidden);
    const size_t expanded_bytes = (size_t)(least(EXPANDED_PANELS, panels_of(step->tile)) *
                                           step->lines * step->columns) *
                                  PANEL;
    const ptrdiff_t filtered_step = (ptrdiff_t)block->out_height * block->out_width * PANEL;
    uint8_t *filtered = (uint8_t *)context->arena + step->filtered;
    uint8_t *before = threads > 1 ? filtered + tile * filtered_step : filtered;

    for (int first = 0, ready = 0; first < hidden || ready > 0; first += tile) {
        const int count = first < hidden ? least(tile, hidden - first) : 0;
        for (int part; (part = next_part(context)) >= 0;) {
            if (ready > 0) project_panels(context, step, part, first - tile, ready, before);
            if (count == 0) continue;
            const range panels = share_of(context, part, count, 1);
            uint8_t *expanded = (uint8_t *)scratch_of(context, step, part, step->expanded);
            if (first == 0) memset(expanded, block->pad, expanded_bytes); /* the padding */
            filter_panels(context, step, first, count, panels, expanded, filtered);
        }
        uint8_t *const swap = filtered;
        filtered = before;
        before = swap;
        ready = count;
    }
}

#endif
