/* What a detector's head gave, as floats; of the 8-bit kernels int8/hand_over.h has it. */
#ifndef MNV2_HAND_OVER_H
#define MNV2_HAND_OVER_H

#include "activation.h"
#include "boxes.h"
#include "numbers.h"

static void hand_over(const mnv2_context *context, const mnv2_block *head, ptrdiff_t first,
                      ptrdiff_t end, float *y) {
    const activation *x = (const activation *)(context->arena + head->output);
    ptrdiff_t i = first;
    for (; i + LANES <= end; i += LANES, y += LANES) vf_store(y, vf_from_values(x + i));
    const int rest = (int)(end - i);
    if (rest > 0) vf_store_part(y, vf_from_values_part(x + i, rest), rest);
}

#endif
