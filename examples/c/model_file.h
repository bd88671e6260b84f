/* The model file: mapped read-only and used in place; docs/model-file.md describes it.
 *
 * Everything is checked before a weight is used, as mnv2_engine.model.modelfile does: a file that it
 * refuses is refused here too. A file that NumPy saved again, whose members are compressed or
 * unaligned, is read by a copy.
 *
 * A mapping follows its file: replace a model file by renaming a new one over it, and never shorten
 * one that is open. */
#ifndef MODEL_FILE_H
#define MODEL_FILE_H

#include "model/network.h"
#include "model/refusal.h"

typedef struct {
    char *labels; /* for model_file_label; NULL: the file has none */
    uint32_t label_count; /* as many as classes; of one sigmoid perhaps 2, for class 0 and 1 */
    const uint8_t *weights; /* what the offsets count from, 64-byte aligned */
    int64_t buffer_bytes;   /* from there on */
    int64_t weight_bytes;   /* of all tensors */
    bool is_mapped;         /* else copied */
    /* Owned, see model_file_close. */
    file_view file;
    npz_directory directory; /* of a mapped file; names lie in it */
    uint8_t *copy;
    network net; /* with the offsets of all weights; last, for the names at its end */
} model_file;

/* False, with `why`, for a file that is absent, unreadable, damaged or not exactly what its network
 * needs; then there is nothing to close. The checksum of `meta` is checked, and of whatever is
 * copied; those of mapped weights are left to model_file_verify. */
bool model_file_open(model_file *model, const char *path, refusal *why);

/* Reads every weight, and with it the whole file: refuses a wrong checksum, NaN and infinity; of
 * int8 also numbers that docs/int8.md does not allow, and padding that is not zero. */
bool model_file_verify(model_file *model, refusal *why);

/* The label of a class, UTF-8; NULL where there is none. */
const char *model_file_label(const model_file *model, int32_t index);

void model_file_close(model_file *model);

#endif
