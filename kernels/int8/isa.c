/* All 8-bit kernels for one instruction set: as ../isa.c, which has the float32 ones. */
#include "../isa.h"

#include "head.h"
#include "layers.h"
#include "rows.h"
#include "tiles.h"

extern const mnv2_steps MNV2_STEPS(int8);

const mnv2_steps MNV2_STEPS(int8) = {
    .rows = rows_step,
    .tiles = tiles_step,
    .head = head_step,
    .classifier = classifier_step,
    .layers = layers_step,
#if TILED
    .release = tiles_release,
#endif
};
