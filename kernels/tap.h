/* A tap: the thin tensor between two steps as floats, in the caller's array. */
#ifndef MNV2_TAP_H
#define MNV2_TAP_H

#include "numbers.h"
#include "parts.h"

static void tap_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_tap *tap = &context->plan->taps[step->first];
    const activation *x = (const activation *)(context->arena + step->input);
    for (int part; (part = next_part(context)) >= 0;) {
        float *y = context->taps[step->first];
        const range rows = share_of(context, part, tap->height, 1);
        const ptrdiff_t row = (ptrdiff_t)tap->width * tap->channels, end = rows.end * row;
        ptrdiff_t i = y ? rows.first * row : end;
        for (; i + LANES <= end; i += LANES) vf_store(y + i, vf_from_values(x + i));
        const int rest = (int)(end - i);
        if (rest > 0) vf_store_part(y + i, vf_from_values_part(x + i, rest), rest);
    }
}

#endif
