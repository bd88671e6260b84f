/* k x k depthwise convolution of one panel, BN folded, and its activation, in two forms.
 *
 *   y[q][c] = f(bias[c] + sum over ky, kx of x[ky][q * stride + kx][c] * w[ky][kx][c])
 *
 * gather    a whole map, from the k input rows under each output row.
 * scatter   one input row into the sums of the output rows under which it lies; the sums begin
 *           at the bias or where the rows before left them, and the complete one is clipped.
 *
 * Both add the same terms in the same order. x rows are [column][16], padding included. Register
 * tile: Q output pixels of one vector (of R output rows, when scattering); each input pixel is
 * loaded once and used by every output that it reaches, and the weights stay in registers from
 * tile to tile as far as there are enough. Bound by FMA. supported.def lists the sizes. */
#ifndef MNV2_DEPTHWISE_H
#define MNV2_DEPTHWISE_H

#include "activation.h"
#include "filtered.h"
#include "numbers.h"
#include "tiling.h"

enum { DEPTHWISE_PIXELS = 8, FUSED_PIXELS = 7, MOST_TAPS = MNV2_MAX_KERNEL * MNV2_MAX_KERNEL };

/* Adds Q pixels' taps of one input row. */
static ALWAYS_INLINE void add_taps(const int Q, const int K, const int S, const float *x,
                                   const vf *weights, vf *acc) {
    UNROLL for (int i = 0; i < (Q - 1) * S + K; i++) {
        const vf value = vf_load(x + i * PANEL);
        UNROLL for (int kx = 0; kx < K; kx++)
            if (i >= kx && (i - kx) % S == 0 && (i - kx) / S < Q)
                acc[(i - kx) / S] = vf_fma(value, weights[kx], acc[(i - kx) / S]);
    }
}

typedef struct {
    const float *x; /* [lines][columns][16] */
    ptrdiff_t line; /* floats from one line to the next */
    const float *w; /* [k][k][16] */
    const float *bias;
    activation *y; /* [rows][pixels][16] */
    int rows, pixels;
    ptrdiff_t y_step; /* where BLOCK_PANELS > 1: values from pixel to pixel of y */
    limits clip;
} gather_map;

/* Pixels [pixel, pixel + tiles * Q) of every output row. */
static ALWAYS_INLINE void gather_tiles(const int Q, const int K, const int S, const gather_map *map,
                                       int pixel, int tiles) {
    const int held = K == 3 && HOLDS_3X3; /* in registers, all taps of it */
    const ptrdiff_t y_step = BLOCK_PANELS > 1 ? map->y_step : PANEL;
    const limits clip = map->clip;
    for (int lane = 0; lane < PANEL; lane += LANES) {
        const vf bias = vf_load(map->bias + lane);
        vf weights[MOST_TAPS];
        if (held) UNROLL for (int i = 0; i < K * K; i++)
            weights[i] = vf_load(map->w + i * PANEL + lane);
        for (int r = 0; r < map->rows; r++) {
            const float *x = map->x + r * S * map->line + (ptrdiff_t)pixel * S * PANEL + lane;
            activation *y = map->y + ((ptrdiff_t)r * map->pixels + pixel) * y_step + lane;
            for (int t = 0; t < tiles; t++, x += Q * S * PANEL, y += Q * y_step) {
                vf acc[DEPTHWISE_PIXELS];
                UNROLL for (int q = 0; q < Q; q++) acc[q] = bias;
                if (held) {
                    UNROLL for (int ky = 0; ky < K; ky++)
                        add_taps(Q, K, S, x + ky * map->line, weights + ky * K, acc);
                } else {
                    for (int ky = 0; ky < K; ky++) {
                        UNROLL for (int kx = 0; kx < K; kx++)
                            weights[kx] = vf_load(map->w + (ky * K + kx) * PANEL + lane);
                        add_taps(Q, K, S, x + ky * map->line, weights, acc);
                    }
                }
                const vf floor = vf_set1(clip.least), top = vf_set1(clip.most);
                UNROLL for (int q = 0; q < Q; q++)
                    vf_to_values(y + q * y_step, vf_clamp(acc[q], floor, top));
            }
        }
    }
}

