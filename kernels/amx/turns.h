/* A 1x1 convolution's products in tile registers, in bfloat16: C += A B for a tile of pixels and
 * two panels of outputs, in two sets of C registers that take turns: 0, 1 and 2, 3 (shapes.h).
 *
 * While the products of one set are made, the other one leaves: TILE_STORE waits for its register,
 * and sixteen stores that wait fill the scheduler, so a set is stored when the next one's products
 * are on their way. (In 8 bits, where sums are fewer, product.h is as fast.)
 *
 * A run of pixels is cut into tiles of 16 rows, or of all pixels if there are fewer, so that the
 * shapes seldom change. The last one begins early enough to be full, and only its new rows are
 * finished: so nothing is read behind the last pixel.
 *
 * Bound by TILE_DOT where depth is 256 bytes or more; below by the way out of C: TILE_STORE takes
 * the port of vector shuffles once a row, and the front end twice. */
#ifndef MNV2_AMX_TURNS_H
#define MNV2_AMX_TURNS_H

#include "shapes.h"

enum { SET_PANELS = 2 };

/* Steps of a product: register A's rows are `step` bytes apart, and what the next step takes lies
 * `next` bytes behind what this one does; of w too, whose panels are w_panel bytes apart. */
typedef struct {
    int count;
    const char *x;
    ptrdiff_t step, next;
    const char *w;
    ptrdiff_t w_panel, w_next;
} tile_steps;

typedef struct {
    tile_steps whole, rests; /* of 64 bytes, of `rest` bytes */
    int rest;
} tile_input;

/* A set's sums: rows from `pixel` on, of which the first `done` are finished with the tile before,
 * of `panels` panels from `panel` on. */
typedef struct {
    int pixel, done, panel, panels;
} tile_place;

/* DO(t, n) for the C registers of a set that N panels use. */
#define FOR_C_TILES(set, N, DO) \
    if (set) {                  \
        DO(2, 0)                \
        if (N > 1) DO(3, 1)     \
    } else {                    \
        DO(0, 0)                \
        if (N > 1) DO(1, 1)     \
    }

#define ADD_TILES(C, D, A, B)                      \
    {                                              \
        TILE_LOAD(A, x, step);                     \
        TILE_LOAD(B, w, TILE_BYTES);               \
        TILE_DOT(C, A, B);                         \
        if (N > 1) {                               \
            TILE_LOAD(B, w + w_panel, TILE_BYTES); \
            TILE_DOT(D, A, B);                     \
        }                                          \
    }

/* The steps of the tile that begins at `pixel`, for N panels from `panel` on. */
static ALWAYS_INLINE void add_steps(const int set, const int N, const int is_rest,
                                    const tile_steps *steps, int pixel, int panel) {
    const ptrdiff_t step = steps->step, w_panel = steps->w_panel;
    const char *x = steps->x + pixel * step, *w = steps->w + panel * w_panel;
    for (int i = steps->count; i > 0; i--, x += steps->next, w += steps->w_next) {
        if (set && is_rest)
            ADD_TILES(2, 3, 6, 7)
        else if (set)
            ADD_TILES(2, 3, 4, 5)
        else if (is_rest)
            ADD_TILES(0, 1, 6, 7)
        else
            ADD_TILES(0, 1, 4, 5)
    }
}

static ALWAYS_INLINE void tile_products(const int set, const int N, const tile_input *in,
                                        int pixel, int panel) {
    add_steps(set, N, 0, &in->whole, pixel, panel);
    add_steps(set, N, 1, &in->rests, pixel, panel);
}

/* Rows of a tile of a run of pixels; the registers are shaped for them. */
static ALWAYS_INLINE int tiles_for(int32_t *shaped, const tile_input *in, int pixels) {
    const int rows = least(pixels, TILE_ROWS), rest = in->rests.count ? in->rest : 0;
    if (rows > 0 && ((*shaped & 255) != rows || (rest && *shaped >> 8 != rest)))
        tiles_shape(shaped, rows, rest);
    tiles_order();
    return rows;
}

/* For all tiles of a run of pixels and panels: MAKE(set, N, place) begins and multiplies the sums
 * of a place in a set of C registers, and LEAVE(set, place) finishes them, after the next MAKE. */
#define FOR_TILES_AND_PANELS(rows, pixels, all_panels, MAKE, LEAVE)                      \
    {                                                                                    \
        tile_place made = {.panels = 0}, next;                                           \
        int set = 0;                                                                     \
        for (next.panel = 0; next.panel < all_panels; next.panel += SET_PANELS) {        \
            next.panels = least(SET_PANELS, all_panels - next.panel);                    \
            for (int from = 0; from < pixels; from += rows, set = !set) {                \
                next.pixel = least(from, pixels - rows);                                 \
                next.done = from - next.pixel;                                           \
                if (set) {                                                               \
                    if (next.panels > 1) MAKE(1, 2, next) else MAKE(1, 1, next)          \
                } else {                                                                 \
                    if (next.panels > 1) MAKE(0, 2, next) else MAKE(0, 1, next)          \
                }                                                                        \
                if (made.panels > 0) LEAVE(!set, made)                                   \
                made = next;                                                             \
            }                                                                            \
        }                                                                                \
        if (made.panels > 0) LEAVE(!set, made)                                           \
    }

#endif
