/* The 1x1 convolution of ../int8/pointwise.h in tile registers: the same bits, since sums of
 * integers have no order. What a depthwise layer has left is read in blocks of four panels,
 * [pixel][64 bytes], which fill a tile's rows.
 *
 * Where depth is below SHALLOW the vectors are as fast: a tile costs 8.7 ns to begin and end. */
#ifndef MNV2_AMX_POINTWISE_INT8_H
#define MNV2_AMX_POINTWISE_INT8_H

#include "product.h"

enum { SHALLOW_GROUPS = 6 };

static ALWAYS_INLINE int takes_tiles(const pointwise_input *in) {
    return in->is_blocked || (in->segment == in->groups && in->groups >= SHALLOW_GROUPS);
}

/* Rows [done, rows) of a C tile, which is at `c`, become the output from pixel `pixel` + done on. */
static ALWAYS_INLINE void finish_tile(const pointwise_finish finish, const pointwise_input *in,
                                      const pointwise_output *out, const int32_t *c, int pixel,
                                      int done, int rows, int panel) {
    if (finish == TO_SUMS) {
        int32_t *sums = out->sums + panel * out->panel_step + pixel * PANEL;
        for (int p = done; p < rows; p++) vi_store(sums + p * PANEL, vi_load(c + p * PANEL));
        return;
    }
    const int32_t *row = in->requantise + (panel * 2 + 1) * PANEL;
    const scaling s = scaling_load(row, in->fraction);
    for (int p = done; p < rows; p += 4) {
        const int pixels = least(rows - p, 4);
        vi four[4][1];
        UNROLL for (int i = 0; i < 4; i++) /* c has room for four rows more */
            four[i][0] = vi_load(c + (p + i) * PANEL);
        if (finish == TO_PANELS) {
            uint8_t *y = out->y + panel * out->panel_step + (pixel + p) * PANEL;
            quad_store(y, quad_scale(four, &s), pixels);
        } else if (finish == TO_POOL) {
            int32_t *pooled = out->sums + panel * PANEL;
            const panel_sums added = quad_sum(quad_scale(four, &s), pixels);
            vi_store(pooled, vi_add(vi_load(pooled), added.sums[0]));
        } else {
            const int first = panel * PANEL, lanes = least(out->channels - first, PANEL);
            uint8_t *y = out->y + (ptrdiff_t)(pixel + p) * out->channels + first;
            quad made;
            if (out->shortcut) {
                const ptrdiff_t from = out->shortcut_pixel_step;
                const uint8_t *x =
                    out->shortcut + (pixel + p) * from + panel * out->shortcut_panel_step;
                const uint8_t *at[4];
                UNROLL for (int i = 0; i < 4; i++) at[i] = x + (i < pixels ? i : pixels - 1) * from;
                made = quad_scale_add(four, &s, at, out->shortcut_multiplier);
            } else {
                made = quad_scale(four, &s);
            }
            quad_store_rows(y, out->channels, made, pixels, lanes);
        }
    }
}

/* P tiles from pixels `first` and `second` on, of N panels; of the last of them `done` rows are. */
static ALWAYS_INLINE void pointwise_tiles(const int P, const int N, const pointwise_finish finish,
                                          const pointwise_input *in, const pointwise_output *out,
                                          const tile_input *tiles, const tile_cut *cut, int first,
                                          int second, int done, int panel) {
    int32_t c[MOST_TILES][TILE_SUMS + 4 * PANEL] __attribute__((aligned(64)));
    const int32_t *bias = in->requantise + panel * 2 * PANEL;
    const int rows = cut->rows;
    if ((finish == TO_SUMS || finish == TO_CHANNELS) && out->accumulate) {
        const int32_t *sums = out->sums + panel * out->panel_step;
        tiles_order();
#define BEGIN_AT_SUMS(t, p, n) \
    TILE_LOAD(t, sums + (n) * out->panel_step + (p ? second : first) * PANEL, TILE_BYTES);
        FOR_C_TILES(BEGIN_AT_SUMS)
    } else {
#define BEGIN_AT_BIAS(t, p, n) TILE_LOAD(t, bias + (n) * 2 * PANEL, 0);
        FOR_C_TILES(BEGIN_AT_BIAS)
    }
    tile_products(P, N, PANEL, tiles, first + in->first, second + in->first, panel);
#define STORE(t, p, n) TILE_STORE(t, c[t], TILE_BYTES);
    FOR_C_TILES(STORE)
#define FINISH(t, p, n)                                                              \
    finish_tile(finish, in, out, c[t], p ? second : first, p + 1 == P ? done : 0, rows, \
                panel + (n));
    FOR_C_TILES(FINISH)
}

static ALWAYS_INLINE void pointwise_in_tiles(const pointwise_finish finish, int pixels, int panels,
                                             const pointwise_input *in,
                                             const pointwise_output *out) {
    const int blocked = in->is_blocked;
    const tile_input tiles = {
        .x = (const char *)in->x,
        .step = blocked ? 0 : in->pixel_step,
        .segment_step = in->segment_step * (blocked ? BLOCK_PANELS : 1),
        .segment = blocked ? TILE_BYTES : in->segment * GROUP,
        .depth = in->groups * GROUP,
        .w = (const char *)in->w,
        .panel_step = in->panel_step,
    };
    const tile_cut cut = tiles_for(in->tiles, &tiles, pixels);
#define TILES(P, N) \
    pointwise_tiles(P, N, finish, in, out, &tiles, &cut, first, second, done, panel);
    FOR_TILES_AND_PANELS(cut, panels, TILES)
#undef TILES
}

#endif
