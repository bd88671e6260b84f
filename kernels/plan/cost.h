/* About how long a schedule takes, by the model of mnv2_engine/plan/cost.py, which says what it counts
 * and where its constants come from. It decides nothing but speed. */
#ifndef COST_H
#define COST_H

#include "schedule.h"

/* What is known of a family of CPUs, by its name; picoseconds of one core, see cpu_costs.def. */
struct cpu_costs {
    int64_t tile, term, tap, call, moved, reread, cached, phase, first, shared;
};

const cpu_costs *mnv2_costs_of(const char *family, int32_t precision);

/* Picoseconds. */
int64_t mnv2_time_of(const planned *plan, const schedule *s);

#endif
