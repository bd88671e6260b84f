/* What a detector's two heads of a map gave, as floats in the caller's arrays, or as candidates.
 * Channels of a pixel are its anchors' codes, or scores, one anchor after the other, so rows of
 * anchors are the map as it lies. */
#ifndef MNV2_BOXES_H
#define MNV2_BOXES_H

#include "candidates.h"
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

/* Anchors [first, end) of a map, of which `before` stand in front: candidates are kept. Codes and
 * scores become floats as far as they fit here, and then objects as outside of a run. */
static void keep_anchors(const mnv2_context *context, const mnv2_map *map, ptrdiff_t before,
                         ptrdiff_t first, ptrdiff_t end) {
    enum { TOGETHER = 64 };
    float codes[TOGETHER * 4], scores[MNV2_MAX_COLUMNS];
    const mnv2_block *blocks = context->plan->blocks;
    const ptrdiff_t columns = context->plan->columns, fit = MNV2_MAX_COLUMNS / columns;
    const ptrdiff_t most = fit < TOGETHER ? fit : TOGETHER;
    for (ptrdiff_t count; first < end; first += count) {
        count = end - first < most ? end - first : most;
        hand_over(context, &blocks[map->boxes], first * 4, (first + count) * 4, codes);
        hand_over(context, &blocks[map->scores], first * columns, (first + count) * columns, scores);
        float_state_leave(context->caller);
        for (ptrdiff_t i = 0; i < count; i++)
            mnv2_keep(context->found, (int32_t)(before + first + i), codes + i * 4,
                      scores + i * columns);
        (void)float_state_enter();
    }
}

/* Part `part` of a map's anchors. */
static void keep_part(const mnv2_context *context, const mnv2_map *map, ptrdiff_t before, int part) {
    const mnv2_block *head = &context->plan->blocks[map->boxes];
    const range rows = share_of(context, part, head->out_height, 1);
    const ptrdiff_t row = (ptrdiff_t)head->out_width * map->anchors;
    keep_anchors(context, map, before, rows.first * row, rows.end * row);
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
        if (context->found) keep_part(context, map, anchors, part);
    }
}

#endif
