/* 1x1 convolution of a run of pixels, 8 bits: the expand and project layers and the head; and, with
 * a segment for each row of its kernel, any convolution without padding: the stem has three of
 * three groups.
 *
 *   acc[p][n] = bias[n] + sum over k of x[p][k] * w[n][k]      int32, exact
 *   y[p][n]   = acc as 8 bits                                  docs/int8.md
 *
 * x is read in groups of four channels, as segments: groups [0, segment) at x, the next `segment`
 * ones at x + segment_step, and so on; within a segment a pixel is `pixel_step` bytes from the
 * next.
 *   a thin NHWC row      segment = all groups,  pixel_step = channels
 *   hidden panels        segment = 4,           pixel_step = 16,     segment_step = a panel's row
 *   rows of a kernel     segment = a row of it, pixel_step = stride * channels,
 *                        segment_step = a row
 * w is panels of 16 outputs, each [groups][16][4].
 *
 * Register tile: P pixels x N panels, weights loaded once a group for all pixels, activations
 * broadcast. Bound by the dot products; at few groups by the way back to 8 bits, which is
 * 3 instructions for each 16 sums. */
#ifndef MNV2_INT8_POINTWISE_H
#define MNV2_INT8_POINTWISE_H

#include "../tiling.h"
#include "simd.h"

typedef struct {
    const uint8_t *x;
    ptrdiff_t pixel_step, segment_step; /* bytes */
    int segment, groups;
    const int8_t *w;          /* [panels][groups][16][4] */
    ptrdiff_t panel_step;     /* bytes from one panel of w to the next */
    const int32_t *requantise; /* [panels][2][16]: bias, multiplier | shift << 16 */
    int fraction;
    /* Where TILED: */
    int is_blocked;  /* x is filtered panels, in blocks; */
    int first;       /* from this pixel on */
    int32_t *tiles;  /* of the context */
} pointwise_input;

/* Where and how a tile is finished. */
typedef enum {
    TO_PANELS,   /* y: [panel][pixel][16]; the expanded tensor, whole panels */
    TO_CHANNELS, /* y: [pixel][channels]; the thin tensor, only real channels */
    TO_SUMS,     /* sums: [panel][pixel][16] int32; not yet 8 bits */
    TO_POOL      /* sums: [panel][16] int32; 8 bits, added over pixels */
} pointwise_finish;

typedef struct {
    uint8_t *y;
    int32_t *sums;
    ptrdiff_t panel_step; /* TO_PANELS: bytes, TO_SUMS: sums, from one panel to the next */
    int channels;         /* TO_CHANNELS: channels of y */
    int accumulate;       /* TO_CHANNELS, TO_SUMS: start from `sums` instead of from the bias */
    /* TO_CHANNELS: added before the result is 8 bits, or NULL. It may be y itself, or panels. */
    const uint8_t *shortcut;
    ptrdiff_t shortcut_pixel_step, shortcut_panel_step; /* bytes */
    int shortcut_multiplier;
} pointwise_output;

/* Adds one group of every pixel, of which p has the operand input(p). */
#define ADD_GROUP(input, w)                                                                    \
    {                                                                                          \
        vw weight[TILE_PANELS * V];                                                            \
        UNROLL for (int v = 0; v < N * V; v++)                                                 \
            weight[v] = vw_load((w) + v / V * in->panel_step + v % V * LANES * GROUP);         \
        UNROLL for (int p = 0; p < P; p++) {                                                   \
            const vx a = input(p);                                                             \
            UNROLL for (int v = 0; v < N * V; v++) acc[v / V][p][v % V] =                      \
                vi_dot(acc[v / V][p][v % V], a, weight[v]);                                    \
        }                                                                                      \
    }
#define BROADCAST(p) vx_broadcast(p < 7 ? low + p * step : high + (p - 7) * step)
#define LANE(p) vx_lane(lanes[p], i)

/* What the sums of a panel have to be amended by: all the same for one after the other. */
static ALWAYS_INLINE vi amendment(const pointwise_input *in, int panel, int v) {
    const int8_t *w = in->w + panel * in->panel_step + v * LANES * GROUP;
    const int32_t none[PANEL] = {0};
    vi sum = vi_load(none);
    for (int k = 0; k < in->groups; k++, w += PANEL * GROUP) sum = vi_amend(sum, vw_load(w));
    return sum;
}

