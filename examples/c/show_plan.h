/* A plan as text, to look at and to compare. */
#ifndef SHOW_PLAN_H
#define SHOW_PLAN_H

#include <stdio.h>

#include "mnv2.h"

/* A line for the plan, its stem, each of its blocks and steps, and its head: NAME=VALUE for every
 * field of mnv2.h, floats as hexadecimal numbers. */
void show_plan(FILE *file, const mnv2_plan *plan);

#endif
