/* The 1x1 convolution of ../pointwise.h in tile registers, in bfloat16. Its sums are rounded in an
 * order of its own (docs/bfloat16.md): a tile's row holds 32 terms, from which two chains of
 * fused multiply-adds begin at zero, one of the even terms and one of the odd; their sum is added
 * to what the tiles before left. Hidden channels are cut at multiples of 32, by every schedule.
 * What a depthwise layer has left is read in blocks of two panels, [pixel][64 bytes].
 *
 * An odd number of input channels is left to the vectors: behind the last one of a pixel may lie
 * what is no number, and zero times that is none. The stem's nine taps have a tenth whose weight
 * is zero, and whose value is a pixel or zero (stem.h). */
#ifndef MNV2_AMX_POINTWISE_BFLOAT16_H
#define MNV2_AMX_POINTWISE_BFLOAT16_H

#include "product.h"

static ALWAYS_INLINE int takes_tiles(const pointwise_input *in) {
    return in->is_blocked || in->segment < in->depth || in->depth % PAIR == 0;
}

/* Rows [done, rows) of a C tile, which is at `c`, become the output from pixel `pixel` + done on. */
static ALWAYS_INLINE void finish_tile(const pointwise_finish finish, const pointwise_output *out,
                                      const float *c, int pixel, int done, int rows, int panel) {
    const limits clip = limits_of(out->activation);
    const vf floor = vf_set1(clip.least), top = vf_set1(clip.most);
    const int first = panel * PANEL, lanes = least(out->channels - first, PANEL);
    const ptrdiff_t to = out->channels, at = pixel * to + first;
    if (finish == TO_PANELS) {
        float *y = out->y + panel * out->panel_step + pixel * PANEL;
        for (int p = done; p < rows; p++)
            vf_store(y + p * PANEL, vf_clamp(vf_load(c + p * PANEL), floor, top));
    } else if (finish == TO_POOL) {
        float *y = out->y + first;
        vf sum = vf_load(y);
        for (int p = done; p < rows; p++)
            sum = vf_add(sum, vf_clamp(vf_load(c + p * PANEL), floor, top));
        vf_store(y, sum);
    } else if (out->unfinished) {
        float *sums = out->unfinished + at;
        for (int p = done; p < rows; p++)
            vf_store_part(sums + p * to, vf_load(c + p * PANEL), lanes);
    } else if (out->residual) {
        const ptrdiff_t from = out->residual_pixel_step;
        const activation *r =
            out->residual + pixel * from + panel * out->residual_panel_step;
        for (int p = done; p < rows; p++) {
            const vf sum = vf_load(c + p * PANEL);
            vf_to_values_part(out->thin + at + p * to,
                              vf_add(sum, vf_from_values_part(r + p * from, lanes)), lanes);
        }
    } else {
        for (int p = done; p < rows; p++) {
            const vf sum = vf_load(c + p * PANEL);
            vf_to_values_part(out->thin + at + p * to,
                              out->activation == MNV2_LINEAR ? sum : vf_clamp(sum, floor, top),
                              lanes);
        }
    }
}

/* Rows of sums, of which only `lanes` are there, as a whole C tile's. */
static ALWAYS_INLINE void widen_sums(float *c, const float *sums, ptrdiff_t step, int rows,
                                     int lanes) {
    for (int p = 0; p < rows; p++) vf_store(c + p * PANEL, vf_load_part(sums + p * step, lanes));
    tiles_order();
}

/* P tiles from pixels `first` and `second` on, of N panels; of the last of them `done` rows are. */
static ALWAYS_INLINE void pointwise_tiles(const int P, const int N, const pointwise_finish finish,
                                          const pointwise_input *in, const pointwise_output *out,
                                          const tile_input *tiles, const tile_cut *cut, int first,
                                          int second, int done, int panel) {
    float c[MOST_TILES][TILE_SUMS] __attribute__((aligned(64)));
    const float *bias = in->bias + panel * PANEL;
    const int rows = cut->rows;
    if (finish == TO_CHANNELS && out->begin) {
        const ptrdiff_t step = out->channels;
        const float *sums = out->begin + panel * PANEL;
#define BEGIN_AT_SUMS(t, p, n)                                                         \
    {                                                                                  \
        const float *from = sums + (n) * PANEL + (p ? second : first) * step;          \
        const int lanes = out->channels - (panel + (n)) * PANEL;                       \
        if (lanes < PANEL) widen_sums(c[t], from, step, rows, lanes);                  \
        TILE_LOAD(t, lanes < PANEL ? c[t] : from,                                      \
                  lanes < PANEL ? TILE_BYTES : step * (ptrdiff_t)sizeof(float));       \
    }
        FOR_C_TILES(BEGIN_AT_SUMS)
    } else {
#define BEGIN_AT_BIAS(t, p, n) TILE_LOAD(t, bias + (n) * PANEL, 0);
        FOR_C_TILES(BEGIN_AT_BIAS)
    }
    tile_products(P, N, PANEL * sizeof(activation), tiles, first + in->first, second + in->first,
                  panel);
#define STORE(t, p, n) TILE_STORE(t, c[t], TILE_BYTES);
    FOR_C_TILES(STORE)
#define FINISH(t, p, n)                                                          \
    finish_tile(finish, out, c[t], p ? second : first, p + 1 == P ? done : 0, rows, \
                panel + (n));
    FOR_C_TILES(FINISH)
}

static ALWAYS_INLINE void pointwise_in_tiles(const pointwise_finish finish, int pixels, int panels,
                                             const pointwise_input *in,
                                             const pointwise_output *out) {
    enum { BYTES = sizeof(activation) };
    const int blocked = in->is_blocked;
    const int segments = in->segment < in->depth && !blocked ? in->depth / in->segment : 1;
    const int segment = stored_terms(least(in->segment, in->depth)) * BYTES;
    const tile_input tiles = {
        .x = (const char *)in->x,
        .step = blocked ? 0 : in->pixel_step * BYTES,
        .segment_step = in->segment_step * (blocked ? BLOCK_PANELS : 1) * BYTES,
        .segment = blocked ? TILE_BYTES : segment,
        .depth = blocked ? stored_terms(in->depth) * BYTES : segments * segment,
        .w = (const char *)in->w,
        .panel_step = in->panel_step * BYTES,
    };
    const tile_cut cut = tiles_for(in->tiles, &tiles, pixels);
#define TILES(P, N) \
    pointwise_tiles(P, N, finish, in, out, &tiles, &cut, first, second, done, panel);
    FOR_TILES_AND_PANELS(cut, panels, TILES)
#undef TILES
}

#endif
