#include "network.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static int64_t over(int64_t count, int64_t unit) { return (count + unit - 1) / unit; }

int32_t network_classes(const network *net) {
    if (net->answer == ANSWER_BOXES)
        return net->detection.columns - net->detection.has_background;
    return net->dense_count > 0 ? net->dense[net->dense_count - 1].outputs : 0;
}

bool network_runs_depthwise(int32_t kernel, int32_t stride, int32_t dilation) {
#define DEPTHWISE(k, s, d) \
    if (kernel == (k) && stride == (s) && dilation == (d)) return true;
#include "supported.def"
#undef DEPTHWISE
    return false;
}

void network_begin(network *made) {
    memset(made, 0, offsetof(network, names));
    made->precision = MNV2_FLOAT32;
}

/* --- layers -------------------------------------------------------------------------------- */

int32_t network_place_behind(const network *net) { return 1 + BLOCK_PARTS * net->block_count; }

int32_t network_places(const network *net) {
    return network_place_behind(net) + net->conv_count + 1 + net->dense_count;
}

static bool block_layer(network *net, int32_t index, int part, network_layer *layer) {
    mnv2_block *block = &net->blocks[index];
    if (part == 0 && block->expand_weight < 0) return false;
    if (part == 1 && block->depthwise_weight < 0) return false;
    layer->kind = part == 1 ? LAYER_DEPTHWISE : LAYER_POINTWISE;
    layer->in_channels = part == 0 ? block->in_channels : block->hidden;
    layer->out_channels = part == 2 ? block->out_channels : block->hidden;
    layer->kernel = part == 1 ? block->kernel : 1;
    layer->activation = part == 0   ? block->expand_activation
                        : part == 1 ? block->depthwise_activation
                                    : block->project_activation;
    int64_t *const weights[] = {&block->expand_weight, &block->depthwise_weight,
                                &block->project_weight};
    int64_t *const biases[] = {&block->expand_bias, &block->depthwise_bias, &block->project_bias};
    int32_t *const fractions[] = {&block->expand_fraction, &block->depthwise_fraction,
                                  &block->project_fraction};
    layer->weight = weights[part];
    layer->bias = biases[part];
    layer->fraction = fractions[part];
    layer->values = part == 2 ? &block->values : NULL;
    layer->residual = part == 2 ? &block->residual : NULL;
    return true;
}

static void stem_layer(mnv2_stem *stem, network_layer *layer) {
    layer->kind = LAYER_STEM;
    layer->in_channels = IMAGE_CHANNELS;
    layer->out_channels = stem->channels;
    layer->kernel = 3;
    layer->activation = stem->activation;
    layer->weight = &stem->weight;
    layer->bias = &stem->bias;
    layer->fraction = &stem->fraction;
}

static void conv_layer(mnv2_conv *conv, network_layer *layer) {
    layer->kind = LAYER_CONV;
    layer->in_channels = conv->in_channels;
    layer->out_channels = conv->out_channels;
    layer->kernel = conv->kernel;
    layer->activation = conv->activation;
    layer->weight = &conv->weight;
    layer->bias = &conv->bias;
    layer->fraction = &conv->fraction;
}

static bool head_layer(mnv2_head *head, network_layer *layer) {
    if (head->head_weight < 0) return false;
    layer->kind = LAYER_POINTWISE;
    layer->in_channels = head->channels;
    layer->out_channels = head->features;
    layer->activation = head->activation;
    layer->weight = &head->head_weight;
    layer->bias = &head->head_bias;
    layer->fraction = &head->fraction;
    return true;
}

