/* 1x1 convolution of a run of pixels: the expand and project layers and the head; and, with a
 * segment for each row of its kernel, any convolution without padding: the stem has three of nine
 * taps.
 *
 *   y[p][n] = bias[n] + sum over k of x[p][k] * w[k][n]        k ascending, fused multiply-add
 *
 * x is read as segments: channels [0, segment) at x, the next `segment` ones at
 * x + segment_step, and so on; within a segment a pixel is `pixel_step` values from the next.
 *   a thin NHWC row      segment = depth,  pixel_step = channels
 *   hidden panels        segment = 16,     pixel_step = 16,     segment_step = a panel's row
 *   rows of a kernel     segment = k * channels, pixel_step = stride * channels,
 *                        segment_step = a row
 * w is panels of 16 outputs, each [depth][16], or pairs of terms (numbers.h), none of which
 * crosses from one segment to the next.
 *
 * Register tile: P pixels x N panels, weights loaded once a k for all pixels, activations
 * broadcast. The next panels' weights are prefetched meanwhile: they come from memory once an
 * image, in chunks too short for the hardware to foresee. Bound by FMA; at depth 16 the tile's own
 * start and finish cost a fifth. */
#ifndef MNV2_POINTWISE_H
#define MNV2_POINTWISE_H

#include "activation.h"
#include "numbers.h"
#include "tiling.h"

typedef struct {
    const activation *x;
    ptrdiff_t pixel_step, segment_step; /* values */
    int segment, depth;                 /* channels */
    const weight *w;                    /* [panels][depth][16] */
    ptrdiff_t panel_step;               /* weights from one panel of w to the next */
    const float *bias;                  /* [panels][16] */
    /* Where TILED: */
    int is_blocked; /* x is filtered panels, in blocks; */
    int first;      /* from this pixel on */
    int32_t *tiles; /* of the context */
} pointwise_input;

/* Where and how a tile is finished. */
typedef enum {
    TO_PANELS,   /* y: [panel][pixel][16]; the expanded tensor, whole panels */
    TO_CHANNELS, /* y: [pixel][channels]; the thin tensor, only real channels */
    TO_POOL      /* y: [panel][16]; summed over pixels, ascending */
} pointwise_finish;

typedef struct {
    int32_t activation;   /* of a complete sum; TO_CHANNELS: no other has a residual as well */
    float *y;             /* TO_PANELS, TO_POOL */
    ptrdiff_t panel_step; /* TO_PANELS: floats between panels */
#if TILED
    int width;      /* TO_PANELS, where takes_tiles: pixels of a line of y, or 0: of all; */
    ptrdiff_t line; /* floats from one line to the next */
#endif
    /* TO_PANELS: where in a panel each pixel lies, in floats; NULL: each behind the one before. */
    const int32_t *places;
    activation *thin;     /* TO_CHANNELS: its y */
    int channels;         /* TO_CHANNELS: channels of it */
    /* TO_CHANNELS, [pixel][channels]: where the sums begin; NULL: at the bias. */
    const float *begin;
    /* TO_CHANNELS: where they are left instead, or NULL; only unless THIN_HOLDS_SUMS. */
    float *unfinished;
    /* TO_CHANNELS: added last, or NULL. It may be `thin` itself, or panels. */
    const activation *residual;
    ptrdiff_t residual_pixel_step, residual_panel_step; /* values */
} pointwise_output;

/* Adds `terms` terms, the PAIR or an odd last one, to a tile: x lies at `low` and, from the eighth
 * pixel on, at `high`. */
static ALWAYS_INLINE void pointwise_terms(const int P, const int N, const int terms,
                                          const activation *low, const activation *high,
                                          ptrdiff_t step, const weight *w, ptrdiff_t panel_step,
                                          vf acc[][TILE_PANELS * VECTORS]) {
    enum { V = VECTORS };
    UNROLL for (int i = 0; i < N; i++) prefetch(w + (N + i) * panel_step);
    UNROLL for (int t = 0; t < terms; t += FUSED) {
        vf weights[TILE_PANELS * V];
        UNROLL for (int v = 0; v < N * V; v++)
            weights[v] = dot_weights(w + v / V * panel_step + v % V * LANES * PAIR, t);
        UNROLL for (int p = 0; p < P; p++) {
            const activation *x = p < 7 ? low + p * step : high + (p - 7) * step;
            const vf a = dot_inputs(x + t, terms);
            UNROLL for (int v = 0; v < N * V; v++) acc[p][v] = dot(a, weights[v], acc[p][v]);
        }
    }
}

