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

#include "turns.h"

static ALWAYS_INLINE int takes_tiles(const pointwise_input *in) {
    return in->is_blocked || in->segment < in->depth || in->depth % PAIR == 0;
}

/* Functions that finish rows [first, rows) of a C tile, not inlined: a call costs less than what a
 * larger loop keeps in memory. */
static __attribute__((noinline)) void tile_to_panel(const float *c, int first, int rows,
                                                    const limits *clip, float *y) {
    const vf floor = vf_set1(clip->least), top = vf_set1(clip->most);
    if (rows - first == TILE_ROWS) {
        UNROLL for (int p = 0; p < TILE_ROWS; p++)
            vf_store(y + p * PANEL, vf_clamp(vf_load(c + p * PANEL), floor, top));
        return;
    }
    for (int p = first; p < rows; p++)
        vf_store(y + p * PANEL, vf_clamp(vf_load(c + p * PANEL), floor, top));
}

static __attribute__((noinline)) void tile_to_pool(const float *c, int first, int rows,
                                                   const limits *clip, float *y) {
    const vf floor = vf_set1(clip->least), top = vf_set1(clip->most);
    vf sum = vf_load(y);
    for (int p = first; p < rows; p++)
        sum = vf_add(sum, vf_clamp(vf_load(c + p * PANEL), floor, top));
    vf_store(y, sum);
}

/* Values of the tile's first pixel are `at` behind the output's; of it and the residual only
 * `lanes` channels are there. */
static __attribute__((noinline)) void tile_to_channels(const float *c, int first, int rows,
                                                       const pointwise_output *out, ptrdiff_t at,
                                                       const activation *residual, int lanes) {
    const ptrdiff_t to = out->channels, from = out->residual_pixel_step;
    if (out->unfinished) {
        for (int p = first; p < rows; p++)
            vf_store_part(out->unfinished + at + p * to, vf_load(c + p * PANEL), lanes);
        return;
    }
    activation *y = out->thin + at;
    const limits clip = limits_of(out->activation);
    const vf floor = vf_set1(clip.least), top = vf_set1(clip.most);
    for (int p = first; p < rows; p++) {
        vf sum = vf_load(c + p * PANEL);
        if (residual)
            sum = vf_add(sum, vf_from_values_part(residual + p * from, lanes));
        else if (out->activation != MNV2_LINEAR)
            sum = vf_clamp(sum, floor, top);
        vf_to_values_part(y + p * to, sum, lanes);
    }
}

/* A C tile, which is at `c`, becomes the output, but for rows that are done. */
static ALWAYS_INLINE void finish_tile(const pointwise_finish finish, const pointwise_output *out,
                                      const limits *clip, const float *c, int rows,
                                      const tile_place *at, int panel) {
    if (finish == TO_PANELS) {
        float *y = out->y + panel * out->panel_step;
        const int width = out->width;
        if (width == 0) tile_to_panel(c, at->done, rows, clip, y + at->pixel * PANEL);
        for (int p = at->done, n; width > 0 && p < rows; p += n) {
            const int line = (at->pixel + p) / width, column = (at->pixel + p) % width;
            n = least(rows - p, width - column);
            tile_to_panel(c + p * PANEL, 0, n, clip, y + line * out->line + column * PANEL);
        }
    } else if (finish == TO_POOL) {
        tile_to_pool(c, at->done, rows, clip, out->y + panel * PANEL);
    } else {
        const int channel = panel * PANEL, lanes = least(out->channels - channel, PANEL);
        const activation *residual = out->residual;
        if (residual)
            residual += at->pixel * out->residual_pixel_step + panel * out->residual_panel_step;
        tile_to_channels(c, at->done, rows, out, (ptrdiff_t)at->pixel * out->channels + channel,
                         residual, lanes);
    }
}

/* Rows of sums, of which only `lanes` are there, as a whole C tile's. */
static __attribute__((noinline)) void widen_sums(float *c, const float *sums, ptrdiff_t step,
                                                 int rows, int lanes) {
    for (int p = 0; p < rows; p++) vf_store(c + p * PANEL, vf_load_part(sums + p * step, lanes));
}

