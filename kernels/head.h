/* The last 1x1 convolution with global average pool; or the pool alone.
 *
 *   features[n] = mean over pixels of f(bias[n] + sum over k of x[p][k] * w[k][n]), or of x[p][n]
 *
 * The map of [pixels][features] never exists: a tile is summed as it is made, pixels ascending. */
#ifndef MNV2_HEAD_H
#define MNV2_HEAD_H

#include <string.h>

#include "block.h"
#include "parts.h"

/* Panels [first, end) of the sums over all pixels: y is [end - first][16]. */
static void pooled_convolution(const mnv2_context *context, const mnv2_head *head,
                               const activation *x, int first, int end, float *y) {
    const ptrdiff_t panel_step = (ptrdiff_t)stored_terms(head->channels) * PANEL;
    const pointwise_input in = {
        .x = x,
        .pixel_step = head->channels,
        .segment = head->channels,
        .depth = head->channels,
        .w = (const weight *)(context->weights + head->head_weight) + first * panel_step,
        .panel_step = panel_step,
        .bias = (const float *)(context->weights + head->head_bias) + first * PANEL,
        .tiles = context->tiles,
    };
    const pointwise_output out = {.activation = head->activation, .y = y};
    memset(y, 0, (size_t)((end - first) * PANEL) * sizeof *y);
    pointwise(TO_POOL, head->height * head->width, end - first, &in, &out);
}

/* The same of the input itself. */
static void pooled_input(const mnv2_head *head, const activation *x, int first, int end,
                         float *y) {
    for (int c = first * PANEL; c < end * PANEL; c += LANES, y += LANES) {
        const int lanes = least(head->channels - c, LANES);
        vf sum = vf_set1(0.0f);
        for (int p = 0; p < head->height * head->width && lanes > 0; p++) {
            const activation *from = x + (ptrdiff_t)p * head->channels + c;
            sum = vf_add(sum, lanes == LANES ? vf_from_values(from)
                                             : vf_from_values_part(from, lanes));
        }
        vf_store(y, sum);
    }
}

static void head_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_head *head = &context->plan->head;
    const activation *x = (const activation *)(context->arena + step->input);
    const vf share = vf_set1(1.0f / (float)(head->height * head->width));
    for (int part; (part = next_part(context)) >= 0;) {
        const range panels = share_of(context, part, panels_of(head->features), TILE_PANELS);
        const int first = panels.first * PANEL, floats = panels.end * PANEL - first;
        float *features = (float *)(context->arena + step->output) + first;
        if (head->head_weight < 0)
            pooled_input(head, x, panels.first, panels.end, features);
        else
            pooled_convolution(context, head, x, panels.first, panels.end, features);
        for (int i = 0; i < floats; i += LANES)
            vf_store(features + i, vf_mul(vf_load(features + i), share));
        const int real = least(floats, head->features - first);
        if (context->features && real > 0)
            memcpy(context->features + first, features, (size_t)real * sizeof *features);
    }
}

#endif