bool network_layer_at(network *net, int32_t place, network_layer *layer) {
    const int32_t behind = place - network_place_behind(net), dense = behind - net->conv_count - 1;
    *layer = (network_layer){.name = net->names[place], .kernel = 1};
    if (place == 0) {
        stem_layer(&net->stem, layer);
        return true;
    }
    if (behind < 0)
        return block_layer(net, (place - 1) / BLOCK_PARTS, (place - 1) % BLOCK_PARTS, layer);
    if (behind < net->conv_count) {
        conv_layer(&net->convs[behind], layer);
        return true;
    }
    if (dense < 0) return head_layer(&net->head, layer);
    layer->kind = dense > 0 ? LAYER_LATER_DENSE : LAYER_DENSE;
    layer->in_channels = net->dense[dense].inputs;
    layer->out_channels = net->dense[dense].outputs;
    layer->activation = net->dense[dense].activation;
    layer->weight = &net->dense[dense].weight;
    layer->bias = &net->dense[dense].bias;
    return true;
}

/* --- members ------------------------------------------------------------------------------- */

/* Shapes and types are those of docs/model-file.md. */
static npy_array weight_array(const network_layer *layer, mnv2_precision precision) {
    const bool is_depthwise = layer->kind == LAYER_DEPTHWISE;
    const bool has_rows = layer->kind == LAYER_STEM || layer->kind == LAYER_CONV;
    const int64_t panels = over(layer->out_channels, PANEL);
    /* Terms of a sum that lie side by side, and how many times as many there are. */
    const int64_t segment = is_depthwise ? 1 : (has_rows ? layer->kernel : 1) * layer->in_channels;
    const int64_t rows = is_depthwise ? layer->kernel * layer->kernel : layer->kernel;
    const npy_array single = {"<f4", 3, {panels, rows * segment, PANEL, 0}};
    switch (precision) {
        case MNV2_INT8:
            if (is_depthwise) return (npy_array){"|i1", 3, {panels, rows, PANEL, 0}};
            return (npy_array){"|i1", 4, {panels, rows * over(segment, 4), PANEL, 4}};
        case MNV2_FLOAT16_WEIGHTS:
            if (is_depthwise) return single;
            return (npy_array){"<f2", 3, {panels, rows * segment, PANEL, 0}};
        case MNV2_BFLOAT16_WEIGHTS:
        case MNV2_BFLOAT16:
            if (is_depthwise) return single;
            return (npy_array){"<u2", 4, {panels, rows * over(segment, 2), PANEL, 2}};
        case MNV2_FLOAT32:
        case MNV2_PRECISIONS:
            break;
    }
    return single;
}

int network_members(const network *net, const network_layer *layer) {
    return net->precision == MNV2_INT8 && net->version > 1 && layer->values ? 3 : 2;
}

mnv2_precision network_stored(const network *net, const network_layer *layer) {
    if (layer->kind == LAYER_LATER_DENSE) return MNV2_FLOAT32;
    if (layer->kind == LAYER_DENSE && net->dense[0].stored)
        return (mnv2_precision)net->dense[0].stored;
    return net->precision;
}

layer_member network_member(const network *net, const network_layer *layer, int index) {
    const int64_t panels = over(layer->out_channels, PANEL);
    const mnv2_precision stored = network_stored(net, layer);
    const bool is_int8 = stored == MNV2_INT8;
    const bool is_dense = layer->kind == LAYER_DENSE;
    const char *bias = !is_int8 ? "bias" : is_dense ? "dequantise" : "requantise";
    const char *kind = index == 0 ? "weight" : index == 1 ? bias : "values";
    layer_member made;
    snprintf(made.name, sizeof made.name, "%s.%s", layer->name, kind);
    if (index == 0)
        made.array = weight_array(layer, stored);
    if (index == 0 && is_int8 && net->precision == MNV2_FLOAT32) /* float features: no groups */
        made.array = (npy_array){"|i1", 3, {panels, layer->in_channels, PANEL, 0}};
    if (index == 2)
        made.array = (npy_array){"<f4", 2, {2, layer->out_channels, 0, 0}};
    else if (index == 1 && is_int8)
        made.array = (npy_array){is_dense ? "<f4" : "<i4", 3, {panels, 2, PANEL, 0}};
    else if (index == 1)
        made.array = (npy_array){"<f4", 1, {panels * PANEL, 0, 0, 0}};
    return made;
}

layer_member network_anchors(const network *net) {
    layer_member made = {"anchors", {"<f4", 2, {net->detection.anchors, 4, 0, 0}}};
    return made;
}
