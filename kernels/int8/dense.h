/* Dense layer 0 in 8 bits: a matrix times the pooled features. (Those behind it are floats.)
 *
 *   x[k]   = the sum of feature k as 8 bits                            docs/int8.md
 *   acc[n] = sum over k of x[k] * w[n][k]                              int32
 *   y[n]   = f(float(acc[n]) * scale[n] + bias[n])
 *
 * One pixel gives one chain a vector, so a few panels stand side by side; it is bound by reading
 * the weights, a megabyte of a thousand classes. */
#ifndef MNV2_INT8_DENSE_H
#define MNV2_INT8_DENSE_H

#include "../activation.h"
#include "../parts.h"
#include "block.h"

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

enum { DENSE_PANELS = 4, DENSE_AHEAD = 16 }; /* groups that are prefetched ahead */

/* `N` panels of y, of which `outputs` values are written, from panel `panel` on. */
static ALWAYS_INLINE void dense_panels(const int N, const mnv2_context *context,
                                       const mnv2_dense *dense, const uint8_t *x, int panel,
                                       float *y, int outputs) {
    const int groups = groups_of(dense->inputs);
    const ptrdiff_t panel_step = (ptrdiff_t)groups * PANEL * GROUP;
    const int8_t *w = weights_at(context, dense->weight) + panel * panel_step;
    const int32_t zero[PANEL] = {0};
    vi acc[DENSE_PANELS][VECTORS];
    UNROLL for (int n = 0; n < N; n++) UNROLL for (int v = 0; v < VECTORS; v++)
        acc[n][v] = vi_load(zero + v * LANES);
    for (int k = 0; k < groups; k++, w += PANEL * GROUP) {
        const vx a = vx_broadcast(x + k * GROUP);
        UNROLL for (int n = 0; n < N; n++)
            prefetch(w + n * panel_step + DENSE_AHEAD * PANEL * GROUP);
        UNROLL for (int n = 0; n < N; n++) UNROLL for (int v = 0; v < VECTORS; v++) {
            const vw weight = vw_load(w + n * panel_step + v * LANES * GROUP);
            acc[n][v] = vi_amend(vi_dot(acc[n][v], a, weight), weight);
        }
    }
    /* [outputs/16][2][16]: scale, bias */
    const float *dequantise = (const float *)(context->weights + dense->bias);
    const limits clip = limits_of(dense->activation);
    const int is_clipped = dense->activation != MNV2_LINEAR;
    UNROLL for (int n = 0; n < N; n++) {
        int32_t sums[PANEL];
        for (int v = 0; v < VECTORS; v++) vi_store(sums + v * LANES, acc[n][v]);
        const int first = (panel + n) * PANEL, lanes = least(outputs - first, PANEL);
        const float *scale = dequantise + first * 2, *bias = scale + PANEL;
        for (int i = 0; i < lanes; i++) {
            float made = (float)sums[i] * scale[i] + bias[i];
            if (is_clipped) {
                made = made > clip.least ? made : clip.least;
                made = made < clip.most ? made : clip.most;
            }
            y[first + i] = made;
        }
    }
}

static void dense_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_dense *dense = &context->plan->dense[step->first];
    const int is_last = step->first == context->plan->dense_count - 1;
    const int count = panels_of(dense->outputs);
    float *y = is_last ? context->logits : (float *)(context->arena + step->output);
    const int outputs = is_last ? dense->outputs : count * PANEL;
    for (int part; (part = next_part(context)) >= 0;) {
        const range panels = share_of(context, part, count, DENSE_PANELS);
        uint8_t *x = (uint8_t *)scratch_of(context, step, part, step->filtered);
        quantise_features(&context->plan->head, (const int32_t *)(context->arena + step->input), x);
        int panel = panels.first;
        for (; panel + DENSE_PANELS <= panels.end; panel += DENSE_PANELS)
            dense_panels(DENSE_PANELS, context, dense, x, panel, y, outputs);
        for (; panel < panels.end; panel++) dense_panels(1, context, dense, x, panel, y, outputs);
    }
}

#endif
