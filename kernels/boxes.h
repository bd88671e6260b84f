/* What a detector's two heads of a map gave, as floats in the caller's arrays. Channels of a pixel
 * are its anchors' codes, or scores, one anchor after the other, so rows of anchors are the map as
 * it lies. */
#ifndef MNV2_BOXES_H
#define MNV2_BOXES_H

#include "activation.h"
#include "numbers.h"
#include "parts.h"

/* Part `part` of a head's output, to y. */
static void hand_over(const mnv2_context *context, const mnv2_block *head, int part, float *y) {
    const activation *x = (const activation *)(context->arena + head->output);
    const range rows = share_of(context, part, head->out_height, 1);
    const ptrdiff_t row = (ptrdiff_t)head->out_width * head->out_channels, end = rows.end * row;
    ptrdiff_t i = rows.first * row;
    for (; i + LANES <= end; i += LANES) vf_store(y + i, vf_from_values(x + i));
    const int rest = (int)(end - i);
    if (rest > 0) vf_store_part(y + i, vf_from_values_part(x + i, rest), rest);
}

static void boxes_step(const mnv2_context *context, const mnv2_step *step) {
    const mnv2_plan *plan = context->plan;
    const mnv2_map *map = &plan->maps[step->first];
    ptrdiff_t anchors = 0; /* of the maps before */
    for (const mnv2_map *before = plan->maps; before < map; before++) {
        const mnv2_block *head = &plan->blocks[before->boxes];
        anchors += (ptrdiff_t)head->out_height * head->out_width * before->anchors;
    }
    for (int part; (part = next_part(context)) >= 0;) {
        if (context->boxes)
            hand_over(context, &plan->blocks[map->boxes], part, context->boxes + anchors * 4);
        if (context->scores)
            hand_over(context, &plan->blocks[map->scores], part,
                      context->scores + anchors * plan->columns);
    }
}

#endif
