/* The end of a classifier: last 1x1 convolution with global average pool, then the matrix.
 *
 * head:        features[n] = mean over pixels of relu6(bias[n] + sum over k of x[p][k] * w[k][n])
 *              The map of [pixels][features] never exists: a tile is summed as it is made,
 *              pixels ascending.
 * classifier:  logits[n] = bias[n] + sum over k of features[k] * w[k][n], k ascending.
 *              One pixel gives one chain a vector; three panels side by side are enough, since
 *              it is bound by reading 5 MB of weights, and few streams are read the fastest. */
#ifndef MNV2_HEAD_H
#define MNV2_HEAD_H

#include <string.h>

#include "block.h"
#include "parts.h"

static void head_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_head *head = &context->plan->head;
    const int pixels = head->height * head->width;
    const vf share = vf_set1(1.0f / (float)pixels);
    for (int part; (part = next_part(context)) >= 0;) {
        const range panels = share_of(context, part, panels_of(head->features), TILE_PANELS);
        const int floats = (panels.end - panels.first) * PANEL;
        float *features = (float *)(context->arena + step->output) + panels.first * PANEL;
        const ptrdiff_t panel_step = (ptrdiff_t)stored_terms(head->channels) * PANEL;
        const pointwise_input in = {
            .x = (const activation *)(context->arena + step->input),
            .pixel_step = head->channels,
            .segment = head->channels,
            .depth = head->channels,
            .w = (const weight *)(context->weights + head->head_weight) + panels.first * panel_step,
            .panel_step = panel_step,
            .bias = (const float *)(context->weights + head->head_bias) + panels.first * PANEL,
            .tiles = context->tiles,
        };
        const pointwise_output out = {.y = features};
        memset(features, 0, (size_t)floats * sizeof *features);
        pointwise(RELU6_TO_POOL, pixels, panels.end - panels.first, &in, &out);
        for (int i = 0; i < floats; i += LANES)
            vf_store(features + i, vf_mul(vf_load(features + i), share));
    }
}

enum { CLASSIFIER_PANELS = 3, CLASSIFIER_AHEAD = 4096 / sizeof(weight) }; /* to prefetch */

/* `N` panels of logits from panel `panel` on. */
static ALWAYS_INLINE void classifier_panels(const int N, const mnv2_head *head, const float *x,
                                            const weight *w, const float *bias, float *y,
                                            int panel) {
    const ptrdiff_t panel_step = (ptrdiff_t)stored_terms(head->features) * PANEL;
    vf acc[CLASSIFIER_PANELS][VECTORS];
    w += panel * panel_step;
    UNROLL for (int n = 0; n < N; n++) UNROLL for (int v = 0; v < VECTORS; v++)
        acc[n][v] = vf_load(bias + (panel + n) * PANEL + v * LANES);
    for (int k = 0; k < head->features; k += PAIR, w += PAIR * PANEL) {
        UNROLL for (int n = 0; n < N; n++) prefetch(w + n * panel_step + CLASSIFIER_AHEAD);
        UNROLL for (int t = 0; t < PAIR; t++) {
            if (t && k + t == head->features) break; /* an odd last one */
            const vf a = vf_set1(x[k + t]);
            UNROLL for (int n = 0; n < N; n++) UNROLL for (int v = 0; v < VECTORS; v++)
                acc[n][v] = vf_fma(a, vf_from_weights(w + n * panel_step + v * LANES * PAIR, t),
                                   acc[n][v]);
        }
    }
    UNROLL for (int n = 0; n < N; n++) UNROLL for (int v = 0; v < VECTORS; v++) {
        const int first = (panel + n) * PANEL + v * LANES;
        const int lanes = least(head->classes - first, LANES);
        if (lanes == LANES)
            vf_store(y + first, acc[n][v]);
        else if (lanes > 0)
            vf_store_part(y + first, acc[n][v], lanes);
    }
}

static void classifier_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_head *head = &context->plan->head;
    const float *x = (const float *)(context->arena + step->input);
    const weight *w = (const weight *)(context->weights + head->classifier_weight);
    const float *bias = (const float *)(context->weights + head->classifier_bias);
    for (int part; (part = next_part(context)) >= 0;) {
        const range panels = share_of(context, part, panels_of(head->classes), CLASSIFIER_PANELS);
        int panel = panels.first;
        for (; panel + CLASSIFIER_PANELS <= panels.end; panel += CLASSIFIER_PANELS)
            classifier_panels(CLASSIFIER_PANELS, head, x, w, bias, context->logits, panel);
        for (; panel < panels.end; panel++)
            classifier_panels(1, head, x, w, bias, context->logits, panel);
    }
}

#endif
