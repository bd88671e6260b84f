/* Inverted residuals layer by layer: what the fused schedules (rows.h, tiles.h) are measured
 * against, of the same micro-kernels. Each layer reads and writes whole maps of `tile` hidden
 * channels,
 *
 *     expanded  [tile/16][lines][columns][16]      lines and columns include the zero padding
 *     filtered  [tile/16][out_height * out_width][16]
 *
 * which are all that the block has, as engines without fusion run it, or one of t splits of them,
 * the paper's own form (section 5.1); the sums over the splits are held as in tiles.h. The first
 * block's expand layer is the stem. The planner chooses no such step.
 *
 * While there are more pixels than channels, each row of thin pixels stays until it is expanded to
 * all of them; else the weights of two panels stay until all rows have passed. Parts share those
 * rows or panels, then the panels of the depthwise layer, then the output pixels, each layer in a
 * phase of its own. */
#ifndef MNV2_LAYERS_H
#define MNV2_LAYERS_H

#include <string.h>

#include "stem.h"
#include "tiles.h"

/* Hidden channels [first, first + count) of input row j, with the zero padding around it: y is
 * [count/16][lines][columns][16]. */
static void expand_row(const mnv2_context *context, const mnv2_step *step, int part, int j,
                       int first, int count, float *y) {
    const mnv2_block *block = &context->plan->blocks[step->first];
    const int width = block->in_width, left = block->pad_left, right = step->columns - left - width;
    const ptrdiff_t line = (ptrdiff_t)step->columns * PANEL, panel_step = step->lines * line;
    float *row = y + (block->pad_top + j) * line;
    const activation *thin = (const activation *)(context->arena + step->input) +
                             (ptrdiff_t)j * width * block->in_channels;
    activation *pixels = scratch_of(context, step, part, step->pixels);
    if (step->first == 0) {
        const channel_pattern pattern = pattern_of(&context->plan->stem);
        stem_load(context, &pattern, j, 0, width, pixels);
    }
    for (int c = 0; c < count; c += EXPANDED_PANELS * PANEL) {
        const int some = least(EXPANDED_PANELS * PANEL, count - c);
        float *made = row + left * PANEL + c / PANEL * panel_step;
        if (step->first == 0)
            stem(context, pixels, width, (first + c) / PANEL, panels_of(some), made, panel_step);
        else
            expand(context, block, first + c, some, thin, width, made, panel_step);
    }
    const size_t line_bytes = (size_t)line * sizeof *y, pixel_bytes = PANEL * sizeof *y;
    const int above = j == 0 ? block->pad_top : 0;
    const int below = j == block->in_height - 1 ? step->lines - block->pad_top - j - 1 : 0;
    for (int panel = 0; panel < panels_of(count); panel++, row += panel_step) {
        memset(row - above * line, 0, (size_t)above * line_bytes);
        memset(row, 0, (size_t)left * pixel_bytes);
        memset(row + (left + width) * PANEL, 0, (size_t)right * pixel_bytes);
        memset(row + line, 0, (size_t)below * line_bytes);
    }
}

/* A part of the expand layer. */
static void expand_part(const mnv2_context *context, const mnv2_step *step, int part, int first,
                        int count) {
    const mnv2_block *block = &context->plan->blocks[step->first];
    const int by_rows = count < block->in_height * block->in_width;
    const int at_once = by_rows ? count : EXPANDED_PANELS * PANEL;
    const int height = block->in_height;
    const range rows = by_rows ? share_of(context, part, height, 1) : (range){0, height};
    const range channels = by_rows ? (range){0, count} : share_of(context, part, count, at_once);
    const ptrdiff_t panel_step = (ptrdiff_t)step->lines * step->columns * PANEL;
    float *y = (float *)(context->arena + step->expanded);
    for (int c = channels.first; c < channels.end; c += at_once)
        for (int j = rows.first; j < rows.end; j++)
            expand_row(context, step, part, j, first + c, least(at_once, channels.end - c),
                       y + c / PANEL * panel_step);
}

/* A part of the depthwise layer. */
static void filter_part(const mnv2_context *context, const mnv2_step *step, int part, int first,
                        int count) {
    const mnv2_block *block = &context->plan->blocks[step->first];
    const range channels = share_of(context, part, count, PANEL);
    const ptrdiff_t line = (ptrdiff_t)step->columns * PANEL;
    for (int c = channels.first; c < channels.end; c += PANEL) {
        const int panel = c / PANEL;
        const gather_map map = {
            .x = (const float *)(context->arena + step->expanded) + panel * step->lines * line,
            .line = line,
            .w = depthwise_weight(context, block, first / PANEL + panel, 0),
            .bias = depthwise_bias(context, block, first / PANEL + panel),
            .y = (activation *)(context->arena + step->filtered) +
                 filtered_at(panel, (ptrdiff_t)block->out_height * block->out_width * PANEL),
            .y_step = filtered_pixel(panel, panels_of(count)),
            .rows = block->out_height,
            .pixels = block->out_width,
            .clip = limits_of(block->depthwise_activation),
        };
        gather(block->kernel, block->stride, &map);
    }
}

static void layers_step(const mnv2_context *context, const mnv2_step *step) {
    const int hidden = context->plan->blocks[step->first].hidden;
    const branch own = branch_of(context->plan, step, 0);
    const int out_pixels = own.block->out_height * own.block->out_width;
    const activation *filtered = (const activation *)(context->arena + step->filtered);
    for (int first = 0, part; first < hidden; first += step->tile) {
        const int count = least(step->tile, hidden - first);
        if (step->layers & MNV2_EXPAND)
            while ((part = next_part(context)) >= 0) expand_part(context, step, part, first, count);
        if (step->layers & MNV2_DEPTHWISE)
            while ((part = next_part(context)) >= 0) filter_part(context, step, part, first, count);
        if (step->layers & MNV2_PROJECT)
            while ((part = next_part(context)) >= 0)
                project_branch(context, step, &own, 0, share_of(context, part, out_pixels, 1),
                               first, count, filtered);
    }
}

#endif
