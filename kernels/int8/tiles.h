/* Inverted residuals by channel tiles in 8 bits: the paper's own form (section 5.1),
 *
 *     F(x) = sum over tiles i of B_i(N(A_i x))
 *
 * so that the activations stay and the weights stream. For late blocks: small maps, hundreds of
 * kilobytes of weights. Scratch is two panels, expanded
 *
 *     [2][lines][columns][16]      lines and columns include the zero padding
 *
 * one tile of `tile` hidden channels, filtered [tile/16][pixels][16], and the sums over i, which are
 * 32 bits until the last tile: [out_channels/16][pixels][16]. Pixels are all of the output, or,
 * where the step is cut into bands (../branches.h), those of the largest; then the weights are read
 * once for each.
 *
 * Parts share the hidden channels of a tile, which is as many times wider, and in the next phase
 * its projection, by output pixels, each before its channels of the next tile. So there is one
 * phase a tile, and two filtered tiles take turns where there are several parts. Or each makes a
 * band alone, all tiles of it in one phase. A detector's heads are branches (../branches.h). */
#ifndef MNV2_INT8_TILES_H
#define MNV2_INT8_TILES_H

#include "../branches.h"
#include "block.h"

/* What a branch filters of hidden panel `panel` for output rows [rows.first, rows.end): x is the
 * line of its padding's first column under the first of them. */
static void filter_panel(const mnv2_context *context, const mnv2_block *block, int panel,
                         const uint8_t *x, ptrdiff_t line, range rows, uint8_t *y,
                         ptrdiff_t y_step) {
    if (block->depthwise_weight < 0) {
        for (int r = rows.first; r < rows.end; r++, x += line)
            for (int p = 0; p < block->out_width; p++, y += y_step) memcpy(y, x + p * PANEL, PANEL);
        return;
    }
    depthwise_map map = depthwise_of(context, block, panel);
    for (int ky = 0; ky < block->kernel; ky++) map.x[ky] = x + ky * line;
    map.line = block->stride * line;
    map.y = y;
    map.y_step = y_step;
    map.rows = rows.end - rows.first;
    map.pixels = block->out_width;
    depthwise(block->kernel, block->stride, &map);
}

/* Where what a branch filters lies, of a band that a part makes alone or of the tile in turn. */
static uint8_t *filtered_of(const mnv2_context *context, const mnv2_step *step, const branch *to,
                            int band, int turn) {
    const ptrdiff_t panel_step = band_pixels(to->block, bands_of(step)) * PANEL;
    if (step->apart) return scratch_of(context, step, band, to->filtered);
    return (uint8_t *)context->arena + to->filtered +
           turn * context->plan->threads * panels_of(step->tile) * panel_step;
}

/* Panels `part` of the `panels` of a tile that begins at hidden panel `first`, of the whole input or
 * what lies under a band of the output, expanded and filtered by each branch: [panels][pixels][16],
 * in blocks (../filtered.h). `expanded` has its padding already. */
static void filter_panels(const mnv2_context *context, const mnv2_step *step, int band, int first,
                          int panels, range part, int turn, uint8_t *expanded) {
    const mnv2_plan *plan = context->plan;
    const mnv2_block *block = &plan->blocks[step->first];
    const uint8_t *x = (const uint8_t *)context->arena + step->input;
    const ptrdiff_t line = (ptrdiff_t)step->columns * PANEL, panel_step = step->lines * line;
    const int left = padding_of(plan, block).left, bands = bands_of(step);
    const range lines = band_lines(plan, block, bands, band);
    const int from = lines.first > 0 ? lines.first : 0, to = least(lines.end, block->in_height);
    for (int n = part.first, at = 0; n < part.end; n++, at++) {
        if (at == EXPANDED_PANELS) at = 0;
        if (at == 0)
            for (int j = from; j < to; j++)
                expand(context, block, first + n, least(EXPANDED_PANELS, part.end - n),
                       x + (ptrdiff_t)j * block->in_width * block->in_channels, block->in_width,
                       expanded + (j - lines.first) * line + left * PANEL, panel_step);
        for (int i = 0; i <= block->within_count; i++) {
            const branch each = branch_of(plan, step, i);
            const mnv2_block *by = each.block;
            const range rows = band_rows(by, bands, band);
            const ptrdiff_t filtered_step = band_pixels(by, bands) * PANEL;
            const int top = rows.first * by->stride - by->pad_top - lines.first;
            filter_panel(context, by, first + n,
                         expanded + at * panel_step + top * line + (left - by->pad_left) * PANEL,
                         line, rows,
                         filtered_of(context, step, &each, band, turn) +
                             filtered_at(n, filtered_step),
                         filtered_pixel(n, panels));
        }
    }
}

