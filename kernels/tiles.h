/* Inverted residuals by channel tiles: the paper's own form (section 5.1),
 *
 *     F(x) = sum over tiles i of B_i(N(A_i x))
 *
 * so that the activations stay and the weights stream, each read once. For late blocks: small
 * maps, megabytes of weights. Scratch is one tile of `tile` hidden channels, expanded
 *
 *     [tile/16][lines][columns][16]      lines and columns include the zero padding
 *
 * and filtered [tile/16][out_height * out_width][16]. The sum over i is held in the thin output
 * itself; the shortcut is added with the last tile. */
#ifndef MNV2_TILES_H
#define MNV2_TILES_H

#include <string.h>

#include "block.h"

static void tiles_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_block *block = &context->plan->blocks[step->first];
    const float *x = (const float *)(context->arena + step->input);
    float *expanded = (float *)(context->arena + step->expanded);
    float *filtered = (float *)(context->arena + step->filtered);
    const int out_pixels = block->out_height * block->out_width;
    const ptrdiff_t line_floats = (ptrdiff_t)step->columns * PANEL;
    const ptrdiff_t expanded_step = step->lines * line_floats; /* between panels */
    const ptrdiff_t filtered_step = (ptrdiff_t)out_pixels * PANEL;
    memset(expanded, 0, (size_t)(panels_of(step->tile) * expanded_step) * sizeof *expanded);

    for (int first = 0; first < block->hidden; first += step->tile) {
        const int count = least(step->tile, block->hidden - first);
        for (int j = 0; j < block->in_height; j++) {
            float *line = expanded + (block->pad_top + j) * line_floats + block->pad_left * PANEL;
            expand(context, block, first, count,
                   x + (ptrdiff_t)j * block->in_width * block->in_channels, block->in_width, line,
                   expanded_step);
        }
        for (int panel = 0; panel < panels_of(count); panel++)
            for (int r = 0; r < block->out_height; r++) {
                gather_input in = {
                    .w = depthwise_weight(context, block, first / PANEL + panel, 0),
                    .bias = depthwise_bias(context, block, first / PANEL + panel),
                };
                for (int ky = 0; ky < block->kernel; ky++)
                    in.x[ky] = expanded + panel * expanded_step +
                               (r * block->stride + ky) * line_floats;
                gather(block->kernel, block->stride, &in,
                       filtered + panel * filtered_step + r * block->out_width * PANEL,
                       block->out_width);
            }
        const pointwise_output out = {
            .y = (float *)(context->arena + step->output),
            .channels = block->out_channels,
            .accumulate = first > 0,
            .residual = block->residual && first + count == block->hidden ? x : NULL,
            .residual_pixel_step = block->in_channels,
            .residual_panel_step = PANEL,
        };
        project(context, block, first, count, filtered, filtered_step, out_pixels, &out);
    }
}

#endif
