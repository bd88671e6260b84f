/* The `meta` member of a model file: JSON that says what the weights are; nothing of it is taken
 * on trust. docs/model-file.md describes it. */
#ifndef META_H
#define META_H

#include "network.h"
#include "refusal.h"

enum { META_LIMIT = 2 << 20 }; /* bytes; the labels of 1000 classes take 25 KiB */

/* What the JSON at `text` says, `count` bytes and a NUL behind them; it is changed. Labels, or NULL,
 * lie one behind another, each with its NUL, in memory as malloc makes it. */
bool meta_read(network *net, char **labels, uint32_t *label_count, char *text, size_t count,
               refusal *why);

#endif
