/* All kernels for one instruction set. Compiled once for each: CMakeLists.txt names the set
 * (MNV2_ISA_NAME and MNV2_ISA_<NAME>) and the compiler flags that it needs. One translation
 * unit, so that the micro-kernels are inlined into the schedules. */
#include "isa.h"

#include "head.h"
#include "rows.h"
#include "tiles.h"

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)

extern const struct mnv2_isa JOIN(mnv2_isa_, MNV2_ISA_NAME);
int JOIN(mnv2_supported_, MNV2_ISA_NAME)(void); /* dispatch.c */

#define STRING2(a) #a
#define STRING(a) STRING2(a)

const struct mnv2_isa JOIN(mnv2_isa_, MNV2_ISA_NAME) = {
    .name = STRING(MNV2_ISA_NAME),
    .supported = JOIN(mnv2_supported_, MNV2_ISA_NAME),
    .rows = rows_step,
    .tiles = tiles_step,
    .head = head_step,
    .classifier = classifier_step,
};
