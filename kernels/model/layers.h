/* A table of layers while it is matched with what the kernels run: what table.c and detector.c share. */
#ifndef LAYERS_H
#define LAYERS_H

#include "json.h"
#include "network.h"

enum {
    MAX_LAYERS = 1024,
    IMAGE = -1 /* in place of a layer's number */
};

typedef enum { CONV, POINTWISE, DEPTHWISE, ADD, POOL, DENSE, OPERATIONS } operation;

/* A map, or features: then it is one pixel that only dense layers read. */
typedef struct {
    int32_t height, width, channels;
    bool is_pooled;
} shape;

/* A layer with every shape resolved. */
typedef struct {
    const char *name;
    operation operation;
    int32_t inputs[2]; /* numbers of layers before it; IMAGE */
    int32_t input_count;
    shape in, out;
    int32_t kernel, stride, dilation, activation;
    int32_t top, left, bottom, right;
    int32_t readers; /* how often it is an input; of a detector's chain, to layers of the chain */
    bool is_output, is_beside; /* of a detector; a layer of a head */
} layer;

typedef struct {
    layer *layers;
    int32_t count;
    int32_t image_readers;
    int32_t in_height, in_width;
    int16_t chain[MAX_LAYERS]; /* numbers of those that blocks are made of, in order */
    int32_t chain_count;
} table;

/* The layers of a block, from a place of the chain on, whose input is layer `thin`. */
typedef struct {
    int32_t expand;    /* -1: none */
    int32_t depthwise; /* -1: none, of a detector alone */
    int32_t project;
    bool residual;
    int32_t output;
} block_layers;

/* As supported.py's, in one sentence. */
bool refuse_layer(refusal *why, const char *name, const char *problem);
bool refuse_window(refusal *why, const layer *x, const char *what);

/* The layer of that name before `end`, IMAGE for the image, or `end`. */
int32_t find_layer(const table *all, const json_value *name, int32_t end);
/* The number of a text among `count`, or -1. */
int32_t find_text(const json_value *value, const char *const *texts, size_t count);

bool match_stem(network *net, const table *all, refusal *why);
/* Whether a depthwise layer is one that runs. */
bool check_depthwise(const layer *depthwise, refusal *why);
/* Adds the block that begins at place *at of the chain, and says its layers; `done` where none
 * does. */
bool match_block(network *net, const table *all, int32_t *at, int32_t *thin, block_layers *found,
                 bool *done, refusal *why);
/* Adds a block of such layers. */
bool add_block(network *net, const table *all, const block_layers *found, refusal *why);

#endif
