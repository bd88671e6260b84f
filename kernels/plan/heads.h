/* A detector's heads in the plan: which blocks have steps of their own, in which order, and where the
 * outputs of the heads lie. */
#ifndef HEADS_H
#define HEADS_H

#include "schedule.h"

/* Whether the heads and maps of a network fit each other: every head is read by one block and is one
 * output of one map. True of a network without any. */
bool mnv2_heads_fit(const mnv2_plan *net);

/* Fills in the order of the blocks and the places of a detector's outputs. The network's heads fit. */
void mnv2_place_heads(planned *plan);

/* The last head that a schedule runs, as a block; -1 of a schedule that runs none. */
int32_t mnv2_last_head(const planned *plan, const schedule *chosen);

#endif
