/* 1x1 convolution of a run of pixels: the expand and project layers, the head and the
 * classifier; and, with three segments of nine taps, the stem.
 *
 *   y[p][n] = bias[n] + sum over k of x[p][k] * w[k][n]        k ascending, fused multiply-add
 *
 * x is read as segments: channels [0, segment) at x, the next `segment` ones at
 * x + segment_step, and so on; within a segment a pixel is `pixel_step` floats from the next.
 *   a thin NHWC row      segment = depth,  pixel_step = channels
 *   hidden panels        segment = 16,     pixel_step = 16,     segment_step = a panel's row
 * w is panels of 16 outputs, each [depth][16].
 *
 * Register tile: P pixels x N panels, weights loaded once a k for all pixels, activations
 * broadcast. The next panels' weights are prefetched meanwhile: they come from memory once an
 * image, in chunks too short for the hardware to foresee. Bound by FMA; at depth 16 the tile's own
 * start and finish cost a fifth. */
#ifndef MNV2_POINTWISE_H
#define MNV2_POINTWISE_H

#include "simd.h"
#include "tiling.h"

typedef struct {
    const float *x;
    ptrdiff_t pixel_step, segment_step; /* floats */
    int segment, depth;                 /* channels */
    const float *w;                     /* [panels][depth][16] */
    ptrdiff_t panel_step;               /* floats from one panel of w to the next */
    const float *bias;                  /* [panels][16] */
} pointwise_input;

/* Where and how a tile is finished. */
typedef enum {
    RELU6_TO_PANELS,    /* y: [panel][pixel][16]; the expanded tensor, whole panels */
    LINEAR_TO_CHANNELS, /* y: [pixel][channels]; the thin tensor, only real channels */
    RELU6_TO_POOL       /* y: [panel][16]; summed over pixels, ascending */
} pointwise_finish;

typedef struct {
    float *y;
    ptrdiff_t panel_step; /* RELU6_TO_PANELS: floats between panels */
    int channels;         /* LINEAR_TO_CHANNELS: channels of y */
    int accumulate;       /* LINEAR_TO_CHANNELS: start from y instead of from the bias */
    /* LINEAR_TO_CHANNELS: added last, or NULL. It may be y itself, or panels. */
    const float *residual;
    ptrdiff_t residual_pixel_step, residual_panel_step; /* floats */
} pointwise_output;

static ALWAYS_INLINE void pointwise_tile(const int P, const int N, const pointwise_finish finish,
                                         const pointwise_input *in,
                                         const pointwise_output *out, int pixel, int panel) {
    enum { V = VECTORS };
    const ptrdiff_t step = in->pixel_step;
    const float *w = in->w + panel * in->panel_step;
    vf acc[TILE_PIXELS][TILE_PANELS * V];

    if (finish == LINEAR_TO_CHANNELS && out->accumulate) {
        UNROLL for (int p = 0; p < P; p++) UNROLL for (int v = 0; v < N * V; v++) {
            const int first = panel * PANEL + v * LANES;
            const float *y = out->y + (ptrdiff_t)(pixel + p) * out->channels + first;
            const int lanes = out->channels - first;
            acc[p][v] = lanes >= LANES ? vf_load(y) : vf_load_part(y, lanes > 0 ? lanes : 0);
        }
    } else {
        UNROLL for (int v = 0; v < N * V; v++) {
            const vf bias = vf_load(in->bias + panel * PANEL + v * LANES);
            UNROLL for (int p = 0; p < P; p++) acc[p][v] = bias;
        }
    }

    /* Two bases seven pixels apart keep the addresses of 14 pixels in few registers. */
    const float *low = in->x + pixel * step, *high = low + 7 * step;
    for (int left = in->depth; left > 0; left -= in->segment) {
        const int n = least(left, in->segment);
        for (int k = 0; k < n; k++) {
            vf weight[TILE_PANELS * V];
            UNROLL for (int v = 0; v < N * V; v++)
                weight[v] = vf_load(w + v / V * in->panel_step + v % V * LANES);
            UNROLL for (int i = 0; i < N; i++) prefetch(w + (N + i) * in->panel_step);
            UNROLL for (int p = 0; p < P; p++) {
                const vf a = vf_set1(p < 7 ? low[p * step] : high[(p - 7) * step]);
                UNROLL for (int v = 0; v < N * V; v++) acc[p][v] = vf_fma(a, weight[v], acc[p][v]);
            }
            w += PANEL;
            low++;
            high++;
        }
        low += in->segment_step - n;
        high += in->segment_step - n;
    }

    const vf zero = vf_late(0.0f), six = vf_late(6.0f);
    UNROLL for (int v = 0; v < N * V; v++) {
        if (finish == RELU6_TO_PANELS) {
            float *y = out->y + (panel + v / V) * out->panel_step + pixel * PANEL + v % V * LANES;
            UNROLL for (int p = 0; p < P; p++)
                vf_store(y + p * PANEL, vf_clamp(acc[p][v], zero, six));
        } else if (finish == RELU6_TO_POOL) {
            float *y = out->y + panel * PANEL + v * LANES;
            vf sum = vf_load(y);
            UNROLL for (int p = 0; p < P; p++) sum = vf_add(sum, vf_clamp(acc[p][v], zero, six));
            vf_store(y, sum);
        } else {
            const int first = panel * PANEL + v * LANES;
            const int lanes = out->channels - first;
            float *y = out->y + (ptrdiff_t)pixel * out->channels + first;
            const float *r = out->residual;
            if (r)
                r += (ptrdiff_t)pixel * out->residual_pixel_step +
                     (panel + v / V) * out->residual_panel_step + v % V * LANES;
            if (lanes >= LANES) {
                UNROLL for (int p = 0; p < P; p++) {
                    vf sum = acc[p][v];
                    if (r) sum = vf_add(sum, vf_load(r + p * out->residual_pixel_step));
                    vf_store(y + p * out->channels, sum);
                }
            } else if (lanes > 0) {
                UNROLL for (int p = 0; p < P; p++) {
                    vf sum = acc[p][v];
                    if (r) sum = vf_add(sum, vf_load_part(r + p * out->residual_pixel_step, lanes));
                    vf_store_part(y + p * out->channels, sum, lanes);
                }
            }
        }
    }
}

