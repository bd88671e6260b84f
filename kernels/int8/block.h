/* The three layers of an inverted residual in 8 bits, as all schedules (rows.h, tiles.h, layers.h)
 * use them: expand (the paper's A), depthwise (N), project (B); F(x) = B(N(A x)). Where t = 1, A is
 * the identity. */
#ifndef MNV2_INT8_BLOCK_H
#define MNV2_INT8_BLOCK_H

#include "../isa.h"
#include "depthwise.h"
#include "pointwise.h"

static inline int groups_of(int channels) { return (channels + GROUP - 1) / GROUP; }

static inline const int8_t *weights_at(const mnv2_context *context, int64_t offset) {
    return (const int8_t *)(context->weights + offset);
}

/* [panels][2][16], from panel `panel` on. */
static inline const int32_t *requantise_at(const mnv2_context *context, int64_t offset, int panel) {
    return (const int32_t *)(context->weights + offset) + panel * 2 * PANEL;
}

static void to_panels(int pixels, int panels, const pointwise_input *in, uint8_t *y,
                      ptrdiff_t panel_step) {
    const pointwise_output out = {.y = y, .panel_step = panel_step};
    pointwise(TO_PANELS, pixels, panels, in, &out);
}

/* Panels [panel, panel + panels) of `pixels` thin pixels. Lanes past the last channel, whose
 * weights are 0, hold what lies behind it. */
static void spread(const mnv2_block *block, int panel, int panels, const uint8_t *x, int pixels,
                   uint8_t *y, ptrdiff_t panel_step) {
    x += panel * PANEL;
    for (int n = 0; n < panels; n++, x += PANEL, y += panel_step)
        for (int p = 0; p < pixels; p++)
            memcpy(y + p * PANEL, x + (ptrdiff_t)p * block->in_channels, PANEL);
}

/* Hidden panels [panel, panel + panels) of `pixels` thin pixels; y: panels panel_step apart. */
static void expand(const mnv2_context *context, const mnv2_block *block, int panel, int panels,
                   const uint8_t *x, int pixels, uint8_t *y, ptrdiff_t panel_step) {
    if (block->expand_weight < 0) {
        spread(block, panel, panels, x, pixels, y, panel_step);
        return;
    }
    const int groups = groups_of(block->in_channels);
    const ptrdiff_t weight_step = (ptrdiff_t)groups * PANEL * GROUP;
    const pointwise_input in = {
        .x = x,
        .pixel_step = block->in_channels,
        .segment = groups,
        .groups = groups,
        .w = weights_at(context, block->expand_weight) + panel * weight_step,
        .panel_step = weight_step,
        .requantise = requantise_at(context, block->expand_bias, panel),
        .fraction = block->expand_fraction,
        .tiles = context->tiles,
    };
    to_panels(pixels, panels, &in, y, panel_step);
}

/* The depthwise layer of one hidden panel, ready but for its rows and its output. */
static depthwise_map depthwise_of(const mnv2_context *context, const mnv2_block *block,
                                  int panel) {
    const int taps = block->kernel * block->kernel;
    return (depthwise_map){
        .w = weights_at(context, block->depthwise_weight) + (ptrdiff_t)panel * taps * PANEL,
        .requantise = requantise_at(context, block->depthwise_bias, panel),
        .fraction = block->depthwise_fraction,
    };
}

/* Hidden panels [panel, panel + panels), filtered at x (../filtered.h), panel_step bytes a panel;
 * for the whole thin output of the pixels from `pixel` on. */
static pointwise_input projected(const mnv2_context *context, const mnv2_block *block, int panel,
                                 int panels, const uint8_t *x, ptrdiff_t panel_step, int pixel) {
    enum { PANEL_GROUPS = PANEL / GROUP };
    const int hidden_groups = groups_of(block->hidden), first = panel * PANEL_GROUPS;
    return (pointwise_input){
        .x = TILED ? x : x + (ptrdiff_t)pixel * PANEL,
        .is_blocked = TILED,
        .first = pixel,
        .tiles = context->tiles,
        .pixel_step = PANEL,
        .segment_step = panel_step,
        .segment = PANEL_GROUPS,
        .groups = least(panels * PANEL_GROUPS, hidden_groups - first),
        .w = weights_at(context, block->project_weight) + (ptrdiff_t)first * PANEL * GROUP,
        .panel_step = (ptrdiff_t)hidden_groups * PANEL * GROUP,
        .requantise = requantise_at(context, block->project_bias, 0),
        .fraction = block->project_fraction,
    };
}

#endif
