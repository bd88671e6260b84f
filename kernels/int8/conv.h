/* A convolution from a thin map to a thin map in 8 bits, without padding: as ../conv.h. Groups that
 * a row of the kernel does not fill read, and multiply by zero, what lies behind it. */
#ifndef MNV2_INT8_CONV_H
#define MNV2_INT8_CONV_H

#include "../parts.h"
#include "block.h"

static void conv_rows(const mnv2_conv *conv, range rows, range panels, pointwise_input in,
                      pointwise_output out) {
    /* The pixels of 1x1 convolutions lie one behind the other, from row to row. */
    const int at_once = conv->kernel == 1 && conv->stride == 1 ? rows.end - rows.first : 1;
    const ptrdiff_t x_row = (ptrdiff_t)conv->stride * conv->in_width * conv->in_channels;
    const ptrdiff_t y_row = (ptrdiff_t)conv->out_width * conv->out_channels;
    in.x += rows.first * x_row;
    out.y += rows.first * y_row;
    for (int r = rows.first; r < rows.end; r += at_once) {
        pointwise_singly(TO_CHANNELS, conv->out_width * at_once, panels.first, panels.end, &in,
                         &out);
        in.x += x_row;
        out.y += y_row;
    }
}

static void conv_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_conv *conv = &context->plan->convs[step->first];
    const int groups = groups_of(conv->kernel * conv->in_channels);
    const int panels = panels_of(conv->out_channels);
    const int by_rows = conv->out_height * conv->out_width > conv->out_channels;
    const pointwise_input in = {
        .x = (const uint8_t *)context->arena + step->input,
        .pixel_step = (ptrdiff_t)conv->stride * conv->in_channels,
        .segment_step = (ptrdiff_t)conv->in_width * conv->in_channels,
        .segment = groups,
        .groups = conv->kernel * groups,
        .w = weights_at(context, conv->weight),
        .panel_step = (ptrdiff_t)conv->kernel * groups * PANEL * GROUP,
        .requantise = requantise_at(context, conv->bias, 0),
        .fraction = conv->fraction,
    };
    const pointwise_output out = {
        .y = (uint8_t *)context->arena + step->output,
        .channels = conv->out_channels,
    };
    for (int part; (part = next_part(context)) >= 0;) {
        const range every_row = {0, conv->out_height}, every_panel = {0, panels};
        conv_rows(conv, by_rows ? share_of(context, part, conv->out_height, 1) : every_row,
                  by_rows ? every_panel : share_of(context, part, panels, 1), in, out);
    }
}

#endif