/* The last panel of a thin row when at most half of it is real (8, 24, 40, 56 … channels), and
 * the F whole panels (0 or 1) before it. The half takes half a register tile, so no multiply-add
 * goes to padding: where a vector is a whole panel, two pixels share one, lanes 0-7 the even
 * pixel's and lanes 8-15 the odd one's; three vectors then hold 24 channels of two pixels. */
static ALWAYS_INLINE void pointwise_half_tile(const int P, const int F, const pointwise_input *in,
                                              const pointwise_output *out, int pixel, int panel) {
    enum { V = VECTORS, H = HALF_VECTORS, PAIRS = (TILE_PIXELS + HALF_PIXELS - 1) / HALF_PIXELS };
    const ptrdiff_t step = in->pixel_step;
    const float *w = in->w + panel * in->panel_step;
    const float *bias = in->bias + panel * PANEL;
    const int channels = out->channels - (panel + F) * PANEL; /* of the half */
    float *y = out->y + (ptrdiff_t)pixel * out->channels + panel * PANEL;
    vf acc[TILE_PIXELS][V];
    half last[PAIRS][H];

    UNROLL for (int p = 0; p < P * F; p++) UNROLL for (int v = 0; v < V; v++)
        acc[p][v] = vf_load(out->accumulate ? y + (ptrdiff_t)p * out->channels + v * LANES
                                            : bias + v * LANES);
    UNROLL for (int p = 0; p < P; p += HALF_PIXELS) UNROLL for (int v = 0; v < H; v++)
        last[p / HALF_PIXELS][v] =
            out->accumulate ? half_load_rows(y + (ptrdiff_t)p * out->channels + F * PANEL,
                                             out->channels, v, channels, P - p)
                            : half_load(bias + F * PANEL, v);

    const float *low = in->x + pixel * step, *high = low + 7 * step;
    for (int left = in->depth; left > 0; left -= in->segment) {
        const int n = least(left, in->segment);
        for (int k = 0; k < n; k++) {
            vf weight[V];
            half last_weight[H];
            UNROLL for (int v = 0; v < V * F; v++) weight[v] = vf_load(w + v * LANES);
            UNROLL for (int v = 0; v < H; v++)
                last_weight[v] = half_load(w + F * in->panel_step, v);
            UNROLL for (int p = 0; p < P; p += HALF_PIXELS) {
                const int odd = least(p + HALF_PIXELS, P) - 1;
                const vf a = vf_set1(p < 7 ? low[p * step] : high[(p - 7) * step]);
                const vf b = vf_set1(odd < 7 ? low[odd * step] : high[(odd - 7) * step]);
                UNROLL for (int v = 0; v < V * F; v++) {
                    acc[p][v] = vf_fma(a, weight[v], acc[p][v]);
                    if (odd != p) acc[odd][v] = vf_fma(b, weight[v], acc[odd][v]);
                }
                const half both = half_join(a, b);
                UNROLL for (int v = 0; v < H; v++)
                    last[p / HALF_PIXELS][v] =
                        half_fma(both, last_weight[v], last[p / HALF_PIXELS][v]);
            }
            w += PANEL;
            low++;
            high++;
        }
        low += in->segment_step - n;
        high += in->segment_step - n;
    }

    const ptrdiff_t from = out->residual_pixel_step;
    const float *r = out->residual;
    if (r) r += pixel * from + panel * out->residual_panel_step;
    UNROLL for (int p = 0; p < P * F; p++) UNROLL for (int v = 0; v < V; v++) {
        vf sum = acc[p][v];
        if (r) sum = vf_add(sum, vf_load(r + p * from + v * LANES));
        vf_store(y + (ptrdiff_t)p * out->channels + v * LANES, sum);
    }
    if (r) r += F * out->residual_panel_step;
    y += F * PANEL;
    UNROLL for (int p = 0; p < P; p += HALF_PIXELS) UNROLL for (int v = 0; v < H; v++) {
        half sum = last[p / HALF_PIXELS][v];
        if (r) sum = half_add(sum, half_load_rows(r + p * from, from, v, channels, P - p));
        half_store_rows(y + (ptrdiff_t)p * out->channels, out->channels, v, channels, P - p, sum);
    }
}