/* Adds LANE_TERMS terms to `vectors` vectors of every pixel, whose inputs are loaded at once and
 * used lane by lane. `acc` is [P][pitch]. */
static ALWAYS_INLINE void pointwise_lanes(const int P, const int vectors, const activation *x,
                                          ptrdiff_t step, const weight *w, ptrdiff_t next,
                                          vf *acc, const int pitch) {
    vf inputs[TILE_PIXELS];
    UNROLL for (int p = 0; p < P; p++) inputs[p] = vf_from_values(x + p * step);
    UNROLL for (int t = 0; t < LANE_TERMS; t++) {
        const weight *terms = w + t / PAIR * PAIR * PANEL;
        if (t % PAIR == 0) prefetch(terms + next);
        vf weights[VECTORS];
        panel_from_weights(terms, t % PAIR, vectors, weights);
        UNROLL for (int p = 0; p < P; p++) UNROLL for (int v = 0; v < vectors; v++)
            acc[p * pitch + v] = vf_fma_lane(inputs[p], t, weights[v], acc[p * pitch + v]);
    }
}

/* From the inputs before channel k to those from k on, where segments are panels. Without a branch:
 * at two terms a step, leaving a loop after each panel may cost a fifth. */
static ALWAYS_INLINE ptrdiff_t next_in_panels(const pointwise_input *in, int k) {
    return PAIR + ((in->segment_step - PANEL) & -(ptrdiff_t)(k % PANEL == 0));
}

