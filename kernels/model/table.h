/* The table of layers of a model file's format version 2, checked and matched with what the
 * kernels run: mnv2_engine/network/table.py, builder.py, blocks.py and supported.py in C. */
#ifndef TABLE_H
#define TABLE_H

#include "json.h"
#include "network.h"

/* Resolves all shapes. Refuses a table that contradicts itself and one that no kernel runs. */
bool network_of_table(network *made, const json_value *said, reading_room *left, refusal *why);

#endif
