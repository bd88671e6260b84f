/* All float32 kernels for one instruction set. Compiled once for each: CMakeLists.txt names the set
 * (MNV2_ISA_NAME and MNV2_ISA_<NAME>) and the compiler flags that it needs. One translation
 * unit, so that the micro-kernels are inlined into the schedules. */
#include "isa.h"

#include "head.h"
#include "rows.h"
#include "tiles.h"

extern const mnv2_steps MNV2_STEPS(float32);

const mnv2_steps MNV2_STEPS(float32) = {
    .rows = rows_step,
    .tiles = tiles_step,
    .head = head_step,
    .classifier = classifier_step,
};