static ALWAYS_INLINE void pointwise_tile(const int P, const int N, const pointwise_finish finish,
                                         const pointwise_input *in,
                                         const pointwise_output *out, const limits *clip,
                                         int pixel, int panel) {
    enum { V = VECTORS };
    const ptrdiff_t step = in->pixel_step;
    const weight *w = in->w + panel * in->panel_step;
    vf acc[TILE_PIXELS][TILE_PANELS * V];

    if (finish == TO_CHANNELS && out->begin) {
        UNROLL for (int p = 0; p < P; p++) UNROLL for (int v = 0; v < N * V; v++) {
            const int first = panel * PANEL + v * LANES;
            const float *sums = out->begin + (ptrdiff_t)(pixel + p) * out->channels + first;
            const int lanes = out->channels - first;
            acc[p][v] = lanes >= LANES ? vf_load(sums) : vf_load_part(sums, lanes > 0 ? lanes : 0);
        }
    } else {
        UNROLL for (int v = 0; v < N * V; v++) {
            const vf bias = vf_load(in->bias + panel * PANEL + v * LANES);
            UNROLL for (int p = 0; p < P; p++) acc[p][v] = bias;
        }
    }

    /* Two bases seven pixels apart keep the addresses of 14 pixels in few registers. */
    const activation *low = in->x + pixel * step, *high = low + 7 * step;
    if (finish == TO_CHANNELS && PAIR > LANE_TERMS && in->segment == PANEL) {
        for (int k = 0; k + PAIR <= in->depth; w += PAIR * PANEL) {
            pointwise_terms(P, N, PAIR, low, high, step, w, in->panel_step, acc);
            k += PAIR;
            low += next_in_panels(in, k);
            high += next_in_panels(in, k);
        }
        if (in->depth % PAIR) pointwise_terms(P, N, 1, low, high, step, w, in->panel_step, acc);
    } else {
        for (int left = in->depth; left > 0; left -= in->segment) {
            const int n = least(left, in->segment);
            int k = 0;
#if LANE_TERMS > 1
            KEEP_LOOP for (; k + LANE_TERMS <= n; k += LANE_TERMS, w += LANE_TERMS * PANEL) {
                pointwise_lanes(P, N * V, low, step, w, N * in->panel_step, acc[0], V);
                low += LANE_TERMS;
                high += LANE_TERMS;
            }
#endif
            for (; k + PAIR <= n; k += PAIR) {
                pointwise_terms(P, N, PAIR, low, high, step, w, in->panel_step, acc);
                w += PAIR * PANEL;
                low += PAIR;
                high += PAIR;
            }
            if (n % PAIR) {
                pointwise_terms(P, N, 1, low, high, step, w, in->panel_step, acc);
                w += PAIR * PANEL;
                low++;
                high++;
            }
            low += in->segment_step - n;
            high += in->segment_step - n;
        }
    }

    const vf floor = vf_late(&clip->least), top = vf_late(&clip->most);
    if (finish == TO_PANELS && out->places) {
        const int32_t *places = out->places + pixel;
        UNROLL for (int p = 0; p < P; p++) {
            float *y = out->y + panel * out->panel_step + places[p];
            UNROLL for (int v = 0; v < N * V; v++)
                vf_store(y + v / V * out->panel_step + v % V * LANES,
                         vf_clamp(acc[p][v], floor, top));
        }
        return;
    }
    UNROLL for (int v = 0; v < N * V; v++) {
        if (finish == TO_PANELS) {
            float *y = out->y + (panel + v / V) * out->panel_step + pixel * PANEL + v % V * LANES;
            UNROLL for (int p = 0; p < P; p++)
                vf_store(y + p * PANEL, vf_clamp(acc[p][v], floor, top));
        } else if (finish == TO_POOL) {
            float *y = out->y + panel * PANEL + v * LANES;
            vf sum = vf_load(y);
            UNROLL for (int p = 0; p < P; p++) sum = vf_add(sum, vf_clamp(acc[p][v], floor, top));
            vf_store(y, sum);
        } else {
            const int first = panel * PANEL + v * LANES;
            const int lanes = out->channels - first;
            const ptrdiff_t at = (ptrdiff_t)pixel * out->channels + first;
            if (!THIN_HOLDS_SUMS && out->unfinished) {
                float *sums = out->unfinished + at;
                UNROLL for (int p = 0; p < P; p++) {
                    if (lanes >= LANES)
                        vf_store(sums + p * out->channels, acc[p][v]);
                    else if (lanes > 0)
                        vf_store_part(sums + p * out->channels, acc[p][v], lanes);
                }
                continue;
            }
            activation *y = out->thin + at;
            const activation *r = out->residual;
            const ptrdiff_t from = out->residual_pixel_step;
            if (out->activation != MNV2_LINEAR)
                UNROLL for (int p = 0; p < P; p++) acc[p][v] = vf_clamp(acc[p][v], floor, top);
            if (r)
                r += pixel * from + (panel + v / V) * out->residual_panel_step + v % V * LANES;
            if (lanes >= LANES) {
                UNROLL for (int p = 0; p < P; p++) {
                    vf sum = acc[p][v];
                    if (r) sum = vf_add(sum, vf_from_values(r + p * from));
                    vf_to_values(y + p * out->channels, sum);
                }
            } else if (lanes > 0) {
                UNROLL for (int p = 0; p < P; p++) {
                    vf sum = acc[p][v];
                    if (r) sum = vf_add(sum, vf_from_values_part(r + p * from, lanes));
                    vf_to_values_part(y + p * out->channels, sum, lanes);
                }
            }
        }
    }
}

/* The last panel of a thin row when at most half of it is real (8, 24, 40, 56 … channels), and
 * the F whole panels (0 or 1) before it. The half takes half a register tile, so no multiply-add
 * goes to padding: where a vector is a whole panel, two pixels share one, lanes 0-7 the even
 * pixel's and lanes 8-15 the odd one's; three vectors then hold 24 channels of two pixels. */
enum { HALF_TILES = (TILE_PIXELS + HALF_PIXELS - 1) / HALF_PIXELS };

static ALWAYS_INLINE void pointwise_half_terms(const int P, const int F, const int terms,
                                               const activation *low, const activation *high,
                                               ptrdiff_t step, const weight *w,
                                               ptrdiff_t panel_step, vf acc[][VECTORS],
                                               half last[][HALF_VECTORS]) {
    UNROLL for (int t = 0; t < terms; t += FUSED) {
        vf weights[VECTORS];
        half last_weights[HALF_VECTORS];
        UNROLL for (int v = 0; v < VECTORS * F; v++)
            weights[v] = dot_weights(w + v * LANES * PAIR, t);
        UNROLL for (int v = 0; v < HALF_VECTORS; v++)
            last_weights[v] = half_dot_weights(w + F * panel_step, v, t);
        UNROLL for (int p = 0; p < P; p += HALF_PIXELS) {
            const int odd = least(p + HALF_PIXELS, P) - 1;
            const vf a = dot_inputs((p < 7 ? low + p * step : high + (p - 7) * step) + t, terms);
            const vf b =
                dot_inputs((odd < 7 ? low + odd * step : high + (odd - 7) * step) + t, terms);
            UNROLL for (int v = 0; v < VECTORS * F; v++) {
                acc[p][v] = dot(a, weights[v], acc[p][v]);
                if (odd != p) acc[odd][v] = dot(b, weights[v], acc[odd][v]);
            }
            const half both = half_join(a, b);
            UNROLL for (int v = 0; v < HALF_VECTORS; v++)
                last[p / HALF_PIXELS][v] =
                    half_dot(both, last_weights[v], last[p / HALF_PIXELS][v]);
        }
    }
}

