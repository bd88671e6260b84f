/* A convolution from a thin map to a thin map, without padding.
 *
 *   y[p][n] = f(bias[n] + sum over ky, kx, c of x[p][ky][kx][c] * w[ky][kx][c][n])
 *
 * It is a 1x1 convolution (pointwise.h) with a segment of k * channels values for each row of the
 * kernel. Parts share the output rows while there are more pixels than channels, else the
 * channels, so that what is larger is read once. */
#ifndef MNV2_CONV_H
#define MNV2_CONV_H

#include "parts.h"
#include "pointwise.h"

static void conv_rows(const mnv2_conv *conv, range rows, range panels, pointwise_input in,
                      pointwise_output out) {
    /* The pixels of 1x1 convolutions lie one behind the other, from row to row. */
    const int at_once = conv->kernel == 1 && conv->stride == 1 ? rows.end - rows.first : 1;
    const ptrdiff_t x_row = (ptrdiff_t)conv->stride * conv->in_width * conv->in_channels;
    const ptrdiff_t y_row = (ptrdiff_t)conv->out_width * conv->out_channels;
    in.x += rows.first * x_row;
    out.thin += rows.first * y_row;
    for (int r = rows.first; r < rows.end; r += at_once) {
        pointwise_singly(TO_CHANNELS, conv->out_width * at_once, panels.first, panels.end, &in,
                         &out);
        in.x += x_row;
        out.thin += y_row;
    }
}

static void conv_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_conv *conv = &context->plan->convs[step->first];
    const int segment = conv->kernel * conv->in_channels, panels = panels_of(conv->out_channels);
    const int by_rows = conv->out_height * conv->out_width > conv->out_channels;
    const pointwise_input in = {
        .x = (const activation *)(context->arena + step->input),
        .pixel_step = (ptrdiff_t)conv->stride * conv->in_channels,
        .segment_step = (ptrdiff_t)conv->in_width * conv->in_channels,
        .segment = segment,
        .depth = conv->kernel * segment,
        .w = (const weight *)(context->weights + conv->weight),
        .panel_step = (ptrdiff_t)conv->kernel * stored_terms(segment) * PANEL,
        .bias = (const float *)(context->weights + conv->bias),
    };
    const pointwise_output out = {
        .activation = conv->activation,
        .thin = (activation *)(context->arena + step->output),
        .channels = conv->out_channels,
    };
    for (int part; (part = next_part(context)) >= 0;) {
        const range every_row = {0, conv->out_height}, every_panel = {0, panels};
        conv_rows(conv, by_rows ? share_of(context, part, conv->out_height, 1) : every_row,
                  by_rows ? every_panel : share_of(context, part, panels, 1), in, out);
    }
}

#endif