/* Begins and multiplies N panels of a place. */
static ALWAYS_INLINE void make_tiles(const int set, const int N, const pointwise_finish finish,
                                     const pointwise_input *in, const pointwise_output *out,
                                     const tile_input *tiles, int rows, const tile_place *at) {
    if (finish == TO_CHANNELS && out->begin) {
        float wide[TILE_SUMS] __attribute__((aligned(64)));
        const ptrdiff_t step = out->channels;
        const float *sums = out->begin + at->panel * PANEL + at->pixel * step;
        const int last = N - 1, lanes = out->channels - (at->panel + last) * PANEL;
        const int is_part = lanes < PANEL;
        if (is_part) widen_sums(wide, sums + last * PANEL, step, rows, lanes);
        tiles_order();
#define BEGIN_AT_SUMS(t, n)                                                    \
    TILE_LOAD(t, n == last && is_part ? wide : sums + (n) * PANEL,             \
              n == last && is_part ? TILE_BYTES : step * (ptrdiff_t)sizeof(float));
        FOR_C_TILES(set, N, BEGIN_AT_SUMS)
    } else {
        const float *bias = in->bias + at->panel * PANEL;
#define BEGIN_AT_BIAS(t, n) TILE_LOAD(t, bias + (n) * PANEL, 0);
        FOR_C_TILES(set, N, BEGIN_AT_BIAS)
    }
    tile_products(set, N, tiles, at->pixel + in->first, at->panel);
}

/* Stores a set and finishes it. */
static ALWAYS_INLINE void leave_tiles(int set, const pointwise_finish finish,
                                      const pointwise_output *out, const limits *clip, int rows,
                                      const tile_place *at) {
    float c[SET_PANELS][TILE_SUMS] __attribute__((aligned(64)));
#define STORE(t, n) TILE_STORE(t, c[n], TILE_BYTES);
    FOR_C_TILES(set, at->panels, STORE)
    finish_tile(finish, out, clip, c[0], rows, at, at->panel);
    if (at->panels > 1) finish_tile(finish, out, clip, c[1], rows, at, at->panel + 1);
}

static ALWAYS_INLINE void pointwise_in_tiles(const pointwise_finish finish, int pixels, int panels,
                                             const pointwise_input *of,
                                             const pointwise_output *to) {
    /* In registers: where the caller's lie a multiple of 4096 bytes from the output, each load of
     * them would wait for the stores before it. */
    const pointwise_input own_in = *of, *const in = &own_in;
    const pointwise_output own_out = *to, *const out = &own_out;
    enum { BYTES = sizeof(activation), TERMS = TILE_BYTES / BYTES };
    const int is_short = in->segment < in->depth && !in->is_blocked; /* its segments are */
    const int depth = stored_terms(is_short ? in->segment : in->depth);
    const int whole = is_short ? 0 : depth / TERMS, rest = depth - whole * TERMS;
    const ptrdiff_t block = in->segment_step * BLOCK_PANELS;
    tile_input tiles = {
        .whole = {.count = whole,
                  .x = (const char *)in->x,
                  .step = in->pixel_step * BYTES,
                  .next = TILE_BYTES,
                  .w = (const char *)in->w,
                  .w_panel = in->panel_step * BYTES,
                  .w_next = TILE_ROWS * TILE_BYTES},
        .rests = {.count = rest > 0,
                  .x = (const char *)(in->x + whole * TERMS),
                  .step = in->pixel_step * BYTES,
                  .w = (const char *)(in->w + whole * TERMS * PANEL),
                  .w_panel = in->panel_step * BYTES,
                  .w_next = rest * PANEL * BYTES},
        .rest = rest * BYTES,
    };
    if (in->is_blocked) {
        tiles.whole.step = TILE_BYTES;
        tiles.whole.next = block * BYTES;
        tiles.rests.x = (const char *)(in->x + whole * block);
        tiles.rests.step = panels_of(rest) * PANEL * BYTES;
    } else if (is_short) {
        tiles.rests.next = in->segment_step * BYTES;
        tiles.rests.count = in->depth / in->segment;
    }
    const limits clip = limits_of(out->activation);
    const int rows = tiles_for(in->tiles, &tiles, pixels);
#define MAKE(set, N, place) make_tiles(set, N, finish, in, out, &tiles, rows, &place);
#define LEAVE(set, place) leave_tiles(set, finish, out, &clip, rows, &place);
    FOR_TILES_AND_PANELS(rows, pixels, panels, MAKE, LEAVE)
#undef MAKE
#undef LEAVE
}

#endif
