/* k x k depthwise convolution of one panel, BN folded, and its ReLU6, in two forms.
 *
 *   y[q][c] = relu6(bias[c] + sum over ky, kx of x[ky][q * stride + kx][c] * w[ky][kx][c])
 *
 * gather    a whole output row at once, from the k input rows under it.
 * scatter   one input row into the sums of the output rows under which it lies; the sums begin
 *           at the bias or where the rows before left them, and the complete one is clipped.
 *
 * Both add the same terms in the same order. x rows are [column][16], padding included. Register
 * tile: Q output pixels of one vector (of R output rows, when scattering); each input pixel is
 * loaded once and used by every output that it reaches. Bound by FMA for k = 5, by loads, stores
 * and FMA alike for k = 3. */
#ifndef MNV2_DEPTHWISE_H
#define MNV2_DEPTHWISE_H

#include "mnv2.h"
#include "simd.h"

enum { GATHER_PIXELS = 8, SCATTER_PIXELS = SCATTER_ROWS > 1 ? 14 : 8, FUSED_PIXELS = 7 };

typedef struct {
    const float *x[MNV2_MAX_KERNEL]; /* the k rows under the output, top first */
    const float *w;                  /* [k][k][16] */
    const float *bias;               /* [16] */
} gather_input;

static ALWAYS_INLINE void gather_tile(const int Q, const int K, const int S,
                                      const gather_input *in, float *y, int pixel) {
    for (int lane = 0; lane < PANEL; lane += LANES) {
        vf acc[GATHER_PIXELS];
        const vf bias = vf_load(in->bias + lane);
        UNROLL for (int q = 0; q < Q; q++) acc[q] = bias;
        for (int ky = 0; ky < K; ky++) {
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

/* One output row under which the input row lies. */
typedef struct {
    const float *w;       /* [k][16]: the kernel row that meets the input row */
    const float *start;   /* [pixels][16], or the bias: */
    ptrdiff_t start_step; /* floats between the sums of two pixels: PANEL, or 0 */
    float *y;             /* [pixels][16]; may be `start` */
} scatter_row;

/* R neighbouring output rows, the first of which may be complete. The input pixels stay in
 * registers while one output row after the other takes them. */
static ALWAYS_INLINE void scatter_tile(const int Q, const int R, const int K, const int S,
                                       const float *x, const scatter_row *rows, int finish,
                                       int pixel) {
    enum { MOST = (FUSED_PIXELS - 1) * 2 + MNV2_MAX_KERNEL };
    for (int lane = 0; lane < PANEL; lane += LANES) {
        const float *from = x + (ptrdiff_t)pixel * S * PANEL + lane;
        vf value[MOST];
        if (R > 1) UNROLL for (int i = 0; i < (Q - 1) * S + K; i++)
            value[i] = vf_load(from + i * PANEL);
        UNROLL for (int r = 0; r < R; r++) {
            const float *start = rows[r].start + pixel * rows[r].start_step + lane;
            float *y = rows[r].y + pixel * PANEL + lane;
            vf acc[SCATTER_PIXELS], weight[MNV2_MAX_KERNEL];
            UNROLL for (int q = 0; q < Q; q++) acc[q] = vf_load(start + q * rows[r].start_step);
            UNROLL for (int kx = 0; kx < K; kx++)
                weight[kx] = vf_load(rows[r].w + kx * PANEL + lane);
            UNROLL for (int i = 0; i < (Q - 1) * S + K; i++) {
                const vf at = R > 1 ? value[i] : vf_load(from + i * PANEL);
                UNROLL for (int kx = 0; kx < K; kx++)
                    if (i >= kx && (i - kx) % S == 0 && (i - kx) / S < Q)
                        acc[(i - kx) / S] = vf_fma(at, weight[kx], acc[(i - kx) / S]);
            }
            if (r == 0 && finish) {
                const vf zero = vf_late(0.0f), six = vf_late(6.0f);
                UNROLL for (int q = 0; q < Q; q++) acc[q] = vf_clamp(acc[q], zero, six);
            }
            UNROLL for (int q = 0; q < Q; q++) vf_store(y + q * PANEL, acc[q]);
        }
    }
}

#define GATHER_CASE(Q)                      \
    case Q:                                 \
        gather_tile(Q, K, S, in, y, pixel); \
        break;

#define SCATTER_CASE(Q)                                    \
    case Q:                                                \
        scatter_tile(Q, R, K, S, x, rows, finish, pixel); \
        break;

static ALWAYS_INLINE void gather_pixels(const int K, const int S, const gather_input *in, float *y,
                                        int pixels) {
    const int tiles = (pixels + GATHER_PIXELS - 1) / GATHER_PIXELS;
    for (int tile = 0, pixel = 0; tile < tiles; tile++) {
        const int size = (pixels - pixel + tiles - tile - 1) / (tiles - tile);
        switch (size) {
            GATHER_CASE(1)
            GATHER_CASE(2)
            GATHER_CASE(3)
            GATHER_CASE(4)
            GATHER_CASE(5)
            GATHER_CASE(6)
            GATHER_CASE(7)
            GATHER_CASE(8)
        }
        pixel += size;
    }
}

/* y: [pixels][16]. */
static void gather(int kernel, int stride, const gather_input *in, float *y, int pixels) {
    if (kernel == 3 && stride == 1)
        gather_pixels(3, 1, in, y, pixels);
    else if (kernel == 3)
        gather_pixels(3, 2, in, y, pixels);
    else if (stride == 1)
        gather_pixels(5, 1, in, y, pixels);
    else
        gather_pixels(5, 2, in, y, pixels);
}

static ALWAYS_INLINE void scatter_pixels(const int R, const int K, const int S, const float *x,
                                         const scatter_row *rows, int finish, int pixels) {
    const int most = R > 1 ? FUSED_PIXELS : SCATTER_PIXELS;
    const int tiles = (pixels + most - 1) / most;
    for (int tile = 0, pixel = 0; tile < tiles; tile++) {
        const int size = (pixels - pixel + tiles - tile - 1) / (tiles - tile);
        switch (size) {
            SCATTER_CASE(1)
            SCATTER_CASE(2)
            SCATTER_CASE(3)
            SCATTER_CASE(4)
            SCATTER_CASE(5)
            SCATTER_CASE(6)
            SCATTER_CASE(7)
        }
        if (R == 1) switch (size) {
            SCATTER_CASE(8)
#if SCATTER_ROWS > 1
            SCATTER_CASE(9)
            SCATTER_CASE(10)
            SCATTER_CASE(11)
            SCATTER_CASE(12)
            SCATTER_CASE(13)
            SCATTER_CASE(14)
#endif
        }
        pixel += size;
    }
}

/* `count` output rows, ascending; `finish`: the first of them is complete. */
static void scatter(int kernel, int stride, const float *x, const scatter_row *rows, int count,
                    int finish, int pixels) {
#if SCATTER_ROWS > 1 /* enough registers to take all rows of a 3x3 kernel at once */
    if (kernel == 3 && count == 3) {
        scatter_pixels(3, 3, 1, x, rows, finish, pixels);
        return;
    }
    if (kernel == 3 && stride == 2 && count == 2) {
        scatter_pixels(2, 3, 2, x, rows, finish, pixels);
        return;
    }
#endif
    for (int r = 0; r < count; r++, finish = 0) {
        if (kernel == 3 && stride == 1)
            scatter_pixels(1, 3, 1, x, rows + r, finish, pixels);
        else if (kernel == 3)
            scatter_pixels(1, 3, 2, x, rows + r, finish, pixels);
        else if (stride == 1)
            scatter_pixels(1, 5, 1, x, rows + r, finish, pixels);
        else
            scatter_pixels(1, 5, 2, x, rows + r, finish, pixels);
    }
}

/* An output row that ends below the map: no taps, only the clip. */
static void finish_row(const scatter_row *row, int pixels) {
    const vf zero = vf_set1(0.0f), six = vf_set1(6.0f);
    for (int i = 0; i < pixels * PANEL; i += LANES)
        vf_store(row->y + i, vf_clamp(vf_load(row->start + i), zero, six));
}

#endif