#define POINTWISE_CASE(P)                                                                   \
    case P:                                                                                 \
        for (int t = 0; t < tiles; t++, pixel += P) {                                       \
            if (HALF)                                                                       \
                pointwise_half_tile(P, N, in, out, pixel, panel);                           \
            else                                                                            \
                pointwise_tile(P, N, finish, in, out, pixel, panel);                        \
        }                                                                                   \
        break;

/* All pixels of N whole panels, and of the HALF behind them. */
static ALWAYS_INLINE void pointwise_panels(const int N, const int HALF,
                                           const pointwise_finish finish, const tiling *cut,
                                           const pointwise_input *in, const pointwise_output *out,
                                           int panel) {
    int pixel = 0;
    for (int longer = cut->longer > 0; longer >= 0; longer--) {
        const int tiles = longer ? cut->longer : cut->tiles - cut->longer;
        switch (cut->size + longer) {
            POINTWISE_CASE(1)
            POINTWISE_CASE(2)
#if TILE_PIXELS >= 6
            POINTWISE_CASE(3)
            POINTWISE_CASE(4)
            POINTWISE_CASE(5)
            POINTWISE_CASE(6)
#endif
#if TILE_PIXELS >= 14
            POINTWISE_CASE(7)
            POINTWISE_CASE(8)
            POINTWISE_CASE(9)
            POINTWISE_CASE(10)
            POINTWISE_CASE(11)
            POINTWISE_CASE(12)
            POINTWISE_CASE(13)
            POINTWISE_CASE(14)
#endif
        }
    }
}

/* All `pixels` x `panels` outputs. Panels are the outer loop: a pair of weight panels stays in
 * L1 while the pixels pass. */
static ALWAYS_INLINE void pointwise(const pointwise_finish finish, int pixels, int panels,
                                    const pointwise_input *in, const pointwise_output *out) {
    const tiling cut = tiling_of(pixels, TILE_PIXELS);
    const int rest = finish == LINEAR_TO_CHANNELS ? out->channels % PANEL : 0;
    const int half_last = rest > 0 && rest <= PANEL / 2;
    const int before_half = HALF_PIXELS > 1 ? 1 : 0; /* one whole panel fits beside the half */
    for (int panel = 0; panel < panels;) {
        const int left = panels - panel;
        const int is_half = half_last && left <= 1 + before_half;
        const int count = is_half ? left : least(TILE_PANELS, left - (half_last ? 1 : 0));
        if (is_half && count == 1)
            pointwise_panels(0, 1, finish, &cut, in, out, panel);
        else if (is_half)
            pointwise_panels(before_half, 1, finish, &cut, in, out, panel);
        else if (TILE_PANELS == 1 || count == 1)
            pointwise_panels(1, 0, finish, &cut, in, out, panel);
        else
            pointwise_panels(TILE_PANELS, 0, finish, &cut, in, out, panel);
        panel += count;
    }
}

#endif
