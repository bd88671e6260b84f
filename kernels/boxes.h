/* What a detector's two heads of a map gave, as floats in the caller's arrays. Channels of a pixel
 * are its anchors' codes, or scores, one anchor after the other, so rows of anchors are the map as
 * it lies. */
#ifndef MNV2_BOXES_H
#define MNV2_BOXES_H

#include "parts.h"

/* Values [first, end) of a head's output, to y. */
static void hand_over(const mnv2_context *context, const mnv2_block *head, ptrdiff_t first,
                      ptrdiff_t end, float *y);

/* Part `part` of a head's output, to y. */
static void hand_over_part(const mnv2_context *context, const mnv2_block *head, int part,
                           float *y) {
    const range rows = share_of(context, part, head->out_height, 1);
    const ptrdiff_t row = (ptrdiff_t)head->out_width * head->out_channels;
    hand_over(context, head, rows.first * row, rows.end * row, y + rows.first * row);
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
            hand_over_part(context, &plan->blocks[map->boxes], part, context->boxes + anchors * 4);
        if (context->scores)
            hand_over_part(context, &plan->blocks[map->scores], part,
                           context->scores + anchors * plan->columns);
    }
}

#endif