/* One output row under which the input row lies. */
typedef struct {
    const float *w;    /* [k][16]: the kernel row that meets the input row */
    const float *bias; /* [16]: where the sums begin; or NULL: at `sums` */
    float *sums;       /* [pixels][16]; where they are left, unless the row is complete */
    ptrdiff_t done_step; /* where BLOCK_PANELS > 1: values from pixel to pixel of what is done */
} scatter_row;

/* Where the first of the rows goes if it is complete. */
typedef struct {
    activation *y; /* [pixels][16]; or NULL: it is not */
    limits clip;
    int in_pairs; /* where PAIRED: [pixels / 2][16][2] and an odd last one behind it */
} scatter_done;

#if PAIRED
/* [pixels][16] to pairs, in place. */
static void pair_up(float *y, int pixels) {
    for (int p = 0; p + 1 < pixels; p += 2)
        vf_store_pair(y + p * PANEL, vf_load(y + p * PANEL), vf_load(y + (p + 1) * PANEL));
}
#endif

/* R neighbouring output rows, of which the first is complete and the last begins: what a row
 * inside the map meets at k = 3. The input pixels stay in registers while one output row after
 * the other takes them. */
static ALWAYS_INLINE void scatter_fused(const int Q, const int R, const int K, const int S,
                                        const int in_pairs, const float *x, const scatter_row *rows,
                                        const scatter_done *done, int pixel, int tiles) {
    enum { MOST = (FUSED_PIXELS - 1) * 2 + 3, MOST_ROWS = 3 };
    for (int lane = 0; lane < PANEL; lane += LANES) {
        vf weights[MOST_ROWS][MNV2_MAX_KERNEL];
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int kx = 0; kx < K; kx++)
            weights[r][kx] = vf_load(rows[r].w + kx * PANEL + lane);
        const float *from = x + (ptrdiff_t)pixel * S * PANEL + lane;
        const ptrdiff_t at = (ptrdiff_t)pixel * PANEL + lane;
        const ptrdiff_t y_step = BLOCK_PANELS > 1 ? rows[0].done_step : PANEL;
        activation *y = done->y + (ptrdiff_t)pixel * y_step + lane;
        float *sums[MOST_ROWS];
        UNROLL for (int r = 0; r < R; r++) sums[r] = rows[r].sums + at;
        const float *bias = rows[R - 1].bias + lane;
        for (int t = 0; t < tiles; t++, from += Q * S * PANEL) {
            vf value[MOST];
            UNROLL for (int i = 0; i < (Q - 1) * S + K; i++) value[i] = vf_load(from + i * PANEL);
            UNROLL for (int r = 0; r < R; r++) {
                vf acc[FUSED_PIXELS];
                UNROLL for (int q = 0; q < Q; q++)
                    acc[q] = vf_load(r == R - 1 ? bias : sums[r] + q * PANEL);
                UNROLL for (int kx = 0; kx < K; kx++) UNROLL for (int q = 0; q < Q; q++)
                    acc[q] = vf_fma(value[q * S + kx], weights[r][kx], acc[q]);
                if (r == 0) {
                    const vf floor = vf_late(&done->clip.least), top = vf_late(&done->clip.most);
                    UNROLL for (int q = 0; q < Q; q++) acc[q] = vf_clamp(acc[q], floor, top);
#if PAIRED
                    if (in_pairs)
                        UNROLL for (int q = 0; q + 1 < Q; q += 2)
                            vf_store_pair(y + q * PANEL, acc[q], acc[q + 1]);
                    else
#else
                    (void)in_pairs;
#endif
                        UNROLL for (int q = 0; q < Q; q++) vf_to_values(y + q * y_step, acc[q]);
                    y += Q * y_step;
                } else {
                    UNROLL for (int q = 0; q < Q; q++) vf_store(sums[r] + q * PANEL, acc[q]);
                }
                sums[r] += Q * PANEL;
            }
        }
    }
}

