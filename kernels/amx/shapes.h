/* What the tile registers hold in a 1x1 convolution, C += A B:
 *
 *   C  registers 0 to 3   [rows][16]: sums of `rows` pixels, 16 outputs
 *   A  register 4         [rows][64 bytes] of the pixels' channels, as they lie in memory
 *   B  register 5         [16][64 bytes] of a panel of weights, as the model file has them:
 *                         [k/4][16][4] bytes, [k/2][16][2] bfloat16
 *   A, B of the rest      registers 6 and 7: the last `rest` bytes of a segment, below 64
 *
 * The shapes are set where rows or rest change, which takes as long as three tiles; the caller
 * keeps in `*shaped` what they are, 0 at the start of a run, when the registers have none. */
#ifndef MNV2_AMX_SHAPES_H
#define MNV2_AMX_SHAPES_H

#include "../kernel.h"
#include "registers.h"

enum { TILE_ROWS = 16, TILE_BYTES = 64, TILE_SUMS = TILE_ROWS * PANEL };

static __attribute__((noinline)) void tiles_shape(int32_t *shaped, int rows, int rest) {
    tile_shapes shapes = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        shapes.bytes[t] = TILE_BYTES;
        shapes.rows[t] = (uint8_t)(t == 5 || t == 7 ? TILE_ROWS : rows);
    }
    if (rest) {
        shapes.bytes[6] = (uint16_t)rest;
        shapes.rows[7] = (uint8_t)(rest / 4);
    }
    tiles_configure(&shapes);
    *shaped = rows | rest << 8;
}

#if defined(MNV2_NUMBERS_INT8)
/* The multiplier falls asleep when nothing has been multiplied for some 2,000 cycles, and takes 700
 * to wake up. So what runs in vectors for long multiplies now and then, where no C register holds
 * what is still needed: whatever the shapes are, registers 0, 4 and 5 fit together. Without shapes
 * there is nothing to keep awake. */
static inline void tiles_stay_awake(const int32_t *shaped) {
    if (*shaped) TILE_DOT(0, 4, 5);
}
#endif

#endif
