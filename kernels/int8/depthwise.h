/* k x k depthwise convolution of one panel, 8 bits.
 *
 *   acc[q][c] = bias[c] + sum over ky, kx of x[ky][q * stride + kx][c] * w[ky][kx][c]
 *   y[q][c]   = acc as 8 bits                                  docs/int8.md
 *
 * x rows are [column][16], padding included. A window is four neighbouring pixels, transposed so
 * that each channel has its four bytes together, and one dot product takes them all; windows begin
 * at even pixels and serve two outputs of stride 1, whose weights are shifted by a byte:
 *
 *   k = 3   output 0: (w0 w1 w2 .)            output 1: (. w0 w1 w2)
 *   k = 5   output 0: (w0 w1 w2 w3) (. . w4 .)   output 1: (. w0 w1 w2) (. . w3 w4)
 *   k = 7   output 0: (w0 w1 w2 w3) (w4 w5 w6 .)  output 1: (. w0 w1 w2) (w3 w4 w5 w6)
 *
 * the second bracket being the next window's, or at k = 7 the one's after it. Weights stay in
 * registers from quad to quad as far as there are enough. Up to MNV2_OVERREAD bytes behind the last
 * pixel are read, and unused. ../supported.def lists the sizes. */
#ifndef MNV2_INT8_DEPTHWISE_H
#define MNV2_INT8_DEPTHWISE_H

#include "../filtered.h"
#include "../mnv2.h"
#include "simd.h"

typedef struct {
    const uint8_t *x[MNV2_MAX_KERNEL]; /* input rows under the first output row: [column][16] */
    ptrdiff_t line;                    /* bytes from these to those under the next output row */
    const int8_t *w;                   /* [k][k][16] */
    const int32_t *requantise;         /* [2][16] */
    int fraction;
    uint8_t *y; /* [rows][pixels][16] */
    int rows, pixels;
    ptrdiff_t y_step; /* where BLOCK_PANELS > 1: bytes from pixel to pixel of y */
} depthwise_map;

enum { WINDOW_STEP = 2, MOST_WINDOWS = 6 }; /* pixels from one window to the next; of a quad */

/* Weights of a kernel row in the places of a window: the taps of this one, or of that `ahead`
 * windows further on, those that this one lacks. */
static ALWAYS_INLINE vi window_weights(const int K, const int ahead, const int shift,
                                       const int8_t *row, int lane) {
    vi all = {0};
    UNROLL for (int kx = 0; kx < K; kx++) {
        const int at = kx + shift - ahead * WINDOW_STEP;
        if (at < 0 || at > 3 || (ahead && kx + shift < 4)) continue;
        all = vi_or(all, vi_shift_left(vi_from_u8(row + kx * PANEL + lane), 8 * at));
    }
    return all;
}

static ALWAYS_INLINE void depthwise_pixels(const int K, const int S, const depthwise_map *map) {
    enum { V = VECTORS };
    const int NEXT = K > 3;                       /* windows that an output needs, less one */
    const int AHEAD = K > 5 ? 2 : NEXT;           /* how far on that is */
    const int WINDOWS = (S == 1 ? 2 : 4) + AHEAD; /* of a quad */
    vw weight[MNV2_MAX_KERNEL][2][2][V]; /* [ky][this or the further window][even or odd output] */
    vi bias[V];
    UNROLL for (int v = 0; v < V; v++) {
        bias[v] = vi_load(map->requantise + v * LANES);
        UNROLL for (int ky = 0; ky < K; ky++) {
            const int8_t *row = map->w + ky * K * PANEL;
            const vi even = window_weights(K, 0, 0, row, v * LANES);
            weight[ky][0][0][v] = vw_from(even);
            if (S == 1) weight[ky][0][1][v] = vw_from(vi_shift_left(even, 8));
            if (NEXT) UNROLL for (int odd = 0; odd < 3 - S; odd++)
                weight[ky][1][odd][v] = vw_from(window_weights(K, AHEAD, odd, row, v * LANES));
            if (SIGNED_INPUTS) UNROLL for (int n = 0; n <= NEXT; n++)
                bias[v] = vi_amend(bias[v], weight[ky][n][0][v]);
        }
    }
    const scaling s = scaling_load(map->requantise + PANEL, map->fraction);
    const ptrdiff_t y_step = BLOCK_PANELS > 1 ? map->y_step : PANEL;
    for (int r = 0; r < map->rows; r++) {
        uint8_t *y = map->y + (ptrdiff_t)r * map->pixels * y_step;
        for (int q = 0; q < map->pixels; q += 4) {
            const ptrdiff_t at = r * map->line + (ptrdiff_t)q * S * PANEL;
            vi acc[4][V];
            UNROLL for (int i = 0; i < 4; i++) UNROLL for (int v = 0; v < V; v++)
                acc[i][v] = bias[v];
            UNROLL for (int ky = 0; ky < K; ky++) {
                vx_of_window window[MOST_WINDOWS][V];
                const uint8_t *x = map->x[ky] + at;
                UNROLL for (int i = 0; i < WINDOWS; i++)
                    vx_window(x + i * WINDOW_STEP * PANEL, window[i]);
                UNROLL for (int i = 0; i < 4; i++) UNROLL for (int n = 0; n <= NEXT; n++)
                    UNROLL for (int v = 0; v < V; v++)
                        acc[i][v] = vi_dot_window(acc[i][v], window[i * S / 2 + n * AHEAD][v],
                                                  weight[ky][n][S == 1 ? i % 2 : 0][v]);
            }
#if BLOCK_PANELS == 1
            quad_store(y + q * PANEL, quad_scale(acc, &s), least(4, map->pixels - q));
#else
            quad_store_apart(y + q * y_step, y_step, quad_scale(acc, &s),
                             least(4, map->pixels - q));
#endif
        }
    }
}

static void depthwise(int kernel, int stride, const depthwise_map *map) {
#define DEPTHWISE(K, S, dilation) \
    if (kernel == K && stride == S) depthwise_pixels(K, S, map);
#include "../supported.def"
#undef DEPTHWISE
}

#endif