/* Any one output row. */
static ALWAYS_INLINE void scatter_one(const int Q, const int K, const int S, const float *x,
                                      const scatter_row *row, const scatter_done *done, int pixel,
                                      int tiles) {
    const limits clip = done->clip;
    activation *const y = done->y;
    for (int lane = 0; lane < PANEL; lane += LANES) {
        vf weights[MNV2_MAX_KERNEL];
        UNROLL for (int kx = 0; kx < K; kx++) weights[kx] = vf_load(row->w + kx * PANEL + lane);
        const float *from = x + (ptrdiff_t)pixel * S * PANEL + lane;
        ptrdiff_t at = (ptrdiff_t)pixel * PANEL + lane;
        const ptrdiff_t y_step = BLOCK_PANELS > 1 ? row->done_step : PANEL;
        for (int t = 0; t < tiles; t++, from += Q * S * PANEL, at += Q * PANEL) {
            float *sums = row->sums + at;
            vf acc[DEPTHWISE_PIXELS];
            if (row->bias) {
                UNROLL for (int q = 0; q < Q; q++) acc[q] = vf_load(row->bias + lane);
            } else {
                UNROLL for (int q = 0; q < Q; q++) acc[q] = vf_load(sums + q * PANEL);
            }
            add_taps(Q, K, S, from, weights, acc);
            if (y) {
                const vf floor = vf_set1(clip.least), top = vf_set1(clip.most);
                activation *to = BLOCK_PANELS > 1 ? y + at / PANEL * y_step + lane : y + at;
                UNROLL for (int q = 0; q < Q; q++)
                    vf_to_values(to + q * y_step, vf_clamp(acc[q], floor, top));
            } else {
                UNROLL for (int q = 0; q < Q; q++) vf_store(sums + q * PANEL, acc[q]);
            }
        }
    }
}

/* CALL(Q) for the tiles of size Q, of the longer and then of the shorter ones. */
#define DEPTHWISE_CASE(Q)                 \
    case Q:                               \
        CALL(Q, pixel, tiles);            \
        break;

#define FOR_EACH_TILE_SIZE(pixels, most)                                                     \
    const tiling cut = tiling_of(pixels, most);                                               \
    for (int longer = cut.longer > 0, pixel = 0; longer >= 0; longer--) {                    \
        const int tiles = longer ? cut.longer : cut.tiles - cut.longer;                      \
        switch (cut.size + longer) {                                                         \
            DEPTHWISE_CASE(1)                                                                \
            DEPTHWISE_CASE(2)                                                                \
            DEPTHWISE_CASE(3)                                                                \
            DEPTHWISE_CASE(4)                                                                \
            DEPTHWISE_CASE(5)                                                                \
            DEPTHWISE_CASE(6)                                                                \
            DEPTHWISE_CASE(7)                                                                \
            DEPTHWISE_CASE(8)                                                                \
        }                                                                                    \
        pixel += tiles * (cut.size + longer);                                                \
    }

#define CALL(Q, pixel, tiles) gather_tiles(Q, K, S, map, pixel, tiles)
static ALWAYS_INLINE void gather_pixels(const int K, const int S, const gather_map *map) {
    FOR_EACH_TILE_SIZE(map->pixels, DEPTHWISE_PIXELS)
}
#undef CALL

static void gather(int kernel, int stride, const gather_map *map) {
#define DEPTHWISE(K, S, dilation) \
    if (kernel == K && stride == S) gather_pixels(K, S, map);
#include "supported.def"
#undef DEPTHWISE
}

#define CALL(Q, pixel, tiles) scatter_one(Q, K, S, x, row, done, pixel, tiles)
static ALWAYS_INLINE void scatter_row_pixels(const int K, const int S, const float *x,
                                             const scatter_row *row, const scatter_done *done,
                                             int pixels) {
    FOR_EACH_TILE_SIZE(pixels, DEPTHWISE_PIXELS)
}
#undef CALL

