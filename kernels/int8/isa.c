/* All 8-bit kernels for one instruction set: as ../isa.c, which has the float32 ones. */
#include "../isa.h"

#include "conv.h"
#include "dense.h"
#include "hand_over.h"
#include "head.h"
#include "layers.h"
#include "rows.h"
#include "tap.h"
#include "tiles.h"

extern const mnv2_steps MNV2_STEPS(int8);

const mnv2_steps MNV2_STEPS(int8) = {
    .rows = rows_step,
    .tiles = tiles_step,
    .layers = layers_step,
    .conv = conv_step,
    .tap = tap_step,
    .boxes = boxes_step,
    .head = head_step,
    .dense = dense_step,
#if TILED
    .release = tiles_release,
#endif
};
