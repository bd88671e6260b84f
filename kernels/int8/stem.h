/* The stem in 8 bits: 3x3 stride-2 convolution of the image's own pixels, a strip of a row at a
 * time. Normalisation is in its weights and bias.
 *
 * The pixels under the strip are copied, with their padding, into [3][row bytes], so that groups
 * of four bytes may be read past the end; then it is a 1x1 convolution of nine groups in three
 * segments, each of nine taps and three bytes whose weights are zero. */
#ifndef MNV2_INT8_STEM_H
#define MNV2_INT8_STEM_H

#include <math.h>

#include "block.h"

enum {
    IMAGE_CHANNELS = 3,
    STEM_KERNEL = 3,
    STEM_STRIDE = 2,
    STEM_ROW_GROUPS = (STEM_KERNEL * IMAGE_CHANNELS + GROUP - 1) / GROUP
};

/* Bytes of one kernel row under `pixels` outputs, the last group's included. */
static int stem_row_bytes(int pixels) {
    return (pixels - 1) * STEM_STRIDE * IMAGE_CHANNELS + STEM_ROW_GROUPS * GROUP;
}

/* The pixel whose normalised values are nearest: x is normalised and finite. */
static void pixels_from_floats(const mnv2_stem *stem, const float *x, uint8_t *y, int count) {
    for (int i = 0; i < count; i++) {
        const float scaled = x[i] * stem->std[i % IMAGE_CHANNELS];
        const float level = rintf(scaled + stem->mean[i % IMAGE_CHANNELS]);
        y[i] = level < 0.0f ? 0 : level > 255.0f ? 255 : (uint8_t)level;
    }
}

static void pad_pixels(const mnv2_stem *stem, uint8_t *y, int count) {
    for (int i = 0; i < count; i++) memcpy(y + i * IMAGE_CHANNELS, stem->pad, IMAGE_CHANNELS);
}

/* Loads what lies under outputs [first, first + pixels) of output row r: y is [3][row bytes]. */
static void stem_load(const mnv2_context *context, int r, int first, int pixels, uint8_t *y) {
    const mnv2_stem *stem = &context->plan->stem;
    const int columns = (pixels - 1) * STEM_STRIDE + STEM_KERNEL, bytes = stem_row_bytes(pixels);
    const int left = first * STEM_STRIDE - stem->pad_left; /* may be negative: padding */
    const int from = left > 0 ? left : 0, to = least(left + columns, stem->in_width);
    for (int ky = 0; ky < STEM_KERNEL; ky++, y += bytes) {
        const int row = r * STEM_STRIDE - stem->pad_top + ky;
        if (row < 0 || row >= stem->in_height || to <= from) {
            pad_pixels(stem, y, columns);
            continue;
        }
        const ptrdiff_t at = ((ptrdiff_t)row * stem->in_width + from) * IMAGE_CHANNELS;
        uint8_t *real = y + (from - left) * IMAGE_CHANNELS;
        const int count = (to - from) * IMAGE_CHANNELS;
        pad_pixels(stem, y, from - left);
        if (context->image_is_float)
            pixels_from_floats(stem, (const float *)context->image + at, real, count);
        else
            memcpy(real, (const uint8_t *)context->image + at, (size_t)count);
        pad_pixels(stem, real + count, left + columns - to);
    }
}

/* Panels [panel, panel + panels) from what stem_load left at x: y is panels, panel_step bytes
 * apart, of [pixels][16]. */
static void stem(const mnv2_context *context, const uint8_t *x, int pixels, int panel, int panels,
                 uint8_t *y, ptrdiff_t panel_step) {
    const mnv2_stem *spec = &context->plan->stem;
    const int groups = STEM_KERNEL * STEM_ROW_GROUPS;
    const pointwise_input in = {
        .x = x,
        .pixel_step = STEM_STRIDE * IMAGE_CHANNELS,
        .segment_step = stem_row_bytes(pixels),
        .segment = STEM_ROW_GROUPS,
        .groups = groups,
        .w = weights_at(context, spec->weight) + (ptrdiff_t)panel * groups * PANEL * GROUP,
        .panel_step = groups * PANEL * GROUP,
        .requantise = requantise_at(context, spec->bias, panel),
        .fraction = spec->fraction,
        .tiles = context->tiles,
    };
    to_panels(pixels, panels, &in, y, panel_step);
}

#endif
