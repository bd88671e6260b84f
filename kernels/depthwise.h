/* k x k depthwise convolution, BN folded, ReLU6: one output row of one panel.
 *
 *   y[q][c] = relu6(bias[c] + sum over ky, kx of x[ky][q * stride + kx][c] * w[ky][kx][c])
 *
 * x rows are [column][16] with their zero padding stored; rows outside the map are left out
 * (`taps` rows are given, with w at the first of them). Register tile: Q output pixels of one
 * vector; each input pixel is loaded once a row and used by every output that it reaches.
 * Bound by FMA for k = 5, by loads and FMA alike for k = 3. */
#ifndef MNV2_DEPTHWISE_H
#define MNV2_DEPTHWISE_H

#include "mnv2.h"
#include "simd.h"

#define DEPTHWISE_PIXELS 8

typedef struct {
    const float *x[MNV2_MAX_KERNEL]; /* the rows under the kernel, top first */
    int taps;                        /* how many of them there are */
    const float *w;                  /* [taps][k][16] */
    const float *bias;               /* [16] */
} depthwise_input;

static ALWAYS_INLINE void depthwise_tile(const int Q, const int K, const int S,
                                         const depthwise_input *in, float *y, int pixel) {
    for (int v = 0; v < VECTORS; v++) {
        const int lane = v * LANES;
        vf acc[DEPTHWISE_PIXELS];
        const vf bias = vf_load(in->bias + lane);
        UNROLL for (int q = 0; q < Q; q++) acc[q] = bias;
        for (int ky = 0; ky < in->taps; ky++) {
            const float *x = in->x[ky] + (ptrdiff_t)pixel * S * PANEL + lane;
            const float *w = in->w + ky * K * PANEL + lane;
            vf weight[MNV2_MAX_KERNEL];
            UNROLL for (int kx = 0; kx < K; kx++) weight[kx] = vf_load(w + kx * PANEL);
            UNROLL for (int i = 0; i < (Q - 1) * S + K; i++) {
                const vf value = vf_load(x + i * PANEL);
                UNROLL for (int kx = 0; kx < K; kx++)
                    if (i >= kx && (i - kx) % S == 0 && (i - kx) / S < Q)
                        acc[(i - kx) / S] = vf_fma(value, weight[kx], acc[(i - kx) / S]);
            }
        }
        const vf zero = vf_set1(0.0f), six = vf_set1(6.0f);
        UNROLL for (int q = 0; q < Q; q++)
            vf_store(y + (pixel + q) * PANEL + lane, vf_clamp(acc[q], zero, six));
    }
}

#define DEPTHWISE_CASE(Q)                        \
    case Q:                                      \
        depthwise_tile(Q, K, S, in, y, pixel);   \
        break;

static ALWAYS_INLINE void depthwise_pixels(const int K, const int S, const depthwise_input *in,
                                           float *y, int pixels) {
    const int tiles = (pixels + DEPTHWISE_PIXELS - 1) / DEPTHWISE_PIXELS;
    for (int tile = 0, pixel = 0; tile < tiles; tile++) {
        const int size = (pixels - pixel + tiles - tile - 1) / (tiles - tile);
        switch (size) {
            DEPTHWISE_CASE(1)
            DEPTHWISE_CASE(2)
            DEPTHWISE_CASE(3)
            DEPTHWISE_CASE(4)
            DEPTHWISE_CASE(5)
            DEPTHWISE_CASE(6)
            DEPTHWISE_CASE(7)
            DEPTHWISE_CASE(8)
        }
        pixel += size;
    }
}

/* One output row of one panel: y is [pixels][16]. */
static void depthwise_row(int kernel, int stride, const depthwise_input *in, float *y,
                          int pixels) {
    if (kernel == 3 && stride == 1)
        depthwise_pixels(3, 1, in, y, pixels);
    else if (kernel == 3)
        depthwise_pixels(3, 2, in, y, pixels);
    else if (stride == 1)
        depthwise_pixels(5, 1, in, y, pixels);
    else
        depthwise_pixels(5, 2, in, y, pixels);
}

#endif
