/* What a detector's head gave, as floats: as a tap's (tap.h),
 *
 *   y[p][c] = float(q[p][c]) * scale[c] + offset[c]      product and sum each rounded */
#ifndef MNV2_INT8_HAND_OVER_H
#define MNV2_INT8_HAND_OVER_H

#include "../boxes.h"

static void hand_over(const mnv2_context *context, const mnv2_block *head, ptrdiff_t first,
                      ptrdiff_t end, float *y) {
    const uint8_t *x = (const uint8_t *)context->arena + head->output;
    const float *scale = (const float *)(context->weights + head->values);
    const float *offset = scale + head->out_channels;
    ptrdiff_t c = first % head->out_channels;
    for (ptrdiff_t i = first; i < end; i++) {
        *y++ = (float)x[i] * scale[c] + offset[c];
        if (++c == head->out_channels) c = 0;
    }
}

#endif
