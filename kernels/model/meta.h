/* The `meta` member of a model file: JSON that says what the weights are; nothing of it is taken
 * on trust. docs/model-file.md describes it. */
#ifndef META_H
#define META_H

#include "network.h"
#include "refusal.h"
#include "room.h"

enum { META_LIMIT = 2 << 20 }; /* bytes; the labels of 1000 classes take 25 KiB */

/* Names of classes, one behind another, each with its NUL. */
typedef struct {
    const char *texts; /* NULL: there are none */
    size_t bytes;
    uint32_t count;
} label_texts;

/* What the JSON at `text` says, `count` bytes and a NUL behind them; it is changed. Labels lie in the
 * memory that `left` had. */
bool meta_read(network *net, label_texts *labels, char *text, size_t count, reading_room *left,
               refusal *why);

#endif