static ALWAYS_INLINE void pointwise_half_tile(const int P, const int F, const pointwise_input *in,
                                              const pointwise_output *out, const limits *clip,
                                              int pixel, int panel) {
    enum { V = VECTORS, H = HALF_VECTORS };
    const ptrdiff_t step = in->pixel_step, to = out->channels;
    const weight *w = in->w + panel * in->panel_step;
    const float *bias = in->bias + panel * PANEL;
    const int channels = out->channels - (panel + F) * PANEL; /* of the half */
    const ptrdiff_t at = pixel * to + panel * PANEL;
    vf acc[TILE_PIXELS][V];
    half last[HALF_TILES][H];

    const float *begin = out->begin ? out->begin + at : NULL;
    UNROLL for (int p = 0; p < P * F; p++) UNROLL for (int v = 0; v < V; v++)
        acc[p][v] = vf_load((begin ? begin + p * to : bias) + v * LANES);
    UNROLL for (int p = 0; p < P; p += HALF_PIXELS) UNROLL for (int v = 0; v < H; v++)
        last[p / HALF_PIXELS][v] =
            begin ? half_load_rows(begin + p * to + F * PANEL, to, v, channels, P - p)
                  : half_load(bias + F * PANEL, v);

    const activation *low = in->x + pixel * step, *high = low + 7 * step;
    if (PAIR > LANE_TERMS) {
        for (int k = 0; k + PAIR <= in->depth; w += PAIR * PANEL) {
            pointwise_half_terms(P, F, PAIR, low, high, step, w, in->panel_step, acc, last);
            k += PAIR;
            low += next_in_panels(in, k);
            high += next_in_panels(in, k);
        }
        if (in->depth % PAIR)
            pointwise_half_terms(P, F, 1, low, high, step, w, in->panel_step, acc, last);
    } else {
        for (int left = in->depth; left > 0; left -= in->segment) {
            const int n = least(left, in->segment);
#if LANE_TERMS > 1
            int k = 0;
            KEEP_LOOP for (; k + LANE_TERMS <= n; k += LANE_TERMS, w += LANE_TERMS * PANEL) {
                pointwise_lanes(P, H, low, step, w, in->panel_step, last[0], H);
                low += LANE_TERMS;
                high += LANE_TERMS;
            }
            for (; k < n; k += PAIR, w += PAIR * PANEL, low += PAIR, high += PAIR) {
                if (k + PAIR <= n)
                    pointwise_half_terms(P, F, PAIR, low, high, step, w, in->panel_step, acc,
                                         last);
                else
                    pointwise_half_terms(P, F, 1, low, high, step, w, in->panel_step, acc, last);
            }
            low -= k - n;
            high -= k - n;
#else
            for (int k = 0; k < n; k++, w += PANEL)
                pointwise_half_terms(P, F, 1, low++, high++, step, w, in->panel_step, acc, last);
#endif
            low += in->segment_step - n;
            high += in->segment_step - n;
        }
    }

    if (!THIN_HOLDS_SUMS && out->unfinished) {
        float *sums = out->unfinished + at;
        UNROLL for (int p = 0; p < P * F; p++) UNROLL for (int v = 0; v < V; v++)
            vf_store(sums + p * to + v * LANES, acc[p][v]);
        sums += F * PANEL;
        UNROLL for (int p = 0; p < P; p += HALF_PIXELS) UNROLL for (int v = 0; v < H; v++)
            half_store_rows(sums + p * to, to, v, channels, P - p, last[p / HALF_PIXELS][v]);
        return;
    }
    const ptrdiff_t from = out->residual_pixel_step;
    const activation *r = out->residual;
    activation *y = out->thin + at;
    if (r) r += pixel * from + panel * out->residual_panel_step;
    if (out->activation != MNV2_LINEAR) {
        const vf floor = vf_late(&clip->least), top = vf_late(&clip->most);
        UNROLL for (int p = 0; p < P * F; p++) UNROLL for (int v = 0; v < V; v++)
            acc[p][v] = vf_clamp(acc[p][v], floor, top);
        UNROLL for (int p = 0; p < P; p += HALF_PIXELS) UNROLL for (int v = 0; v < H; v++)
            last[p / HALF_PIXELS][v] = vf_clamp(last[p / HALF_PIXELS][v], floor, top);
    }
    UNROLL for (int p = 0; p < P * F; p++) UNROLL for (int v = 0; v < V; v++) {
        vf sum = acc[p][v];
        if (r) sum = vf_add(sum, vf_from_values(r + p * from + v * LANES));
        vf_to_values(y + p * to + v * LANES, sum);
    }
    if (r) r += F * out->residual_panel_step;
    y += F * PANEL;
    UNROLL for (int p = 0; p < P; p += HALF_PIXELS) UNROLL for (int v = 0; v < H; v++) {
        half sum = last[p / HALF_PIXELS][v];
        if (r) sum = half_add(sum, half_from_values(r + p * from, from, v, channels, P - p));
        half_to_values(y + p * to, to, v, channels, P - p, sum);
    }
}

