/* What a run does with a row of a detector's outputs where it keeps candidates (detect.c). */
#ifndef MNV2_CANDIDATES_H
#define MNV2_CANDIDATES_H

#include "mnv2.h"

/* Keeps what of an anchor may be an object. `codes` are 4, `scores` how->columns, which become
 * shares. Threads may call it at once. */
void mnv2_keep(mnv2_candidates *found, int32_t anchor, const float *codes, float *scores);

#endif
