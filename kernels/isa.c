/* All kernels for one instruction set and one precision of floating point. Compiled once for each:
 * CMakeLists.txt names the set (MNV2_ISA_NAME and MNV2_ISA_<NAME>), the precision (MNV2_NUMBERS
 * and MNV2_NUMBERS_<NAME>) and the compiler flags that they need. One translation unit, so that
 * the micro-kernels are inlined into the schedules. */
#include "isa.h"

#include "conv.h"
#include "dense.h"
#if defined(MNV2_NUMBERS_FLOAT32)
#include "dense_int8.h"
#endif
#include "hand_over.h"
#include "head.h"
#include "layers.h"
#include "rows.h"
#include "tap.h"
#include "tiles.h"

extern const mnv2_steps MNV2_STEPS(MNV2_NUMBERS);

const mnv2_steps MNV2_STEPS(MNV2_NUMBERS) = {
    .rows = rows_step,
    .tiles = tiles_step,
    .layers = layers_step,
    .conv = conv_step,
    .tap = tap_step,
    .boxes = boxes_step,
    .head = head_step,
    .dense = dense_step,
#if defined(MNV2_NUMBERS_FLOAT32)
    .dense_int8 = dense_int8_step,
#endif
#if TILED
    .release = tiles_release,
#endif
};
