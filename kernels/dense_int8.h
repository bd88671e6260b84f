/* Dense layer 0 of a float32 network whose weights alone have 8 bits, q of them:
 *
 *   y[n] = f(bias[n] + scale[n] * sum over k of x[k] * q[n][k])          q: [outputs/16][inputs][16]
 *
 * x stays float32, so only the rounding of the weights is felt. Four chains of fused multiply-adds
 * begin at 0, of the terms whose k leaves 0, 1, 2 and 3 when divided by 4, k ascending; their sum is
 * (0 + 1) + (2 + 3), and one more multiply-add takes scale and bias.
 *
 * A quarter of the bytes of dense.h, which is bound by reading them from afar. So the weights are
 * one stream, panel by panel: four terms of a panel are a cache line, and give the four chains that
 * a multiply-add's latency needs. */
#ifndef MNV2_DENSE_INT8_H
#define MNV2_DENSE_INT8_H

#include "activation.h"
#include "parts.h"
#include "simd.h"

enum { CHAINS = 4, INT8_AHEAD = 4096 }; /* bytes to prefetch */

typedef struct {
    const float *x;
    const int8_t *w;
    const float *scales; /* [outputs/16][2][16]: scale, bias */
    float *y;
    int inputs, outputs; /* of y, how many are written */
    int is_clipped;
    limits clip;
} dense_int8_map;

static ALWAYS_INLINE void dense_int8_panel(const dense_int8_map *map, int panel) {
    const int8_t *w = map->w + (ptrdiff_t)panel * map->inputs * PANEL;
    const float *x = map->x;
    vf acc[CHAINS][VECTORS];
    UNROLL for (int i = 0; i < CHAINS; i++) UNROLL for (int v = 0; v < VECTORS; v++)
        acc[i][v] = vf_set1(0.0f);
    int k = 0;
    for (; k + CHAINS <= map->inputs; k += CHAINS, w += CHAINS * PANEL) {
        prefetch(w + INT8_AHEAD);
        UNROLL for (int i = 0; i < CHAINS; i++) {
            const vf a = vf_set1(x[k + i]);
            UNROLL for (int v = 0; v < VECTORS; v++)
                acc[i][v] = vf_fma(a, vf_from_i8(w + i * PANEL + v * LANES), acc[i][v]);
        }
    }
    UNROLL for (int i = 0; i < CHAINS - 1; i++) if (k + i < map->inputs) {
        const vf a = vf_set1(x[k + i]);
        UNROLL for (int v = 0; v < VECTORS; v++)
            acc[i][v] = vf_fma(a, vf_from_i8(w + i * PANEL + v * LANES), acc[i][v]);
    }
    const vf floor = vf_set1(map->clip.least), top = vf_set1(map->clip.most);
    UNROLL for (int v = 0; v < VECTORS; v++) {
        const float *scale = map->scales + panel * 2 * PANEL + v * LANES;
        const int first = panel * PANEL + v * LANES;
        const int lanes = least(map->outputs - first, LANES);
        const vf sum = vf_add(vf_add(acc[0][v], acc[1][v]), vf_add(acc[2][v], acc[3][v]));
        vf made = vf_fma(sum, vf_load(scale), vf_load(scale + PANEL));
        if (map->is_clipped) made = vf_clamp(made, floor, top);
        if (lanes == LANES)
            vf_store(map->y + first, made);
        else if (lanes > 0)
            vf_store_part(map->y + first, made, lanes);
    }
}

static void dense_int8_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_dense *dense = &context->plan->dense[step->first];
    const int is_last = step->first == context->plan->dense_count - 1;
    const int count = panels_of(dense->outputs);
    const dense_int8_map map = {
        .x = (const float *)(context->arena + step->input),
        .w = (const int8_t *)(context->weights + dense->weight),
        .scales = (const float *)(context->weights + dense->bias),
        .y = is_last ? context->logits : (float *)(context->arena + step->output),
        .inputs = dense->inputs,
        .outputs = is_last ? dense->outputs : count * PANEL,
        .is_clipped = dense->activation != MNV2_LINEAR,
        .clip = limits_of(dense->activation),
    };
    for (int part; (part = next_part(context)) >= 0;) {
        const range panels = share_of(context, part, count, 1);
        for (int panel = panels.first; panel < panels.end; panel++) dense_int8_panel(&map, panel);
    }
}

#endif
