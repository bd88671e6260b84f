/* The three layers of an inverted residual, as both schedules (rows.h, tiles.h) use them:
 * expand (the paper's A), depthwise (N), project (B); F(x) = B(N(A x)). Each takes a range of
 * hidden channels, which the schedules cut as they like: the sums keep their order. */
#ifndef MNV2_BLOCK_H
#define MNV2_BLOCK_H

#include <string.h>

#include "depthwise.h"
#include "isa.h"
#include "pointwise.h"

static inline int panels_of(int channels) { return (channels + PANEL - 1) / PANEL; }

static void expand_pixels(int pixels, int panels, const pointwise_input *in,
                          const pointwise_output *out) {
    pointwise(RELU6_TO_PANELS, pixels, panels, in, out);
}

/* Hidden channels [first, first + count) of `pixels` thin pixels; y: panels panel_step apart. */
static void expand(const mnv2_context *context, const mnv2_block *block, int first, int count,
                   const float *x, int pixels, float *y, ptrdiff_t panel_step) {
    const float *w = (const float *)(context->weights + block->expand_weight);
    const float *bias = (const float *)(context->weights + block->expand_bias);
    const pointwise_input in = {
        .x = x,
        .pixel_step = block->in_channels,
        .segment = block->in_channels,
        .depth = block->in_channels,
        .w = w + (ptrdiff_t)first * block->in_channels,
        .panel_step = (ptrdiff_t)block->in_channels * PANEL,
        .bias = bias + first,
    };
    const pointwise_output out = {.y = y, .panel_step = panel_step};
    expand_pixels(pixels, panels_of(count), &in, &out);
}

/* One output row of one hidden panel, from the `taps` rows x under kernel rows [ky, ky + taps). */
static void depthwise(const mnv2_context *context, const mnv2_block *block, int panel,
                      const float *const *x, int ky, int taps, float *y) {
    const int k = block->kernel;
    const float *w = (const float *)(context->weights + block->depthwise_weight);
    const float *bias = (const float *)(context->weights + block->depthwise_bias);
    depthwise_input in = {
        .taps = taps,
        .w = w + (ptrdiff_t)(panel * k + ky) * k * PANEL,
        .bias = bias + panel * PANEL,
    };
    for (int i = 0; i < taps; i++) in.x[i] = x[i];
    depthwise_row(k, block->stride, &in, y, block->out_width);
}

/* Adds hidden channels [first, first + count) to the thin output of `pixels` pixels.
 * x: panels of [pixels][16], panel_step floats apart. */
static void project(const mnv2_context *context, const mnv2_block *block, int first, int count,
                    const float *x, ptrdiff_t panel_step, int pixels,
                    const pointwise_output *out) {
    const float *w = (const float *)(context->weights + block->project_weight);
    const pointwise_input in = {
        .x = x,
        .pixel_step = PANEL,
        .segment_step = panel_step,
        .segment = PANEL,
        .depth = count,
        .w = w + (ptrdiff_t)first * PANEL,
        .panel_step = (ptrdiff_t)block->hidden * PANEL,
        .bias = (const float *)(context->weights + block->project_bias),
    };
    pointwise(LINEAR_TO_CHANNELS, pixels, panels_of(block->out_channels), &in, out);
}

/* Zeroes the padding columns of `rows` expanded rows, which nothing else ever writes. */
static void clear_padding(const mnv2_block *block, float *rows, int count) {
    const ptrdiff_t row_floats = (ptrdiff_t)block->columns * PANEL;
    const ptrdiff_t before = (ptrdiff_t)block->pad_left * PANEL;
    const ptrdiff_t end = before + (ptrdiff_t)block->in_width * PANEL;
    for (int i = 0; i < count; i++, rows += row_floats) {
        memset(rows, 0, (size_t)before * sizeof *rows);
        memset(rows + end, 0, (size_t)(row_floats - end) * sizeof *rows);
    }
}

#endif
