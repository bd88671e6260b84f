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
 * phase a tile, and two filtered tiles take turns where there are several parts. Or each makes a
 * band of output rows alone (branches.h), all tiles of it in one phase, and no tile goes from one
 * core's cache to another's.
 *
 * A detector's heads are branches (branches.h). */
#ifndef MNV2_TILES_H
#define MNV2_TILES_H

#include <string.h>

#include "block.h"
#include "branches.h"

/* Of a map whose lines are expanded as one run of pixels, not one by one: a line may end anywhere in
 * a register tile, so that maps of 7 x 7 or 3 x 3 fill theirs. */
enum { WHOLE_PIXELS = 256 };

/* What a branch filters of one expanded panel, number `panel` of its hidden ones, for so many output
 * rows: x is the line of its padding's first column under the first of them. */
static void filter_panel(const mnv2_context *context, const mnv2_block *block, int panel,
                         const float *x, ptrdiff_t line, int rows, activation *y,
                         ptrdiff_t y_step) {
    if (block->depthwise_weight >= 0) {
        const gather_map map = {
            .x = x,
            .line = line,
            .w = depthwise_weight(context, block, panel, 0),
            .bias = depthwise_bias(context, block, panel),
            .y = y,
            .y_step = y_step,
            .rows = rows,
            .pixels = block->out_width,
            .clip = limits_of(block->depthwise_activation),
        };
        gather(block->kernel, block->stride, &map);
        return;
    }
    for (int r = 0; r < rows; r++, x += line)
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

/* Where what a branch filters lies, of a band that a part makes alone or of the tile in turn: panels
 * so many values apart. */
static activation *filtered_of(const mnv2_context *context, const mnv2_step *step,
                               const branch *to, int band, int turn) {
    const ptrdiff_t panel_step = band_pixels(to->block, bands_of(step)) * PANEL;
    if (step->apart) return scratch_of(context, step, band, to->filtered);
    return (activation *)(context->arena + to->filtered) +
           turn * panels_of(context->plan->threads * step->tile) * panel_step;
}

/* Channels `part` of the `count` of a tile that begins at hidden channel `first`, of the whole
 * input or what lies under a band of the output, expanded and filtered by each branch:
 * [count/16][pixels][16], in blocks (filtered.h). `expanded` has its zero padding already. */
static void filter_channels(const mnv2_context *context, const mnv2_step *step, int band, int first,
                            int count, range part, int turn, float *expanded) {
    const mnv2_plan *plan = context->plan;
    const mnv2_block *block = &plan->blocks[step->first];
    const activation *x = (const activation *)(context->arena + step->input);
    const ptrdiff_t line_floats = (ptrdiff_t)step->columns * PANEL;
    const ptrdiff_t panel_step = step->lines * line_floats;
    const int left = padding_of(plan, block).left, bands = bands_of(step);
    const range lines = band_lines(plan, block, bands, band);
    const range real = {lines.first > 0 ? lines.first : 0, least(lines.end, block->in_height)};
    const int pixels = (real.end - real.first) * block->in_width;
    const int is_whole = !TILED && context->in_pairs && block->expand_weight >= 0 &&
                         pixels <= WHOLE_PIXELS && block->in_width % TILE_PIXELS != 0;
    int32_t places[WHOLE_PIXELS];
    for (int i = 0; i < pixels && is_whole; i++)
        places[i] = i / block->in_width * (int32_t)line_floats + i % block->in_width * PANEL;
    for (int panel = 0, c = part.first; c < part.end; c += PANEL, panel++) {
        if (panel == EXPANDED_PANELS) panel = 0;
        float *inside = expanded + (real.first - lines.first) * line_floats + left * PANEL;
        const int some = least(EXPANDED_PANELS * PANEL, part.end - c);
        if (panel == 0 && is_whole)
            expand_to(context, block, first + c, some,
                      x + (ptrdiff_t)real.first * block->in_width * block->in_channels, pixels,
                      inside, panel_step, places);
        else if (panel == 0)
            expand_lines(context, block, first + c, some,
                         x + (ptrdiff_t)real.first * block->in_width * block->in_channels,
                         block->in_width, real.end - real.first, inside, line_floats, panel_step);
        if (panel == 0 && block->expanded_tap > 0 && context->taps &&
            context->taps[block->expanded_tap - 1])
            tap_expanded(block, first + c, some, inside, line_floats, panel_step,
                         context->taps[block->expanded_tap - 1]);
        for (int i = 0; i <= block->within_count; i++) {
            const branch each = branch_of(plan, step, i);
            const mnv2_block *to = each.block;
            const range rows = band_rows(to, bands, band);
            const ptrdiff_t filtered_step = band_pixels(to, bands) * PANEL;
            const int top = rows.first * to->stride - to->pad_top - lines.first;
            filter_panel(context, to, (first + c) / PANEL,
                         expanded + panel * panel_step + top * line_floats +
                             (left - to->pad_left) * PANEL,
                         line_floats, rows.end - rows.first,
                         filtered_of(context, step, &each, band, turn) +
                             filtered_at(c / PANEL, filtered_step),
                         filtered_pixel(c / PANEL, panels_of(count)));
        }
    }
}

/* Adds hidden channels [first, first + count), filtered at x, to output pixels of a band. */
static ALWAYS_INLINE void project_branch(const mnv2_context *context, const mnv2_step *step,
                                         const branch *to, int band, range pixels, int first,
                                         int count, const activation *x) {
    const mnv2_block *block = to->block;
    const int bands = bands_of(step), is_last = first + count == block->hidden;
    const ptrdiff_t above = (ptrdiff_t)band_rows(block, bands, band).first * block->out_width;
    const ptrdiff_t within = (ptrdiff_t)pixels.first * block->out_channels;
    const activation *thin = (const activation *)(context->arena + step->input) +
                             (above + pixels.first) * block->in_channels;
    activation *y = (activation *)(context->arena + to->output) + above * block->out_channels;
    float *sums = THIN_HOLDS_SUMS ? (float *)y
                  : step->apart   ? scratch_of(context, step, band, to->sums)
                                  : (float *)(context->arena + to->sums);
    const pointwise_output out = {
        .activation = is_last ? block->project_activation : MNV2_LINEAR,
        .thin = y + within,
        .channels = block->out_channels,
        .begin = first > 0 ? sums + within : NULL,
        .unfinished = is_last ? NULL : sums + within,
        .residual = block->residual && is_last ? thin : NULL,
        .residual_pixel_step = block->in_channels,
        .residual_panel_step = PANEL,
    };
    project(context, block, first, count, x, band_pixels(block, bands) * PANEL, pixels.first,
            pixels.end - pixels.first, &out);
}

static size_t expanded_bytes(const mnv2_step *step) {
    return (size_t)(least(EXPANDED_PANELS, panels_of(step->tile)) * step->lines * step->columns) *
           PANEL * sizeof(float);
}

/* All tiles of a band, by one part. */
static void band_alone(const mnv2_context *context, const mnv2_step *step, int band) {
    const branch to = branch_of(context->plan, step, 0);
    const range rows = band_rows(to.block, step->bands, band);
    const range pixels = {0, (rows.end - rows.first) * to.block->out_width};
    float *expanded = scratch_of(context, step, band, step->expanded);
    memset(expanded, 0, expanded_bytes(step)); /* for the zero padding */
    for (int first = 0; first < to.block->hidden; first += step->tile) {
        const int count = least(step->tile, to.block->hidden - first);
        filter_channels(context, step, band, first, count, (range){0, count}, 0, expanded);
        project_branch(context, step, &to, band, pixels, first, count,
                       filtered_of(context, step, &to, band, 0));
    }
}

static void tiles_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_plan *plan = context->plan;
    const mnv2_block *block = &plan->blocks[step->first];
    const int tile = plan->threads * step->tile;
    int turn = 0, before = plan->threads > 1, part;

    if (step->apart) {
        while ((part = next_part(context)) >= 0) band_alone(context, step, part);
        return;
    }
    for (int first = 0, ready = 0; first < block->hidden || ready > 0; first += tile) {
        const int count = first < block->hidden ? least(tile, block->hidden - first) : 0;
        while ((part = next_part(context)) >= 0) {
            for (int i = 0; i <= block->within_count && ready > 0; i++) {
                const branch to = branch_of(plan, step, i);
                const int out_pixels = to.block->out_height * to.block->out_width;
                project_branch(context, step, &to, 0, share_of(context, part, out_pixels, 1),
                               first - tile, ready, filtered_of(context, step, &to, 0, before));
            }
            if (count == 0) continue;
            const range channels = share_of(context, part, count, PANEL);
            float *expanded = scratch_of(context, step, part, step->expanded);
            if (first == 0) memset(expanded, 0, expanded_bytes(step)); /* for the zero padding */
            filter_channels(context, step, 0, first, count, channels, turn, expanded);
        }
        const int swap = turn;
        turn = before;
        before = swap;
        ready = count;
    }
}

#endif
