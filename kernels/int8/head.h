/* The end of an int8 classifier: last 1x1 convolution with global average pool, then the matrix.
 *
 * head:        sums[n] = sum over pixels of the 8-bit output n. The map of [pixels][features] never
 *              exists: a tile is summed as it is made.
 * classifier:  features are the sums as 8 bits; logits[n] = float(acc[n]) * scale[n] + bias[n] of
 *              acc[n] = sum over k of features[k] * w[n][k]. One pixel gives one chain a vector, so
 *              a few panels stand side by side; it is bound by reading a megabyte of weights. */
#ifndef MNV2_INT8_HEAD_H
#define MNV2_INT8_HEAD_H

#include "../parts.h"
#include "block.h"

static void head_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_head *head = &context->plan->head;
    const int pixels = head->height * head->width, groups = groups_of(head->channels);
    const ptrdiff_t panel_step = (ptrdiff_t)groups * PANEL * GROUP;
    for (int part; (part = next_part(context)) >= 0;) {
        const range panels = share_of(context, part, panels_of(head->features), TILE_PANELS);
        int32_t *sums = (int32_t *)(context->arena + step->output) + panels.first * PANEL;
        const pointwise_input in = {
            .x = (const uint8_t *)context->arena + step->input,
            .pixel_step = head->channels,
            .segment = groups,
            .groups = groups,
            .w = weights_at(context, head->head_weight) + panels.first * panel_step,
            .panel_step = panel_step,
            .requantise = requantise_at(context, head->head_bias, panels.first),
            .fraction = head->fraction,
            .tiles = context->tiles,
        };
        const pointwise_output out = {.sums = sums};
        memset(sums, 0, (size_t)((panels.end - panels.first) * PANEL) * sizeof *sums);
        pointwise(TO_POOL, pixels, panels.end - panels.first, &in, &out);
    }
}

/* Pooled features as 8 bits: y is [features/16][16]. */
static void quantise_features(const mnv2_head *head, const int32_t *sums, uint8_t *y) {
    int32_t row[PANEL];
    vi bias[VECTORS];
    for (int i = 0; i < PANEL; i++) row[i] = head->pool_bias;
    for (int v = 0; v < VECTORS; v++) bias[v] = vi_load(row + v * LANES);
    for (int i = 0; i < PANEL; i++) row[i] = head->pool_multiplier | head->pool_shift << 16;
    const scaling s = scaling_load(row, head->pool_fraction);
    for (int panel = 0; panel < panels_of(head->features); panel++, sums += PANEL, y += PANEL) {
        vi four[4][VECTORS];
        for (int i = 0; i < 4; i++)
            for (int v = 0; v < VECTORS; v++)
                four[i][v] = vi_add(vi_load(sums + v * LANES), bias[v]);
        quad_store(y, quad_scale(four, &s), 1);
    }
}

enum { CLASSIFIER_PANELS = 4, CLASSIFIER_AHEAD = 16 }; /* groups that are prefetched ahead */

/* `N` panels of logits from panel `panel` on. */
static ALWAYS_INLINE void classifier_panels(const int N, const mnv2_context *context,
                                            const uint8_t *x, int panel) {
    const mnv2_head *head = &context->plan->head;
    const int groups = groups_of(head->features);
    const ptrdiff_t panel_step = (ptrdiff_t)groups * PANEL * GROUP;
    const int8_t *w = weights_at(context, head->classifier_weight) + panel * panel_step;
    const int32_t zero[PANEL] = {0};
    vi acc[CLASSIFIER_PANELS][VECTORS];
    UNROLL for (int n = 0; n < N; n++) UNROLL for (int v = 0; v < VECTORS; v++)
        acc[n][v] = vi_load(zero + v * LANES);
    for (int k = 0; k < groups; k++, w += PANEL * GROUP) {
        const vx a = vx_broadcast(x + k * GROUP);
        UNROLL for (int n = 0; n < N; n++)
            prefetch(w + n * panel_step + CLASSIFIER_AHEAD * PANEL * GROUP);
        UNROLL for (int n = 0; n < N; n++) UNROLL for (int v = 0; v < VECTORS; v++) {
            const vw weight = vw_load(w + n * panel_step + v * LANES * GROUP);
            acc[n][v] = vi_amend(vi_dot(acc[n][v], a, weight), weight);
        }
    }
    /* [classes/16][2][16]: scale, bias */
    const float *dequantise = (const float *)(context->weights + head->classifier_bias);
    UNROLL for (int n = 0; n < N; n++) {
        int32_t sums[PANEL];
        for (int v = 0; v < VECTORS; v++) vi_store(sums + v * LANES, acc[n][v]);
        const int first = (panel + n) * PANEL, lanes = least(head->classes - first, PANEL);
        const float *scale = dequantise + first * 2, *bias = scale + PANEL;
        for (int i = 0; i < lanes; i++)
            context->logits[first + i] = (float)sums[i] * scale[i] + bias[i];
    }
}

static void classifier_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_head *head = &context->plan->head;
    for (int part; (part = next_part(context)) >= 0;) {
        const range panels = share_of(context, part, panels_of(head->classes), CLASSIFIER_PANELS);
        uint8_t *features = (uint8_t *)scratch_of(context, step, part, step->filtered);
        quantise_features(head, (const int32_t *)(context->arena + step->input), features);
        int panel = panels.first;
        for (; panel + CLASSIFIER_PANELS <= panels.end; panel += CLASSIFIER_PANELS)
            classifier_panels(CLASSIFIER_PANELS, context, features, panel);
        for (; panel < panels.end; panel++) classifier_panels(1, context, features, panel);
    }
}

#endif
