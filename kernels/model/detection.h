/* What a detector's outputs mean, as a model file says it: mnv2_engine/network/detection.py in C. */
#ifndef DETECTION_H
#define DETECTION_H

#include "json.h"
#include "network.h"

/* Bounds on what a model file may say. */
enum {
    MAX_CELL_ANCHORS = 64,
    MAX_ANCHORS = 1 << 20,
    MAX_OBJECT_CLASSES = 1 << 12,
    MAX_OBJECTS = 1 << 16,
};

/* The outputs at one feature map, by names that are not checked. */
typedef struct {
    const json_value *boxes, *scores;
    int32_t anchors; /* a cell */
} named_map;

/* Everything but the count of anchors, which follows from the layers. `maps` has room for
 * MNV2_MAX_MAPS. */
bool detection_read(mnv2_detection *made, named_map *maps, int32_t *map_count,
                    const json_value *said, refusal *why);

#endif
