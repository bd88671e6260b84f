/* A tap in 8 bits: the thin tensor between two steps as floats, in the caller's array.
 *
 *   y[p][c] = float(q[p][c]) * scale[c] + offset[c]      product and sum each rounded */
#ifndef MNV2_INT8_TAP_H
#define MNV2_INT8_TAP_H

#include "../parts.h"
#include "block.h"

static void tap_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_tap *tap = &context->plan->taps[step->first];
    const uint8_t *x = (const uint8_t *)context->arena + step->input;
    const float *scale = (const float *)(context->weights + tap->values);
    const float *offset = scale + tap->channels;
    for (int part; (part = next_part(context)) >= 0;) {
        float *y = context->taps[step->first];
        const range rows = share_of(context, part, tap->height, 1);
        for (int p = rows.first * tap->width; y && p < rows.end * tap->width; p++) {
            const ptrdiff_t at = (ptrdiff_t)p * tap->channels;
            for (int c = 0; c < tap->channels; c++)
                y[at + c] = (float)x[at + c] * scale[c] + offset[c];
        }
    }
}

#endif
