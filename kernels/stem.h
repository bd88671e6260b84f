/* The stem: 3x3 stride-2 convolution of the image, BN folded, ReLU6, one output row at a time.
 *
 * Three image rows are normalised as they are loaded, into [3][columns][3] with their padding
 * (which is zero after normalisation), so the float image never exists. The row that two
 * outputs share is loaded twice: that is under 2 % of the stem's work and saves a ring.
 * Then it is a 1x1 convolution of depth 27 in three segments of nine taps. */
#ifndef MNV2_STEM_H
#define MNV2_STEM_H

#include <string.h>

#include "isa.h"
#include "pointwise.h"

enum { IMAGE_CHANNELS = 3, STEM_KERNEL = 3, STEM_STRIDE = 2, CHANNEL_PERIOD = 3 * PANEL };

/* y[i] = x[i] * scale[i % 3] + shift[i % 3] for `count` values, of which x[0] is red. */
static void normalise_row(const mnv2_stem *stem, const uint8_t *x, float *y, int count) {
    float scale[CHANNEL_PERIOD], shift[CHANNEL_PERIOD]; /* the pattern, period 3, as vectors */
    for (int i = 0; i < CHANNEL_PERIOD; i++) {
        scale[i] = stem->scale[i % IMAGE_CHANNELS];
        shift[i] = stem->shift[i % IMAGE_CHANNELS];
    }
    uint8_t rest[CHANNEL_PERIOD] = {0};
    for (int i = 0; i < count; i += CHANNEL_PERIOD) {
        const int n = least(count - i, CHANNEL_PERIOD);
        const uint8_t *from = x + i;
        if (n < CHANNEL_PERIOD) from = memcpy(rest, from, (size_t)n);
        for (int j = 0; j < n; j += LANES) {
            const vf value = vf_fma(vf_from_u8(from + j), vf_load(scale + j), vf_load(shift + j));
            if (n - j >= LANES)
                vf_store(y + i + j, value);
            else
                vf_store_part(y + i + j, value, n - j);
        }
    }
}

/* Loads the three image rows under output row `r`. */
static void stem_load_rows(const mnv2_context *context, int r) {
    const mnv2_stem *stem = &context->plan->stem;
    const int count = stem->in_width * IMAGE_CHANNELS;
    const int row_floats = stem->columns * IMAGE_CHANNELS;
    const int before = stem->pad_left * IMAGE_CHANNELS;
    float *rows = (float *)(context->arena + stem->rows);
    for (int ky = 0; ky < STEM_KERNEL; ky++) {
        float *row = rows + ky * row_floats;
        const int y = r * STEM_STRIDE - stem->pad_top + ky;
        if (y < 0 || y >= stem->in_height) {
            memset(row, 0, (size_t)row_floats * sizeof *row);
            continue;
        }
        const ptrdiff_t at = (ptrdiff_t)y * count;
        memset(row, 0, (size_t)before * sizeof *row);
        if (context->image_is_float)
            memcpy(row + before, (const float *)context->image + at, (size_t)count * sizeof *row);
        else
            normalise_row(stem, (const uint8_t *)context->image + at, row + before, count);
        memset(row + before + count, 0, (size_t)(row_floats - before - count) * sizeof *row);
    }
}

/* Output row `r` as panels: y is [channels/16], panel_step floats apart, of [out_width][16]. */
static void stem_row(const mnv2_context *context, int r, float *y, ptrdiff_t panel_step) {
    const mnv2_stem *stem = &context->plan->stem;
    stem_load_rows(context, r);
    const pointwise_input in = {
        .x = (const float *)(context->arena + stem->rows),
        .pixel_step = STEM_STRIDE * IMAGE_CHANNELS,
        .segment_step = stem->columns * IMAGE_CHANNELS,
        .segment = STEM_KERNEL * IMAGE_CHANNELS,
        .depth = STEM_KERNEL * STEM_KERNEL * IMAGE_CHANNELS,
        .w = (const float *)(context->weights + stem->weight),
        .panel_step = STEM_KERNEL * STEM_KERNEL * IMAGE_CHANNELS * PANEL,
        .bias = (const float *)(context->weights + stem->bias),
    };
    const pointwise_output out = {.y = y, .panel_step = panel_step};
    expand_pixels(stem->out_width, panels_of(stem->channels), &in, &out);
}

#endif
