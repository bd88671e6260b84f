/* A detector's table matched with what the kernels run: mnv2_engine/network/detector.py and box_maps.py
 * in C. */
#ifndef DETECTOR_H
#define DETECTOR_H

#include "layers.h"

/* Of a table whose answer is boxes, with what its `outputs` and its `detection` say. Refuses what
 * contradicts itself and what no kernel runs. */
bool match_detector(network *net, table *all, const json_value *outputs,
                    const json_value *detection, refusal *why);

#endif
