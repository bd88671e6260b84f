/* About how long a schedule takes, by the model of mnv2_engine/plan/cost.py, which says what it counts
 * and where its constants come from. It decides nothing but speed. */
#ifndef COST_H
#define COST_H

#include "schedule.h"

int64_t cycles_of(const planned *plan, const schedule *s);

#endif