/* Output pixels of a band. */
static int pixels_of(const mnv2_step *step, const mnv2_block *block, int band) {
    const range rows = band_rows(block, bands_of(step), band);
    return (rows.end - rows.first) * block->out_width;
}

/* Adds hidden panels [panel, panel + panels), filtered at x, to output pixels of a band. */
static void project_panels(const mnv2_context *context, const mnv2_step *step, const branch *to,
                           int band, range pixels, int panel, int panels, const uint8_t *x) {
    const mnv2_block *block = to->block;
    const int bands = bands_of(step);
    const range rows = band_rows(block, bands, band);
    const ptrdiff_t panel_step = band_pixels(block, bands) * PANEL;
    const ptrdiff_t first = (ptrdiff_t)rows.first * block->out_width + pixels.first;
    int32_t *sums = step->apart ? scratch_of(context, step, band, to->sums)
                                : (int32_t *)(context->arena + to->sums);
    const uint8_t *thin = (const uint8_t *)context->arena + step->input;
    const int is_last = panel + panels == panels_of(block->hidden);
    const pointwise_input in =
        projected(context, block, panel, panels, x, panel_step, pixels.first);
    const pointwise_output out = {
        .y = (uint8_t *)context->arena + to->output + first * block->out_channels,
        .sums = sums + pixels.first * PANEL,
        .panel_step = panel_step,
        .channels = block->out_channels,
        .accumulate = panel > 0,
        .shortcut = block->residual ? thin + first * block->in_channels : NULL,
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

static void fill_padding(const mnv2_step *step, const mnv2_block *block, uint8_t *expanded) {
    const int panels = least(EXPANDED_PANELS, panels_of(step->tile));
    memset(expanded, block->pad, (size_t)(panels * step->lines * step->columns * PANEL));
}

/* All tiles of a band, by one part. */
static void band_alone(const mnv2_context *context, const mnv2_step *step, int band) {
    const branch to = branch_of(context->plan, step, 0);
    const range pixels = {0, pixels_of(step, to.block, band)};
    const int tile = panels_of(step->tile), hidden = panels_of(to.block->hidden);
    uint8_t *expanded = scratch_of(context, step, band, step->expanded);
    fill_padding(step, to.block, expanded);
    for (int first = 0; first < hidden; first += tile) {
        const int count = least(tile, hidden - first);
        filter_panels(context, step, band, first, count, (range){0, count}, 0, expanded);
        project_panels(context, step, &to, band, pixels, first, count,
                       filtered_of(context, step, &to, band, 0));
    }
}

/* All tiles of a band, by all parts. */
static void run_band(const mnv2_context *context, const mnv2_step *step, int band) {
    const mnv2_plan *plan = context->plan;
    const mnv2_block *block = &plan->blocks[step->first];
    const int tile = plan->threads * panels_of(step->tile), hidden = panels_of(block->hidden);
    int turn = 0, before = plan->threads > 1;

    for (int first = 0, ready = 0; first < hidden || ready > 0; first += tile) {
        const int count = first < hidden ? least(tile, hidden - first) : 0;
        for (int part; (part = next_part(context)) >= 0;) {
            for (int i = 0; i <= block->within_count && ready > 0; i++) {
                const branch to = branch_of(plan, step, i);
                const int pixels = pixels_of(step, to.block, band);
                project_panels(context, step, &to, band, share_of(context, part, pixels, 1),
                               first - tile, ready, filtered_of(context, step, &to, band, before));
            }
            if (count == 0) continue;
            const range panels = share_of(context, part, count, 1);
            uint8_t *expanded = (uint8_t *)scratch_of(context, step, part, step->expanded);
            if (first == 0) fill_padding(step, block, expanded);
            filter_panels(context, step, band, first, count, panels, turn, expanded);
        }
        const int swap = turn;
        turn = before;
        before = swap;
        ready = count;
    }
}

static void tiles_step(const mnv2_context *context, const mnv2_step *step) {
    if (step->apart) {
        for (int part; (part = next_part(context)) >= 0;) band_alone(context, step, part);
        return;
    }
    for (int band = 0; band < bands_of(step); band++) run_band(context, step, band);
}

#endif
