/* A 1x1 convolution's products in tile registers, in 8 bits: C += A B for up to two tiles of pixels
 * and two panels of outputs. Tile (p, n) is register p * N + n (shapes.h).
 *
 * A run of pixels is cut into tiles of the same number of rows, at most 16. The last one begins
 * early enough to be full, and only its new rows are finished: so nothing is read behind the last
 * pixel.
 *
 * Bound by TILE_DOT where depth is 128 bytes or more; below, by the way into C and out of it. */
#ifndef MNV2_AMX_PRODUCT_H
#define MNV2_AMX_PRODUCT_H

#include "shapes.h"

enum { MOST_TILES = 4 };

/* What is multiplied; all in bytes. */
typedef struct {
    const char *x;
    /* Segments: bytes [0, segment) of every pixel at x, `step` from pixel to pixel; the next ones
     * segment_step further on. Where `step` is 0 it is a segment's own bytes, of whole panels. */
    ptrdiff_t step, segment_step;
    int segment, depth;
    const char *w;
    ptrdiff_t panel_step; /* from one panel of w to the next */
} tile_input;

/* DO(t, p, n) for every C tile of P x N. */
#define FOR_C_TILES(DO)                     \
    {                                       \
        DO(0, 0, 0)                         \
        if (N > 1) {                        \
            DO(1, 0, 1)                     \
            if (P > 1) DO(2, 1, 0)          \
            if (P > 1) DO(3, 1, 1)          \
        } else if (P > 1) {                 \
            DO(1, 1, 0)                     \
        }                                   \
    }

/* Adds the terms that register A takes: `low` and `high` are the first pixels of the tiles. */
#define ADD_TILES(A, B)                          \
    {                                            \
        TILE_LOAD(A, low, step);                 \
        TILE_LOAD(B, w, TILE_BYTES);             \
        TILE_DOT(0, A, B);                       \
        if (N > 1) {                             \
            TILE_LOAD(B, w + next, TILE_BYTES);  \
            TILE_DOT(1, A, B);                   \
        }                                        \
        if (P > 1) {                             \
            TILE_LOAD(A, high, step);            \
            if (N > 1) {                         \
                TILE_DOT(3, A, B);               \
                TILE_LOAD(B, w, TILE_BYTES);     \
                TILE_DOT(2, A, B);               \
            } else {                             \
                TILE_DOT(1, A, B);               \
            }                                    \
        }                                        \
    }

/* All terms of the tiles that begin at pixels `first` and `second`, for N panels from `panel` on. */
static ALWAYS_INLINE void tile_products(const int P, const int N, const int panel_bytes,
                                        const tile_input *in, int first, int second, int panel) {
    const char *w = in->w + panel * in->panel_step, *x = in->x;
    const ptrdiff_t next = in->panel_step, pixel_step = in->step, segment_step = in->segment_step;
    const int segment = in->segment;
    for (int left = in->depth; left > 0; left -= segment, x += segment_step) {
        int count = least(left, segment);
        const ptrdiff_t step =
            pixel_step ? pixel_step : (count + panel_bytes - 1) / panel_bytes * panel_bytes;
        const char *low = x + first * step, *high = x + second * step;
        for (; count >= TILE_BYTES; count -= TILE_BYTES) {
            ADD_TILES(4, 5)
            low += TILE_BYTES;
            high += TILE_BYTES;
            w += TILE_ROWS * TILE_BYTES;
        }
        if (count > 0) {
            ADD_TILES(6, 7)
            w += count / 4 * TILE_BYTES;
        }
    }
}

/* How a run of pixels is cut; and the registers are shaped for it. */
typedef struct {
    int pixels, rows, tiles;
} tile_cut;

static ALWAYS_INLINE tile_cut tiles_for(int32_t *shaped, const tile_input *in, int pixels) {
    const int tiles = (pixels + TILE_ROWS - 1) / TILE_ROWS;
    const int rows = tiles > 0 ? (pixels + tiles - 1) / tiles : 0;
    const int last = in->depth % in->segment; /* of the last segment, all others are whole */
    const int rest = (last ? last : in->segment) % TILE_BYTES;
    if (rows > 0 && ((*shaped & 255) != rows || (rest && *shaped >> 8 != rest)))
        tiles_shape(shaped, rows, rest);
    tiles_order();
    return (tile_cut){.pixels = pixels, .rows = rows, .tiles = tiles};
}

static ALWAYS_INLINE int tile_start(const tile_cut *cut, int tile) {
    return least(tile * cut->rows, cut->pixels - cut->rows);
}

/* Rows of a tile that the tile before has finished. */
static ALWAYS_INLINE int tile_done(const tile_cut *cut, int tile) {
    return tile * cut->rows - tile_start(cut, tile);
}

/* DO(P, N) for all tiles of a run of pixels, `panels` panels of each: P tiles, of which the last one
 * begins at pixel `second` and has `done` rows already, and N panels from `panel` on. */
#define FOR_TILES_AND_PANELS(cut, panels, DO)                                                \
    for (int panel = 0; panel < panels; panel += 2) {                                        \
        const int count = least(2, panels - panel);                                          \
        for (int i = 0; i < cut.tiles; i += 2) {                                             \
            const int first = tile_start(&cut, i), last = least(i + 1, cut.tiles - 1);       \
            const int second = tile_start(&cut, last), done = tile_done(&cut, last);         \
            if (last > i && count > 1)                                                       \
                DO(2, 2)                                                                     \
            else if (last > i)                                                               \
                DO(2, 1)                                                                     \
            else if (count > 1)                                                              \
                DO(1, 2)                                                                     \
            else                                                                             \
                DO(1, 1)                                                                     \
        }                                                                                    \
    }

#endif
