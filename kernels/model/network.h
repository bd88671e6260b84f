/* What a network is: its layers and their shapes, as the kernels run them. A model file of version 2
 * lists them (table.h), one of version 1 names a family (family.h). */
#ifndef NETWORK_H
#define NETWORK_H

#include "mnv2.h"
#include "npz.h"
#include "refusal.h"

enum { PANEL = 16, IMAGE_CHANNELS = 3, ARENA_ALIGNMENT = 64 };
enum { MAX_RESOLUTION = 4096, MAX_LAYER_NAME = 64, MAX_CONVS = 4 };
enum { MAX_NETWORK_NAME = 200 }; /* characters */

enum {
    BLOCK_PARTS = 3, /* expand, depthwise, project */
    MAX_PLACES = 1 + BLOCK_PARTS * MNV2_MAX_BLOCKS + MAX_CONVS + 1 + MNV2_MAX_DENSE
};

/* How outputs become answers: one of many classes, each class by itself, numbers as they are, or
 * objects with their boxes. */
typedef enum { ANSWER_SOFTMAX, ANSWER_SIGMOID, ANSWER_LINEAR, ANSWER_BOXES } answer_kind;

/* What a run computes: the part of a mnv2_plan that does not depend on how it is scheduled.
 * Residuals are 1 or 0 here; the weights of layers that are not there are -1. The precision is that
 * of the weights, but for those of a first dense layer that says otherwise; who wants bfloat16
 * weights computed in bfloat16 sets MNV2_BFLOAT16. */
typedef struct mnv2_network {
    char name[4 * MAX_NETWORK_NAME + 1]; /* for people, UTF-8 */
    int32_t version; /* of the model file's format */
    mnv2_precision precision;
    const char *dtype; /* of the weights, as the file says it */
    answer_kind answer;
    int32_t block_count, conv_count, dense_count; /* without a dense layer it gives features */
    mnv2_stem stem;
    double mean[3], std[3]; /* x = (pixel - mean) / std */
    int32_t filter;         /* mnv2_filter: how a photograph is resized, and */
    const char *filter_name;
    double crop_fraction;   /* which part of it the network sees, and */
    int32_t fit;            /* mnv2_fit: whether its proportions are kept */
    mnv2_block blocks[MNV2_MAX_BLOCKS]; /* a detector's heads are the last `predictor_count` */
    mnv2_conv convs[MAX_CONVS]; /* from map to map behind the blocks */
    mnv2_head head;
    mnv2_dense dense[MNV2_MAX_DENSE];
    /* Of a detector. */
    int32_t predictor_count, map_count;
    mnv2_map maps[MNV2_MAX_MAPS];
    mnv2_detection detection;
    int64_t anchors; /* offset of its anchors, [anchors][4] float32 */
    /* The number of a layer in the table that lists it; 0 where a family lists none. */
    int16_t rows[MAX_PLACES];
    /* Of the layers that have weights; the others' are not written, as they would take pages. */
    char names[MAX_PLACES][MAX_LAYER_NAME + 1];
} network;

/* An empty network of float32. */
void network_begin(network *made);

/* Values of the answer, of a detector the classes of objects; 0 where the network gives features. */
int32_t network_classes(const network *net);

/* Whether the kernels run such a depthwise layer: kernels/supported.def. */
bool network_runs_depthwise(int32_t kernel, int32_t stride, int32_t dilation);

typedef enum {
    LAYER_STEM,
    LAYER_CONV, /* with the rows of its kernel apart, as the stem */
    LAYER_POINTWISE,
    LAYER_DEPTHWISE,
    LAYER_DENSE, /* the first one */
    LAYER_LATER_DENSE /* float32 weights in every precision */
} layer_kind;

typedef struct {
    const char *name; /* in the network */
    layer_kind kind;
    int32_t in_channels, out_channels, kernel;
    int32_t activation; /* mnv2_activation */
    /* Of the network; NULL where the layer has none. */
    int64_t *weight, *bias, *values; /* offsets; the last one of project layers, mnv2_tap */
    int32_t *fraction, *residual;
} network_layer;

/* Layers with weights have places from 0 up to network_places, in the order of execution, a
 * detector's heads behind its blocks; some are empty: then it is false. */
int32_t network_places(const network *net);
bool network_layer_at(network *net, int32_t place, network_layer *layer);
/* The first place behind those of the blocks. */
int32_t network_place_behind(const network *net);

/* How the weights of a layer are stored. */
mnv2_precision network_stored(const network *net, const network_layer *layer);

/* A member of a model file, which belongs to a layer or is a detector's anchors. */
typedef struct {
    char name[MAX_LAYER_NAME + 16]; /* such as "stem.weight" */
    npy_array array;
} layer_member;

/* How many members a layer has, 2 or 3, and each: its weight; its bias, with what requantises in
 * int8; of int8 project layers since version 2, what their integers stand for. */
int network_members(const network *net, const network_layer *layer);
layer_member network_member(const network *net, const network_layer *layer, int index);
/* Of a detector. */
layer_member network_anchors(const network *net);

#endif
