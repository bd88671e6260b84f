/* A model file in memory, wherever that is: read and checked as mnv2_engine/model/ does it. What Python
 * refuses is refused here, too; docs/model-file.md describes the format. */
#ifndef MODEL_H
#define MODEL_H

#include "meta.h"
#include "network.h"
#include "npz.h"
#include "room.h"

/* What was read beside the network; it lies in the memory that `left` had. */
typedef struct {
    npz_directory directory;
    label_texts labels;
    uint64_t meta, meta_bytes; /* where its JSON lies in the file; 0 of a deflated one */
    bool are_usable;       /* weights where they lie, the network's offsets of them */
    int64_t weight_bytes;  /* of all tensors */
    int64_t aligned_bytes; /* of all tensors, each with what makes the next one aligned */
} model_reading;

/* False, with `why`, for what is damaged or not exactly what its network needs. The checksum of `meta`
 * is checked; those of weights would read the whole file. A detector's anchors are left to
 * members_check_anchors. */
bool model_read(model_reading *made, network *net, file_view file, reading_room *left, refusal *why);

/* Bytes of memory that reading takes at most. Nothing of the file is believed but that. */
uint64_t model_room(file_view file);

#endif
