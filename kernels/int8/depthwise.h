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
 *
 * the second bracket being the next window's. Weights stay in registers from quad to quad as far
 * as there are enough. Up to MNV2_OVERREAD bytes behind the last pixel are read, and unused. */
#ifndef MNV2_INT8_DEPTHWISE_H
#define MNV2_INT8_DEPTHWISE_H

#include "../mnv2.h"
#include "simd.h"

typedef struct {
    const uint8_t *rows[MNV2_MAX_KERNEL]; /* the k input rows under the output row: [column][16] */
    const int8_t *w;                      /* [k][k][16] */
    const int32_t *requantise;            /* [2][16] */
    int fraction;
    uint8_t *y; /* [pixels][16] */
    int pixels;
} depthwise_row;

/* Weights of kernel row ky in the four places of a window: tap 0 at `shift` (0 or 1), or the taps
 * of the next window. */
static ALWAYS_INLINE vi window_weights(const int K, const int next, const int shift,
                                       const int8_t *row, int lane) {
    vi all = {0};
    UNROLL for (int kx = 0; kx < K; kx++) {
        const int at = kx + shift - (next ? 2 : 0);
        if (at < 0 || at > 3 || (next && kx + shift < 4)) continue;
        all = vi_or(all, vi_shift_left(vi_from_u8(row + kx * PANEL + lane), 8 * at));
    }
    return all;
}

static ALWAYS_INLINE void depthwise_pixels(const int K, const int S, const depthwise_row *row) {
    enum { V = VECTORS, MOST_WINDOWS = 5 };
    const int NEXT = K > 3;                            /* windows that an output needs, less one */
    const int STEP = 2, WINDOWS = (S == 1 ? 2 : 4) + NEXT; /* of a quad */
    vw weight[MNV2_MAX_KERNEL][2][2][V]; /* [ky][this or next window][even or odd output] */
    vi bias[V];
    UNROLL for (int v = 0; v < V; v++) {
        bias[v] = vi_load(row->requantise + v * LANES);
        UNROLL for (int ky = 0; ky < K; ky++) UNROLL for (int n = 0; n <= NEXT; n++)
            UNROLL for (int odd = 0; odd < 3 - S; odd++)
                weight[ky][n][odd][v] =
                    vw_from(window_weights(K, n, odd, row->w + ky * K * PANEL, v * LANES));
    }
    const scaling s = scaling_load(row->requantise + PANEL, row->fraction);
    for (int q = 0; q < row->pixels; q += 4) {
        vi acc[4][V];
        UNROLL for (int i = 0; i < 4; i++) UNROLL for (int v = 0; v < V; v++) acc[i][v] = bias[v];
        UNROLL for (int ky = 0; ky < K; ky++) {
            vx window[MOST_WINDOWS][V];
            const uint8_t *x = row->rows[ky] + (ptrdiff_t)q * S * PANEL;
            UNROLL for (int i = 0; i < WINDOWS; i++) vx_window(x + i * STEP * PANEL, window[i]);
            UNROLL for (int i = 0; i < 4; i++) UNROLL for (int n = 0; n <= NEXT; n++)
                UNROLL for (int v = 0; v < V; v++)
                    acc[i][v] = vi_dot(acc[i][v], window[i * S / 2 + n][v],
                                       weight[ky][n][S == 1 ? i % 2 : 0][v]);
        }
        quad_store(row->y + q * PANEL, quad_scale(acc, &s), least(4, row->pixels - q));
    }
}

static void depthwise(int kernel, int stride, const depthwise_row *row) {
    if (kernel == 3 && stride == 1)
        depthwise_pixels(3, 1, row);
    else if (kernel == 3)
        depthwise_pixels(3, 2, row);
    else if (stride == 1)
        depthwise_pixels(5, 1, row);
    else
        depthwise_pixels(5, 2, row);
}

#endif