static ALWAYS_INLINE void pointwise_tile(const int P, const int N, const pointwise_finish finish,
                                         const pointwise_input *in,
                                         const pointwise_output *out, int pixel, int panel,
                                         vi (*amend)[VECTORS]) {
    enum { V = VECTORS };
    const ptrdiff_t step = in->pixel_step;
    const int8_t *w = in->w + panel * in->panel_step;
    vi acc[TILE_PANELS][TILE_PIXELS][V];
    int32_t *sums = NULL; /* [N panels][P pixels][16] */
    if (finish == TO_SUMS || finish == TO_CHANNELS)
        sums = out->sums + panel * out->panel_step + pixel * PANEL;

    if ((finish == TO_SUMS || finish == TO_CHANNELS) && out->accumulate) {
        UNROLL for (int n = 0; n < N; n++) UNROLL for (int p = 0; p < P; p++)
            UNROLL for (int v = 0; v < V; v++)
                acc[n][p][v] = vi_load(sums + n * out->panel_step + p * PANEL + v * LANES);
    } else {
        UNROLL for (int n = 0; n < N; n++) UNROLL for (int v = 0; v < V; v++) {
            const vi bias = vi_load(in->requantise + (panel + n) * 2 * PANEL + v * LANES);
            UNROLL for (int p = 0; p < P; p++) acc[n][p][v] = bias;
        }
    }

    if (SIGNED_INPUTS) UNROLL for (int n = 0; n < N; n++) UNROLL for (int p = 0; p < P; p++)
        UNROLL for (int v = 0; v < V; v++) acc[n][p][v] = vi_add(acc[n][p][v], amend[n][v]);

    /* Two bases seven pixels apart keep the addresses of 14 pixels in few registers. */
    const uint8_t *low = in->x + pixel * step, *high = low + 7 * step;
    for (int left = in->groups; left > 0; left -= in->segment) {
        const int count = least(left, in->segment);
        int k = 0;
#if LANE_GROUPS > 1
        for (; k + LANE_GROUPS <= count; k += LANE_GROUPS) {
            vx_lanes lanes[TILE_PIXELS];
            UNROLL for (int p = 0; p < P; p++) lanes[p] = vx_load(low + p * step);
            UNROLL for (int i = 0; i < LANE_GROUPS; i++, w += PANEL * GROUP) {
                UNROLL for (int n = 0; n < N; n++) prefetch(w + (N + n) * in->panel_step);
                ADD_GROUP(LANE, w)
            }
            low += LANE_GROUPS * GROUP;
            high += LANE_GROUPS * GROUP;
        }
#endif
        for (; k < count; k++) {
            UNROLL for (int n = 0; n < N; n++) prefetch(w + (N + n) * in->panel_step);
            ADD_GROUP(BROADCAST, w)
            w += PANEL * GROUP;
            low += GROUP;
            high += GROUP;
        }
        low += in->segment_step - count * GROUP;
        high += in->segment_step - count * GROUP;
    }

    UNROLL for (int n = 0; n < N; n++) {
        if (finish == TO_SUMS) {
            UNROLL for (int p = 0; p < P; p++) UNROLL for (int v = 0; v < V; v++)
                vi_store(sums + n * out->panel_step + p * PANEL + v * LANES, acc[n][p][v]);
            continue;
        }
        const int32_t *row = in->requantise + ((panel + n) * 2 + 1) * PANEL;
        const scaling s = scaling_load(row, in->fraction);
        UNROLL for (int p = 0; p < P; p += 4) {
            const int pixels = P - p < 4 ? P - p : 4;
            vi four[4][V];
            UNROLL for (int i = 0; i < 4; i++) UNROLL for (int v = 0; v < V; v++)
                four[i][v] = acc[n][p + (i < pixels ? i : pixels - 1)][v];
            if (finish == TO_PANELS) {
                uint8_t *y = out->y + (panel + n) * out->panel_step + (pixel + p) * PANEL;
                quad_store(y, quad_scale(four, &s), pixels);
            } else if (finish == TO_POOL) {
                int32_t *pooled = out->sums + (panel + n) * PANEL;
                const panel_sums added = quad_sum(quad_scale(four, &s), pixels);
                UNROLL for (int v = 0; v < V; v++)
                    vi_store(pooled + v * LANES,
                             vi_add(vi_load(pooled + v * LANES), added.sums[v]));
            } else {
                const int first = (panel + n) * PANEL;
                const int lanes = least(out->channels - first, PANEL);
                uint8_t *y = out->y + (ptrdiff_t)(pixel + p) * out->channels + first;
                quad made;
                if (out->shortcut) {
                    const ptrdiff_t from = out->shortcut_pixel_step;
                    const uint8_t *x = out->shortcut + (pixel + p) * from +
                                       (panel + n) * out->shortcut_panel_step;
                    const uint8_t *at[4];
                    UNROLL for (int i = 0; i < 4; i++)
                        at[i] = x + (i < pixels ? i : pixels - 1) * from;
                    made = quad_scale_add(four, &s, at, out->shortcut_multiplier);
                } else {
                    made = quad_scale(four, &s);
                }
                quad_store_rows(y, out->channels, made, pixels, lanes);
            }
        }
    }
}

#define POINTWISE_CASE(P)                                              \
    case P:                                                            \
        for (int t = 0; t < tiles; t++, pixel += P)                    \
            pointwise_tile(P, N, finish, in, out, pixel, panel, amend); \
        break;

/* All pixels of N panels. */
static ALWAYS_INLINE void pointwise_panels(const int N, const pointwise_finish finish,
                                           const tiling *cut, const pointwise_input *in,
                                           const pointwise_output *out, int panel) {
    vi amend[TILE_PANELS][VECTORS];
    if (SIGNED_INPUTS) UNROLL for (int n = 0; n < N; n++) UNROLL for (int v = 0; v < VECTORS; v++)
        amend[n][v] = amendment(in, panel + n, v);
    int pixel = 0;
    for (int longer = cut->longer > 0; longer >= 0; longer--) {
        const int tiles = longer ? cut->longer : cut->tiles - cut->longer;
        switch (cut->size + longer) {
            TILE_SIZES(POINTWISE_CASE)
        }
    }
}

#if TILED
#include "../amx/pointwise_int8.h"
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
    const tiling cut = tiling_of(pixels, TILE_PIXELS);
    int panel = 0;
    for (; TILE_PANELS > 1 && panel + TILE_PANELS <= panels; panel += TILE_PANELS)
        pointwise_panels(TILE_PANELS, finish, &cut, in, out, panel);
    for (; panel < panels; panel++) pointwise_panels(1, finish, &cut, in, out, panel);
#if TILED
    if (in->tiles) tiles_stay_awake(in->tiles);
#endif
}

/* Panels [panel, end) one at a time: little code, for what runs seldom. */
static ALWAYS_INLINE void pointwise_singly(const pointwise_finish finish, int pixels, int panel,
                                           int end, const pointwise_input *in,
                                           const pointwise_output *out) {
    const tiling cut = tiling_of(pixels, TILE_PIXELS);
    for (; panel < end; panel++) pointwise_panels(1, finish, &cut, in, out, panel);
}

#endif