#define POINTWISE_CASE(P)                                                                   \
    case P:                                                                                 \
        for (int t = 0; t < tiles; t++, pixel += P) {                                       \
            if (HALF)                                                                       \
                pointwise_half_tile(P, N, in, out, clip, pixel, panel);                     \
            else                                                                            \
                pointwise_tile(P, N, finish, in, out, clip, pixel, panel);                  \
        }                                                                                   \
        break;

/* All pixels of N whole panels, and of the HALF behind them. */
static ALWAYS_INLINE void pointwise_panels(const int N, const int HALF,
                                           const pointwise_finish finish, const tiling *cut,
                                           const pointwise_input *in, const pointwise_output *out,
                                           const limits *clip, int panel) {
    int pixel = 0;
    for (int longer = cut->longer > 0; longer >= 0; longer--) {
        const int tiles = longer ? cut->longer : cut->tiles - cut->longer;
        switch (cut->size + longer) {
            TILE_SIZES(POINTWISE_CASE)
        }
    }
}

#if TILED
#include "amx/pointwise_bfloat16.h"
#endif

/* All `pixels` x `panels` outputs. Panels are the outer loop: a pair of weight panels stays in
 * L1 while the pixels pass. */
static ALWAYS_INLINE void pointwise(const pointwise_finish finish, int pixels, int panels,
                                    const pointwise_input *in, const pointwise_output *out) {
#if TILED
    if (takes_tiles(in)) {
        pointwise_in_tiles(finish, pixels, panels, in, out);
        return;
    }
#endif
    const limits clip = limits_of(out->activation);
    const tiling cut = tiling_of(pixels, TILE_PIXELS);
    const int rest = finish == TO_CHANNELS ? out->channels % PANEL : 0;
    const int half_last = rest > 0 && rest <= PANEL / 2;
    const int before_half = HALF_PIXELS > 1 ? 1 : 0; /* one whole panel fits beside the half */
    for (int panel = 0; panel < panels;) {
        const int left = panels - panel;
        const int is_half = half_last && left <= 1 + before_half;
        const int count = is_half ? left : least(TILE_PANELS, left - (half_last ? 1 : 0));
        if (is_half && count == 1)
            pointwise_panels(0, 1, finish, &cut, in, out, &clip, panel);
        else if (is_half)
            pointwise_panels(before_half, 1, finish, &cut, in, out, &clip, panel);
        else if (TILE_PANELS == 1 || count == 1)
            pointwise_panels(1, 0, finish, &cut, in, out, &clip, panel);
        else
            pointwise_panels(TILE_PANELS, 0, finish, &cut, in, out, &clip, panel);
        panel += count;
    }
}

/* Panels [panel, end) one at a time: little code, for what runs seldom. */
static ALWAYS_INLINE void pointwise_singly(const pointwise_finish finish, int pixels, int panel,
                                           int end, const pointwise_input *in,
                                           const pointwise_output *out) {
    const limits clip = limits_of(out->activation);
    const tiling cut = tiling_of(pixels, TILE_PIXELS);
    for (; panel < end; panel++) pointwise_panels(1, 0, finish, &cut, in, out, &clip, panel);
}

#endif
