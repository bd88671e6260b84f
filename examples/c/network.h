/* What a network is: its layers and their shapes, from the family and the width that a model file
 * names; mnv2_engine/network/architecture.py says where the tables come from. */
#ifndef NETWORK_H
#define NETWORK_H

#include "mnv2.h"
#include "npz.h"
#include "refusal.h"

enum { PANEL = 16, IMAGE_CHANNELS = 3, ARENA_ALIGNMENT = 64 };

/* Bounds on what a model file may say, far above any published network. */
enum { MAX_RESOLUTION = 4096, MAX_CLASSES = 1 << 20, MAX_DIVISOR = 64, MAX_WIDTH = 16 };

/* What a model file says, within those bounds. */
typedef struct {
    char family[24]; /* "mobilenet_v2" or "efficientnet_lite0" to "efficientnet_lite4" */
    double width;    /* width multiplier */
    int32_t divisor; /* channels are rounded to multiples of it */
    int32_t in_height, in_width; /* pixels */
    int32_t classes;
    bool is_same; /* padding of TensorFlow; else of PyTorch */
} architecture;

/* What a run computes: the part of a mnv2_plan that does not depend on how it is scheduled.
 * Residuals are 1 or 0 here, an expand_weight is -1 where there is no expand layer. The precision
 * is that of the weights; who wants bfloat16 weights computed in bfloat16 sets MNV2_BFLOAT16. */
typedef struct {
    char name[64];
    mnv2_precision precision;
    int32_t block_count;
    mnv2_stem stem;
    int32_t filter;       /* mnv2_filter: how a photograph is resized, and */
    double crop_fraction; /* which part of it the network sees */
    mnv2_block blocks[MNV2_MAX_BLOCKS];
    mnv2_head head;
    mnv2_dense classifier;
} network;

/* Resolves all shapes. Refuses an unknown family, and another width than its own. */
bool network_of(network *made, const architecture *said, refusal *why);

typedef enum { LAYER_STEM, LAYER_POINTWISE, LAYER_DEPTHWISE, LAYER_CLASSIFIER } layer_kind;

typedef struct {
    char name[24]; /* "stem", "block3.expand", "head", "classifier" */
    layer_kind kind;
    int32_t in_channels, out_channels, kernel;
    bool has_relu6;
    /* Of the network; NULL where the layer has none. */
    int64_t *weight, *bias; /* offsets */
    int32_t *fraction, *residual;
} network_layer;

/* Layers have places from 0 up to network_places, in the order of execution; some are empty: then
 * it is false. */
int32_t network_places(const network *net);
bool network_layer_at(network *net, int32_t place, network_layer *layer);

/* The two members of a model file that belong to a layer. */
typedef struct {
    char name[40]; /* of the member, such as "stem.weight" */
    npy_array array;
} layer_member;

layer_member weight_member(const network_layer *layer, mnv2_precision precision);
layer_member bias_member(const network_layer *layer, mnv2_precision precision);

#endif
