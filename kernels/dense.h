/* A dense layer: a matrix times one vector of floats.
 *
 *   y[n] = f(bias[n] + sum over k of x[k] * w[k][n])      k ascending
 *
 * One pixel gives one chain a vector; three panels side by side are enough, since it is bound by
 * reading the weights, 5 MB of a thousand classes, and few streams are read the fastest. */
#ifndef MNV2_DENSE_H
#define MNV2_DENSE_H

#include "activation.h"
#include "numbers.h"
#include "parts.h"

enum { DENSE_PANELS = 3, DENSE_AHEAD = 4096 / sizeof(weight) }; /* to prefetch */

typedef struct {
    const float *x;
    const weight *w;     /* [outputs/16][inputs][16] */
    const float *bias;   /* [outputs/16][16] */
    float *y;
    int inputs, outputs; /* of y, how many are written */
    int is_clipped;
    limits clip;
} dense_map;

/* `N` panels of y from panel `panel` on. */
static ALWAYS_INLINE void dense_panels(const int N, const dense_map *map, int panel) {
    const ptrdiff_t panel_step = (ptrdiff_t)stored_terms(map->inputs) * PANEL;
    const weight *w = map->w + panel * panel_step;
    vf acc[DENSE_PANELS][VECTORS];
    UNROLL for (int n = 0; n < N; n++) UNROLL for (int v = 0; v < VECTORS; v++)
        acc[n][v] = vf_load(map->bias + (panel + n) * PANEL + v * LANES);
    for (int k = 0; k < map->inputs; k += PAIR, w += PAIR * PANEL) {
        UNROLL for (int n = 0; n < N; n++) prefetch(w + n * panel_step + DENSE_AHEAD);
        UNROLL for (int t = 0; t < PAIR; t++) {
            if (t && k + t == map->inputs) break; /* an odd last one */
            const vf a = vf_set1(map->x[k + t]);
            UNROLL for (int n = 0; n < N; n++) UNROLL for (int v = 0; v < VECTORS; v++)
                acc[n][v] = vf_fma(a, vf_from_weights(w + n * panel_step + v * LANES * PAIR, t),
                                   acc[n][v]);
        }
    }
    const vf floor = vf_set1(map->clip.least), top = vf_set1(map->clip.most);
    UNROLL for (int n = 0; n < N; n++) UNROLL for (int v = 0; v < VECTORS; v++) {
        const int first = (panel + n) * PANEL + v * LANES;
        const int lanes = least(map->outputs - first, LANES);
        const vf made = map->is_clipped ? vf_clamp(acc[n][v], floor, top) : acc[n][v];
        if (lanes == LANES)
            vf_store(map->y + first, made);
        else if (lanes > 0)
            vf_store_part(map->y + first, made, lanes);
    }
}

static void dense_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_dense *dense = &context->plan->dense[step->first];
    const int is_last = step->first == context->plan->dense_count - 1;
    const dense_map map = {
        .x = (const float *)(context->arena + step->input),
        .w = (const weight *)(context->weights + dense->weight),
        .bias = (const float *)(context->weights + dense->bias),
        .y = is_last ? context->logits : (float *)(context->arena + step->output),
        .inputs = dense->inputs,
        .outputs = is_last ? dense->outputs : panels_of(dense->outputs) * PANEL,
        .is_clipped = dense->activation != MNV2_LINEAR,
        .clip = limits_of(dense->activation),
    };
    for (int part; (part = next_part(context)) >= 0;) {
        const range panels = share_of(context, part, panels_of(dense->outputs), DENSE_PANELS);
        int panel = panels.first;
        for (; panel + DENSE_PANELS <= panels.end; panel += DENSE_PANELS)
            dense_panels(DENSE_PANELS, &map, panel);
        for (; panel < panels.end; panel++) dense_panels(1, &map, panel);
    }
}

#endif
