/* The last 1x1 convolution with global average pool, in 8 bits; or the pool alone.
 *
 *   sums[n] = sum over pixels of the 8-bit output n, or of input n       int32
 *
 * The map of [pixels][features] never exists: a tile is summed as it is made. */
#ifndef MNV2_INT8_HEAD_H
#define MNV2_INT8_HEAD_H

#include "../parts.h"
#include "block.h"

/* Panels [first, end): sums is [end - first][16]. */
static void pooled_convolution(const mnv2_context *context, const mnv2_head *head,
                               const uint8_t *x, int first, int end, int32_t *sums) {
    const int groups = groups_of(head->channels);
    const ptrdiff_t panel_step = (ptrdiff_t)groups * PANEL * GROUP;
    const pointwise_input in = {
        .x = x,
        .pixel_step = head->channels,
        .segment = groups,
        .groups = groups,
        .w = weights_at(context, head->head_weight) + first * panel_step,
        .panel_step = panel_step,
        .requantise = requantise_at(context, head->head_bias, first),
        .fraction = head->fraction,
        .tiles = context->tiles,
    };
    const pointwise_output out = {.sums = sums};
    memset(sums, 0, (size_t)((end - first) * PANEL) * sizeof *sums);
    pointwise(TO_POOL, head->height * head->width, end - first, &in, &out);
}

/* The same of the input itself; lanes past the last channel are 0. */
static void pooled_input(const mnv2_head *head, const uint8_t *x, int first, int end,
                         int32_t *sums) {
    const int lanes = least((end - first) * PANEL, head->channels - first * PANEL);
    memset(sums, 0, (size_t)((end - first) * PANEL) * sizeof *sums);
    x += first * PANEL;
    for (int p = 0; p < head->height * head->width; p++, x += head->channels)
        for (int i = 0; i < lanes; i++) sums[i] += x[i];
}

static void head_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_head *head = &context->plan->head;
    const uint8_t *x = (const uint8_t *)context->arena + step->input;
    for (int part; (part = next_part(context)) >= 0;) {
        const range panels = share_of(context, part, panels_of(head->features), TILE_PANELS);
        const int first = panels.first * PANEL, end = least(panels.end * PANEL, head->features);
        int32_t *sums = (int32_t *)(context->arena + step->output) + first;
        if (head->head_weight < 0)
            pooled_input(head, x, panels.first, panels.end, sums);
        else
            pooled_convolution(context, head, x, panels.first, panels.end, sums);
        for (int i = first; context->features && i < end; i++) {
            const float scaled = (float)sums[i - first] * head->feature_scale;
            context->features[i] = scaled + head->feature_offset;
        }
    }
}

#endif