#define CALL(Q, pixel, tiles) \
    if (Q <= FUSED_PIXELS)    \
    scatter_fused(Q <= FUSED_PIXELS ? Q : 1, R, 3, S, 0, x, rows, done, pixel, tiles)
static ALWAYS_INLINE void scatter_fused_pixels(const int R, const int S, const float *x,
                                               const scatter_row *rows,
                                               const scatter_done *done, int pixels) {
    FOR_EACH_TILE_SIZE(pixels, FUSED_PIXELS)
}
#undef CALL

#if PAIRED
/* An even number of pixels. */
static ALWAYS_INLINE void scatter_fused_pairs(const int R, const int S, const float *x,
                                              const scatter_row *rows, const scatter_done *done,
                                              int pixels) {
    const tiling cut = tiling_of(pixels / 2, FUSED_PIXELS / 2);
    for (int longer = cut.longer > 0, pixel = 0; longer >= 0; longer--) {
        const int pairs = cut.size + longer, tiles = longer ? cut.longer : cut.tiles - cut.longer;
        if (pairs == 1) scatter_fused(2, R, 3, S, 1, x, rows, done, pixel, tiles);
        if (pairs == 2) scatter_fused(4, R, 3, S, 1, x, rows, done, pixel, tiles);
        if (pairs == 3) scatter_fused(6, R, 3, S, 1, x, rows, done, pixel, tiles);
        pixel += tiles * pairs * 2;
    }
}
#endif

static void scatter_row_of(int kernel, int stride, const float *x, const scatter_row *row,
                           const scatter_done *done, int pixels) {
#define DEPTHWISE(K, S, dilation) \
    if (kernel == K && stride == S) scatter_row_pixels(K, S, x, row, done, pixels);
#include "supported.def"
#undef DEPTHWISE
}

/* `count` output rows, ascending; the first of them is complete if `done` has a place for it. */
static void scatter(int kernel, int stride, const float *x, const scatter_row *rows, int count,
                    const scatter_done *done, int pixels) {
    /* With enough registers, all rows of a 3x3 kernel at once. */
    if (HOLDS_3X3 && kernel == 3 && count == 4 - stride && done->y && !rows[0].bias &&
        rows[count - 1].bias && (count == 2 || !rows[1].bias)) {
#if PAIRED
        if (done->in_pairs && pixels % 2 == 0) {
            if (stride == 1)
                scatter_fused_pairs(3, 1, x, rows, done, pixels);
            else
                scatter_fused_pairs(2, 2, x, rows, done, pixels);
            return;
        }
#endif
        if (stride == 1)
            scatter_fused_pixels(3, 1, x, rows, done, pixels);
        else
            scatter_fused_pixels(2, 2, x, rows, done, pixels);
    } else {
        const scatter_done not_yet = {.y = NULL};
        for (int r = 0; r < count; r++)
            scatter_row_of(kernel, stride, x, rows + r, r == 0 ? done : &not_yet, pixels);
    }
#if PAIRED
    if (done->in_pairs && done->y) pair_up(done->y, pixels);
#endif
}

/* An output row that ends below the map: no taps, only the activation. */
static void finish_row(const scatter_row *row, const scatter_done *done, int pixels) {
    const vf floor = vf_set1(done->clip.least), top = vf_set1(done->clip.most);
    for (int i = 0; i < pixels * PANEL; i += LANES) {
        const vf sums = vf_load(row->bias ? row->bias + i % PANEL : row->sums + i);
        activation *y = BLOCK_PANELS > 1 ? done->y + i / PANEL * row->done_step + i % PANEL
                                         : done->y + i;
        vf_to_values(y, vf_clamp(sums, floor, top));
    }
#if PAIRED
    if (done->in_pairs) pair_up(done->y, pixels);
#endif
}

#endif
