/* The networks of a model file's format version 1: a family and its parameters. The tables are those
 * of mnv2_engine/network/families.py, which says where they come from. */
#ifndef FAMILY_H
#define FAMILY_H

#include "network.h"

/* Bounds on what a model file may say, far above any published network. */
enum { MAX_CLASSES = 1 << 20, MAX_DIVISOR = 64, MAX_WIDTH = 16 };

/* What a model file says, within those bounds. */
typedef struct {
    char family[24]; /* "mobilenet_v2" or "efficientnet_lite0" to "efficientnet_lite4" */
    double width;    /* width multiplier */
    int32_t divisor; /* channels are rounded to multiples of it */
    int32_t in_height, in_width; /* pixels */
    int32_t classes;
    bool is_same; /* padding of TensorFlow; else of PyTorch */
} architecture;

/* Resolves all shapes. Refuses an unknown family, and another width than its own. */
bool network_of_family(network *made, const architecture *said, refusal *why);

#endif
