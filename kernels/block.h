/* The three layers of an inverted residual, as all schedules (rows.h, tiles.h, layers.h) use them:
 * expand (the paper's A), depthwise (N), project (B); F(x) = B(N(A x)). Each takes a range of
 * hidden channels, which the schedules cut as they like: the sums keep their order. Where t = 1,
 * A is the identity. */
#ifndef MNV2_BLOCK_H
#define MNV2_BLOCK_H

#include "depthwise.h"
#include "isa.h"
#include "paired.h"
#include "pointwise.h"

static void expand_pixels(int pixels, int panels, const pointwise_input *in,
                          const pointwise_output *out) {
    pointwise(TO_PANELS, pixels, panels, in, out);
}

/* Channels [first, first + count) of `pixels` thin pixels as panels; lanes past the last are 0. */
static void spread(const mnv2_block *block, int first, int count, const activation *x, int pixels,
                   float *y, ptrdiff_t panel_step) {
    const ptrdiff_t step = block->in_channels;
    for (int c = first; c < first + count; c += PANEL, y += panel_step) {
        for (int lane = 0; lane < PANEL; lane += LANES) {
            const activation *from = x + c + lane;
            float *to = y + lane;
            const int real = block->in_channels - c - lane;
            for (int p = 0; p < pixels && real >= LANES; p++)
                vf_store(to + p * PANEL, vf_from_values(from + p * step));
            for (int p = 0; p < pixels && real < LANES; p++)
                vf_store(to + p * PANEL, real > 0 ? vf_from_values_part(from + p * step, real)
                                                  : vf_set1(0.0f));
        }
    }
}

/* Hidden channels [first, first + count) of `pixels` thin pixels; y: panels panel_step apart.
 * places: as pointwise_output has them; the block has an expand layer. */
static void expand_to(const mnv2_context *context, const mnv2_block *block, int first, int count,
                      const activation *x, int pixels, float *y, ptrdiff_t panel_step,
                      const int32_t *places) {
    const int terms = stored_terms(block->in_channels);
    const weight *w = (const weight *)(context->weights + block->expand_weight);
    const float *bias = (const float *)(context->weights + block->expand_bias);
    const pointwise_input in = {
        .x = x,
        .pixel_step = block->in_channels,
        .segment = block->in_channels,
        .depth = block->in_channels,
        .w = w + (ptrdiff_t)first * terms,
        .panel_step = (ptrdiff_t)terms * PANEL,
        .bias = bias + first,
        .tiles = context->tiles,
    };
    const pointwise_output out = {
        .activation = block->expand_activation,
        .y = y,
        .panel_step = panel_step,
        .places = places,
    };
    expand_pixels(pixels, panels_of(count), &in, &out);
}

/* Hidden channels [first, first + count) of `pixels` thin pixels; y: panels panel_step apart. */
static void expand(const mnv2_context *context, const mnv2_block *block, int first, int count,
                   const activation *x, int pixels, float *y, ptrdiff_t panel_step) {
    if (block->expand_weight < 0)
        spread(block, first, count, x, pixels, y, panel_step);
    else
        expand_to(context, block, first, count, x, pixels, y, panel_step, NULL);
}

#if TILED
static void expand_at_once(const mnv2_context *context, const mnv2_block *block, int first,
                           int count, const activation *x, int pixels, int lines, float *y,
                           ptrdiff_t line, ptrdiff_t panel_step) {
    const int terms = block->in_channels;
    const pointwise_input in = {
        .x = x,
        .pixel_step = terms,
        .segment = terms,
        .depth = terms,
        .w = (const weight *)(context->weights + block->expand_weight) + (ptrdiff_t)first * terms,
        .panel_step = (ptrdiff_t)terms * PANEL,
        .bias = (const float *)(context->weights + block->expand_bias) + first,
        .tiles = context->tiles,
    };
    const pointwise_output out = {
        .activation = block->expand_activation,
        .y = y,
        .panel_step = panel_step,
        .width = pixels,
        .line = line,
    };
    expand_pixels(lines * pixels, panels_of(count), &in, &out);
}
#endif

/* The same of `lines` lines of thin pixels, one behind the other; of y they lie `line` floats apart.
 * In tile registers the more pixels at once the better. */
static ALWAYS_INLINE void expand_lines(const mnv2_context *context, const mnv2_block *block,
                                       int first, int count, const activation *x, int pixels,
                                       int lines, float *y, ptrdiff_t line,
                                       ptrdiff_t panel_step) {
#if TILED
    if (block->expand_weight >= 0 && block->in_channels % PAIR == 0) {
        expand_at_once(context, block, first, count, x, pixels, lines, y, line, panel_step);
        return;
    }
#endif
    for (int j = 0; j < lines; j++)
        expand(context, block, first, count, x + (ptrdiff_t)j * pixels * block->in_channels, pixels,
               y + j * line, panel_step);
}

static const float *depthwise_bias(const mnv2_context *context, const mnv2_block *block,
                                   int panel) {
    return (const float *)(context->weights + block->depthwise_bias) + panel * PANEL;
}

/* Row ky of the kernel of one hidden panel: [kernel][16], the next rows behind it. */
static const float *depthwise_weight(const mnv2_context *context, const mnv2_block *block,
                                     int panel, int ky) {
    const float *w = (const float *)(context->weights + block->depthwise_weight);
    return w + (ptrdiff_t)(panel * block->kernel + ky) * block->kernel * PANEL;
}

/* Hidden channels [first, first + count) from pixel `pixel` on of what is filtered at x (filtered.h),
 * panel_step values a panel. */
static pointwise_input project_input(const mnv2_context *context, const mnv2_block *block,
                                     int first, int count, const activation *x,
                                     ptrdiff_t panel_step, int pixel) {
    const weight *w = (const weight *)(context->weights + block->project_weight);
    return (pointwise_input){
        .x = TILED ? x : x + (ptrdiff_t)pixel * PANEL,
        .is_blocked = TILED,
        .first = pixel,
        .tiles = context->tiles,
        .pixel_step = PANEL,
        .segment_step = panel_step,
        .segment = PANEL,
        .depth = count,
        .w = w + (ptrdiff_t)first * PANEL,
        .panel_step = (ptrdiff_t)stored_terms(block->hidden) * PANEL,
        .bias = (const float *)(context->weights + block->project_bias),
    };
}

/* Adds hidden channels [first, first + count) to the thin output of `pixels` pixels, from pixel
 * `pixel` on of what is filtered at x. */
static void project(const mnv2_context *context, const mnv2_block *block, int first, int count,
                    const activation *x, ptrdiff_t panel_step, int pixel, int pixels,
                    const pointwise_output *out) {
    const pointwise_input in =
        project_input(context, block, first, count, x, panel_step, pixel);
    pointwise(TO_CHANNELS, pixels, panels_of(block->out_channels), &in, out);
}

#if PAIRED
/* The thin output of `pixels` pixels, filtered in pairs but for an odd last one. */
static void project_pairs(const mnv2_context *context, const mnv2_block *block,
                          const activation *x, ptrdiff_t panel_step, int pixels,
                          const pointwise_output *out) {
    const int even = pixels / 2 * 2;
    const pointwise_input in = project_input(context, block, 0, block->hidden, x, panel_step, 0);
    paired(even / 2, &in, out);
    if (even == pixels) return;
    pointwise_output last = *out;
    last.thin += (ptrdiff_t)even * out->channels;
    if (last.residual) last.residual += even * out->residual_pixel_step;
    project(context, block, 0, block->hidden, x, panel_step, even, 1, &last);
}
#endif

#endif
