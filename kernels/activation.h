/* An activation of floats as two limits: y = min(max(x, least), most), and what is not a number
 * becomes `least` on every instruction set. */
#ifndef MNV2_ACTIVATION_H
#define MNV2_ACTIVATION_H

#include <math.h>

#include "mnv2.h"

typedef struct {
    float least, most;
} limits;

static inline limits limits_of(int32_t activation) {
    return (limits){
        .least = activation == MNV2_LINEAR ? -INFINITY : 0.0f,
        .most = activation == MNV2_RELU6 ? 6.0f : INFINITY,
    };
}

#endif
