/* A model file in memory as the kernels take it: read, checked and planned. Like mnv2.h it allocates
 * nothing and keeps nothing: the caller owns the file's bytes, mapped or not, and all memory.
 *
 * The same files are accepted that mnv2_engine/model/ accepts, if their weights can stay where they
 * lie; why one is refused, Python's reader says. Programs in C take model.h, which says it, too. */
#ifndef MNV2_MODEL_H
#define MNV2_MODEL_H

#include <stdint.h>

#include "mnv2.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The layers and where their weights lie. */
typedef struct mnv2_network mnv2_network;

/* What a model file says. Texts are UTF-8 with a NUL, and stay as long as the network does. */
typedef struct {
    const char *name, *dtype, *answer, *filter, *fit; /* as docs/model-file.md has them */
    int32_t height, width; /* of the image */
    int32_t classes, features; /* 0: it has none */
    int32_t blocks;            /* of a plan's table */
    double mean[3], std[3], crop_fraction;
    int64_t weight_bytes;  /* of all tensors */
    uint32_t directory_crc; /* CRC-32 of the zip's directory */
    int64_t meta, meta_bytes; /* where the JSON lies in the file */
    /* Labels one behind another, each with its NUL, in the memory that the file was read in: they
     * have to be copied from there. */
    int32_t label_count;
    int64_t label_bytes;
    const char *labels;
} mnv2_model;

enum { MNV2_NO_MODEL = 3 };

/* Bytes of a network, 16-byte aligned. */
int64_t mnv2_network_bytes(void);
/* Bytes of memory to read a file in, which is free again afterwards; 0 for what is no model file. */
int64_t mnv2_reading_bytes(const void *file, int64_t bytes);
/* MNV2_OK; or MNV2_NO_MODEL for a file that is damaged or not exactly what its network needs, whose
 * members are compressed or not aligned, or that needs more memory. Checksums of weights are not
 * looked at. Takes 20 KB of stack. */
int32_t mnv2_read_model(const void *file, int64_t bytes, void *memory, int64_t memory_bytes,
                        mnv2_network *network, mnv2_model *said);

/* A label of those that a mnv2_model has. */
const char *mnv2_label(const char *labels, int32_t index);

/* Plans it as mnv2_make_plan does, to compute in the precision of its weights; those of bfloat16 in
 * MNV2_BFLOAT16 if `in_bfloat16`. `blocks` has room for all of the network, `steps` for
 * MNV2_MAX_STEPS; the plan points to them and into the network. */
int32_t mnv2_plan_network(const mnv2_network *network, int32_t in_bfloat16, int64_t weight_bytes,
                          int32_t threads, const char *cpu, mnv2_plan *plan, mnv2_block *blocks,
                          mnv2_step *steps);

#ifdef __cplusplus
}
#endif
#endif
