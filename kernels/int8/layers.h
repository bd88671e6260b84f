/* Inverted residuals layer by layer in 8 bits: as ../layers.h, of the 8-bit micro-kernels. Each
 * layer reads and writes whole maps of `tile` hidden channels,
 *
 *     expanded  [tile/16][lines][columns][16]      lines and columns include the zero padding
 *     filtered  [tile/16][out_height * out_width][16]
 *
 * and the sums over several splits are held as in tiles.h. */
#ifndef MNV2_INT8_LAYERS_H
#define MNV2_INT8_LAYERS_H

#include "stem.h"
#include "tiles.h"

/* Hidden panels [panel, panel + panels) of input row j, with the zero padding around it: y is
 * [panels][lines][columns][16]. */
static void expand_row(const mnv2_context *context, const mnv2_step *step, int part, int j,
                       int panel, int panels, uint8_t *y) {
    const mnv2_block *block = &context->plan->blocks[step->first];
    const int width = block->in_width, left = block->pad_left, right = step->columns - left - width;
    const ptrdiff_t line = (ptrdiff_t)step->columns * PANEL, panel_step = step->lines * line;
    uint8_t *row = y + (block->pad_top + j) * line;
    const uint8_t *thin = (const uint8_t *)context->arena + step->input +
                          (ptrdiff_t)j * width * block->in_channels;
    uint8_t *pixels = (uint8_t *)scratch_of(context, step, part, step->pixels);
    if (step->first == 0) stem_load(context, j, 0, width, pixels);
    for (int n = 0; n < panels; n += EXPANDED_PANELS) {
        const int some = least(EXPANDED_PANELS, panels - n);
        uint8_t *made = row + left * PANEL + n * panel_step;
        if (step->first == 0)
            stem(context, pixels, width, panel + n, some, made, panel_step);
        else
            expand(context, block, panel + n, some, thin, width, made, panel_step);
    }
    const int above = j == 0 ? block->pad_top : 0;
    const int below = j == block->in_height - 1 ? step->lines - block->pad_top - j - 1 : 0;
    for (int n = 0; n < panels; n++, row += panel_step) {
        memset(row - above * line, block->pad, (size_t)(above * line));
        memset(row, block->pad, (size_t)(left * PANEL));
        memset(row + (left + width) * PANEL, block->pad, (size_t)(right * PANEL));
        memset(row + line, block->pad, (size_t)(below * line));
    }
}

/* A part of the expand layer. */
static void expand_part(const mnv2_context *context, const mnv2_step *step, int part, int first,
                        int count) {
    const mnv2_block *block = &context->plan->blocks[step->first];
    const int by_rows = count * PANEL < block->in_height * block->in_width;
    const int at_once = by_rows ? count : EXPANDED_PANELS;
    const int height = block->in_height;
    const range rows = by_rows ? share_of(context, part, height, 1) : (range){0, height};
    const range panels = by_rows ? (range){0, count} : share_of(context, part, count, at_once);
    const ptrdiff_t panel_step = (ptrdiff_t)step->lines * step->columns * PANEL;
    uint8_t *y = (uint8_t *)context->arena + step->expanded;
    for (int n = panels.first; n < panels.end; n += at_once)
        for (int j = rows.first; j < rows.end; j++)
            expand_row(context, step, part, j, first + n, least(at_once, panels.end - n),
                       y + n * panel_step);
}

/* A part of the depthwise layer. */
static void filter_part(const mnv2_context *context, const mnv2_step *step, int part, int first,
                        int count) {
    const mnv2_block *block = &context->plan->blocks[step->first];
    const range panels = share_of(context, part, count, 1);
    const ptrdiff_t line = (ptrdiff_t)step->columns * PANEL, panel_step = step->lines * line;
    for (int n = panels.first; n < panels.end; n++) {
        depthwise_map map = depthwise_of(context, block, first + n);
        for (int ky = 0; ky < block->kernel; ky++)
            map.x[ky] = (const uint8_t *)context->arena + step->expanded + n * panel_step +
                        ky * line;
        map.line = block->stride * line;
        map.y = (uint8_t *)context->arena + step->filtered +
                filtered_at(n, (ptrdiff_t)block->out_height * block->out_width * PANEL);
        map.y_step = filtered_pixel(n, count);
        map.rows = block->out_height;
        map.pixels = block->out_width;
        depthwise(block->kernel, block->stride, &map);
    }
}

static void layers_step(const mnv2_context *context, const mnv2_step *step) {
    const int hidden = panels_of(context->plan->blocks[step->first].hidden);
    const int tile = panels_of(step->tile);
    const branch all = branch_of(context->plan, step, 0);
    const uint8_t *filtered = (const uint8_t *)context->arena + step->filtered;
    for (int first = 0, part; first < hidden; first += tile) {
        const int count = least(tile, hidden - first);
        if (step->layers & MNV2_EXPAND)
            while ((part = next_part(context)) >= 0) expand_part(context, step, part, first, count);
        if (step->layers & MNV2_DEPTHWISE)
            while ((part = next_part(context)) >= 0) filter_part(context, step, part, first, count);
        if (step->layers & MNV2_PROJECT)
            while ((part = next_part(context)) >= 0)
                project_panels(context, step, &all, 0,
                               share_of(context, part, pixels_of(step, all.block, 0), 1), first,
                               count, filtered);
    }
}

#endif
