/* The stem: 3x3 stride-2 convolution of the image, BN folded, its activation, a strip of a row at a
 * time.
 *
 * The pixels under the strip are normalised as they are loaded, into [3][columns][3] with their
 * padding (which is zero after normalisation), so the float image never exists. Pixels that two
 * outputs share are loaded twice: that is a few per cent of the stem's work and saves a ring.
 * Then it is a 1x1 convolution of depth 27 in three segments of nine taps. */
#ifndef MNV2_STEM_H
#define MNV2_STEM_H

#include <string.h>

#include "isa.h"
#include "pointwise.h"

enum { IMAGE_CHANNELS = 3, STEM_KERNEL = 3, STEM_STRIDE = 2 };

/* What a value is multiplied by and added to, over and over, for a vector that begins at any of
 * the three channels. */
typedef struct channel_pattern {
    float scale[LANES + IMAGE_CHANNELS - 1], shift[LANES + IMAGE_CHANNELS - 1];
} channel_pattern;

static channel_pattern pattern_of(const mnv2_stem *stem) {
    channel_pattern made;
    for (int i = 0; i < LANES + IMAGE_CHANNELS - 1; i++) {
        made.scale[i] = stem->scale[i % IMAGE_CHANNELS];
        made.shift[i] = stem->shift[i % IMAGE_CHANNELS];
    }
    return made;
}

/* LANES values from x[i] on, of which x[0] is red. */
static inline vf normalise(const channel_pattern *pattern, const uint8_t *x, int i) {
    const int channel = i % IMAGE_CHANNELS;
    return vf_fma(vf_from_u8(x), vf_load(pattern->scale + channel),
                  vf_load(pattern->shift + channel));
}

/* y[i] = x[i] * scale[i % 3] + shift[i % 3] for `count` values, of which x[0] is red. */
static ALWAYS_INLINE void normalise_row(const channel_pattern *pattern, const uint8_t *x,
                                        activation *y, int count) {
    int i = 0;
    for (; i + LANES <= count; i += LANES) vf_to_values(y + i, normalise(pattern, x + i, i));
    if (i < count && count >= LANES) {
        i = count - LANES; /* the last ones, some of them again */
        vf_to_values(y + i, normalise(pattern, x + i, i));
    } else if (i < count) {
        uint8_t all[LANES] = {0};
        memcpy(all, x, (size_t)count);
        vf_to_values_part(y, normalise(pattern, all, 0), count);
    }
}

/* The same of an image that is normalised already. */
static void store_row(const float *x, activation *y, int count) {
    int i = 0;
    for (; i + LANES <= count; i += LANES) vf_to_values(y + i, vf_load(x + i));
    vf_to_values_part(y + i, vf_load_part(x + i, count - i), count - i);
}

/* Image columns under `pixels` outputs. */
static int stem_columns(int pixels) { return (pixels - 1) * STEM_STRIDE + STEM_KERNEL; }

/* Loads what lies under outputs [first, first + pixels) of output row r: y is [3][columns][3]. */
static ALWAYS_INLINE void stem_load(const mnv2_context *context, const channel_pattern *pattern,
                                    int r, int first, int pixels, activation *y) {
    const mnv2_stem *stem = &context->plan->stem;
    const int columns = stem_columns(pixels);
    const int left = first * STEM_STRIDE - stem->pad_left; /* may be negative: padding */
    const int from = left > 0 ? left : 0, to = least(left + columns, stem->in_width);
    const int before = (from - left) * IMAGE_CHANNELS, count = (to - from) * IMAGE_CHANNELS;
    const int after = columns * IMAGE_CHANNELS - before - count;
    for (int ky = 0; ky < STEM_KERNEL; ky++, y += columns * IMAGE_CHANNELS) {
        const int row = r * STEM_STRIDE - stem->pad_top + ky;
        if (row < 0 || row >= stem->in_height) {
            memset(y, 0, (size_t)(columns * IMAGE_CHANNELS) * sizeof *y);
            continue;
        }
        const ptrdiff_t at = ((ptrdiff_t)row * stem->in_width + from) * IMAGE_CHANNELS;
        memset(y, 0, (size_t)before * sizeof *y);
        if (context->image_is_float)
            store_row((const float *)context->image + at, y + before, count);
        else
            normalise_row(pattern, (const uint8_t *)context->image + at, y + before, count);
        memset(y + before + count, 0, (size_t)after * sizeof *y);
    }
    if (TILED) *y = 0; /* the last pixel's tenth tap: y has room, for 9 * columns is odd */
}

/* Channels of panels [panel, panel + panels) from what stem_load left at x: y is panels,
 * panel_step floats apart, of [pixels][16]. */
static void stem(const mnv2_context *context, const activation *x, int pixels, int panel,
                 int panels, float *y, ptrdiff_t panel_step) {
    const mnv2_stem *spec = &context->plan->stem;
    const int segment = STEM_KERNEL * IMAGE_CHANNELS;
    const ptrdiff_t w_step = STEM_KERNEL * stored_terms(segment) * PANEL;
    const weight *w = (const weight *)(context->weights + spec->weight);
    const float *bias = (const float *)(context->weights + spec->bias);
    const pointwise_input in = {
        .x = x,
        .pixel_step = STEM_STRIDE * IMAGE_CHANNELS,
        .segment_step = stem_columns(pixels) * IMAGE_CHANNELS,
        .segment = segment,
        .depth = STEM_KERNEL * segment,
        .w = w + panel * w_step,
        .panel_step = w_step,
        .bias = bias + panel * PANEL,
        .tiles = context->tiles,
    };
    const pointwise_output out = {
        .activation = spec->activation,
        .y = y,
        .panel_step = panel_step,
    };
    expand_pixels(pixels, panels, &in, &out);
}

#endif
