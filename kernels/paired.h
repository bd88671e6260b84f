/* 1x1 convolution to few channels, of two pixels in each vector: the project layers of the first
 * blocks, 8 to 24 channels.
 *
 *   y[p][n] = bias[n] + sum over k of x[p][k] * w[k][n]        k ascending, as pointwise.h
 *
 * A vector holds 8 channels of an even pixel and of the odd one behind it, taking turns lane by
 * lane. So 24 channels fill three vectors, and one broadcast of two neighbouring values serves all
 * of them. For that the filtered pixels lie in pairs,
 *
 *   [panel][pixel / 2][16][2]
 *
 * which is how the depthwise layer leaves them (depthwise.h). Pixels one by one need two broadcasts,
 * and a shuffle for the half panel, on a port where a multiply-add could run. On a Granite Rapids
 * this loop does 91 to 94 % of the core's multiply-adds, pixels one by one 66 to 71 %. Other
 * families of CPUs, where it was not measured, do not take it.
 *
 * Register tile: Q pairs x V vectors, V = channels / 8. Only where PAIRED. */
#ifndef MNV2_PAIRED_H
#define MNV2_PAIRED_H

#include "isa.h"
#include "pointwise.h"

#if PAIRED

enum { PAIRED_TILE = 7, PAIRED_CHANNELS = 24 };

/* Whether a layer of so many channels is computed so. */
static int takes_pairs(const mnv2_context *context, int channels) {
    return context->in_pairs && channels <= PAIRED_CHANNELS;
}

/* Pairs [pair, pair + Q). */
static ALWAYS_INLINE void paired_tile(const int Q, const int V, const pointwise_input *in,
                                      const pointwise_output *out, const limits *clip, int pair) {
    const float *w = in->w, *bias = in->bias;
    vf acc[PAIRED_TILE][3];
    vf start[3];
    vf_paired(bias, bias + PANEL, V, start);
    UNROLL for (int q = 0; q < Q; q++) UNROLL for (int v = 0; v < V; v++) acc[q][v] = start[v];
    const float *x = in->x + (ptrdiff_t)pair * 2 * PANEL;
    for (int left = in->depth; left > 0; left -= PANEL, x += in->segment_step - 2 * PANEL) {
        const int n = least(left, PANEL);
        KEEP_LOOP for (int k = 0; k < n; k++, w += PANEL, x += 2) {
            vf weights[3];
            vf_paired(w, w + in->panel_step, V, weights);
            UNROLL for (int q = 0; q < Q; q++) {
                const vf both = vf_set_pair(x + q * 2 * PANEL);
                UNROLL for (int v = 0; v < V; v++) acc[q][v] = vf_fma(both, weights[v], acc[q][v]);
            }
        }
    }
    if (out->activation != MNV2_LINEAR) {
        const vf floor = vf_late(&clip->least), top = vf_late(&clip->most);
        UNROLL for (int q = 0; q < Q; q++) UNROLL for (int v = 0; v < V; v++)
            acc[q][v] = vf_clamp(acc[q][v], floor, top);
    }
    const int channels = out->channels, whole = least(channels, PANEL);
    const ptrdiff_t from = out->residual_pixel_step;
    UNROLL for (int q = 0; q < Q; q++) {
        const ptrdiff_t pixel = (ptrdiff_t)(pair + q) * 2;
        float *y = out->thin + pixel * channels;
        const float *r = out->residual ? out->residual + pixel * from : NULL;
        if (V > 1) {
            vf even = vf_even_pixel(acc[q][0], acc[q][1]), odd = vf_odd_pixel(acc[q][0], acc[q][1]);
            if (r) {
                even = vf_add(even, vf_load_part(r, whole));
                odd = vf_add(odd, vf_load_part(r + from, whole));
            }
            vf_store_part(y, even, whole);
            vf_store_part(y + channels, odd, whole);
        }
        if (V != 2) {
            const int first = V == 1 ? 0 : PANEL, n = channels - first;
            half sum = half_of_pair(acc[q][V - 1]);
            if (r) {
                const float *at = r + (V == 1 ? 0 : out->residual_panel_step);
                sum = half_add(sum, half_load_rows(at, from, 0, n, 2));
            }
            half_store_rows(y + first, channels, 0, n, 2, sum);
        }
    }
}

#define PAIRED_CASE(Q)                                                                     \
    case Q:                                                                                \
        for (int t = 0; t < tiles; t++, pair += Q) paired_tile(Q, V, in, out, clip, pair); \
        break;

static ALWAYS_INLINE void paired_vectors(const int V, int pairs, const pointwise_input *in,
                                         const pointwise_output *out, const limits *clip) {
    const tiling cut = tiling_of(pairs, PAIRED_TILE);
    for (int longer = cut.longer > 0, pair = 0; longer >= 0; longer--) {
        const int tiles = longer ? cut.longer : cut.tiles - cut.longer;
        switch (cut.size + longer) {
            TILE_SIZES_6(PAIRED_CASE)
            PAIRED_CASE(7)
        }
    }
}

/* All outputs of `pairs` pairs of pixels, from x in pairs. */
static void paired(int pairs, const pointwise_input *in, const pointwise_output *out) {
    const limits clip = limits_of(out->activation);
    if (out->channels > PANEL)
        paired_vectors(3, pairs, in, out, &clip);
    else if (out->channels > PANEL / 2)
        paired_vectors(2, pairs, in, out, &clip);
    else
        paired_vectors(1, pairs, in, out, &clip);
}

#endif

#endif
