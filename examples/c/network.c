#include "network.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    STEM_KERNEL = 3,
    STEM_STRIDE = 2,
    STEM_CHANNELS = 32,
    HEAD_CHANNELS = 1280,
    ROWS = 7 /* of either table */
};

typedef struct {
    int expansion, channels, repeats, stride, kernel;
} block_spec;

/* Table 2 of Sandler et al., CVPR 2018. */
static const block_spec mobilenet_v2[ROWS] = {
    {1, 16, 1, 1, 3}, {6, 24, 2, 2, 3},  {6, 32, 3, 2, 3},  {6, 64, 4, 2, 3},
    {6, 96, 3, 1, 3}, {6, 160, 3, 2, 3}, {6, 320, 1, 1, 3},
};

/* Stem, head and the repeats of the first and last row are the same for all of these. */
static const block_spec efficientnet_lite[ROWS] = {
    {1, 16, 1, 1, 3},  {6, 24, 2, 2, 3},  {6, 40, 2, 2, 5},  {6, 80, 3, 2, 3},
    {6, 112, 3, 1, 5}, {6, 192, 4, 2, 5}, {6, 320, 1, 1, 3},
};
enum { VARIANTS = 5 };
static const struct {
    double width, depth;
} lite_scaling[VARIANTS] = {{1.0, 1.0}, {1.0, 1.1}, {1.1, 1.2}, {1.2, 1.4}, {1.4, 1.8}};

static int32_t make_divisible(double channels, int32_t divisor) {
    const int32_t rounded = (int32_t)(channels + divisor / 2.0) / divisor * divisor;
    const int32_t made = rounded > divisor ? rounded : divisor;
    return made < 0.9 * channels ? made + divisor : made;
}

/* Output size of one axis of a convolution, and the padding before. */
static int32_t size_of(int32_t size, int32_t kernel, int32_t stride, bool is_same,
                       int32_t *before) {
    if (!is_same) {
        *before = (kernel - 1) / 2;
        return (size + 2 * *before - kernel) / stride + 1;
    }
    const int32_t out = (size + stride - 1) / stride, total = (out - 1) * stride + kernel - size;
    *before = total > 0 ? total / 2 : 0;
    return out;
}

/* 0 to 4, or -1. */
static int lite_variant(const char *family) {
    static const char prefix[] = "efficientnet_lite";
    const char *digit = family + strlen(prefix);
    if (strncmp(family, prefix, strlen(prefix)) != 0) return -1;
    return *digit >= '0' && *digit < '0' + VARIANTS && !digit[1] ? *digit - '0' : -1;
}

static void add_block(network *net, const block_spec *spec, int32_t channels, bool is_first,
                      bool is_same) {
    const bool is_block_0 = net->block_count == 0;
    const mnv2_block *before = is_block_0 ? NULL : &net->blocks[net->block_count - 1];
    mnv2_block *block = &net->blocks[net->block_count++];
    block->in_height = is_block_0 ? net->stem.out_height : before->out_height;
    block->in_width = is_block_0 ? net->stem.out_width : before->out_width;
    block->in_channels = is_block_0 ? net->stem.channels : before->out_channels;
    block->hidden = block->in_channels * spec->expansion;
    block->out_channels = channels;
    block->kernel = spec->kernel;
    block->stride = is_first ? spec->stride : 1;
    block->out_height = size_of(block->in_height, block->kernel, block->stride, is_same,
                                &block->pad_top);
    block->out_width =
        size_of(block->in_width, block->kernel, block->stride, is_same, &block->pad_left);
    block->residual = block->stride == 1 && block->in_channels == channels;
    block->expand_activation = block->depthwise_activation = MNV2_RELU6;
    block->expand_weight = spec->expansion == 1 ? -1 : 0;
    block->expand_bias = block->expand_weight;
}

static void name_network(network *made, const architecture *said) {
    int at = snprintf(made->name, sizeof made->name, "%s", said->family);
    if (lite_variant(said->family) < 0) {
        const bool is_one = said->width == 1.0;
        at += snprintf(made->name + at, sizeof made->name - (size_t)at, is_one ? "_%.1f" : "_%g",
                       said->width);
    }
    const char *format = said->in_height == said->in_width ? "_%d" : "_%dx%d";
    snprintf(made->name + at, sizeof made->name - (size_t)at, format, said->in_height,
             said->in_width);
}

bool network_of(network *made, const architecture *said, refusal *why) {
    const int variant = lite_variant(said->family);
    const bool is_lite = variant >= 0;
    if (!is_lite && strcmp(said->family, "mobilenet_v2") != 0)
        return refuse(why, "'%s': this version knows mobilenet_v2 and efficientnet_lite0 to 4",
                      said->family);
    const block_spec *rows = is_lite ? efficientnet_lite : mobilenet_v2;
    const double width = is_lite ? lite_scaling[variant].width : said->width;
    const int32_t divisor = is_lite ? 8 : said->divisor;
    if (is_lite && (said->width != width || said->divisor != divisor))
        return refuse(why, "%s has width %g and divisor %d, not %g and %d", said->family, width,
                      divisor, said->width, said->divisor);

    *made = (network){.precision = MNV2_FLOAT32};
    name_network(made, said);
    mnv2_stem *stem = &made->stem;
    stem->in_height = said->in_height;
    stem->in_width = said->in_width;
    stem->out_height = size_of(said->in_height, STEM_KERNEL, STEM_STRIDE, said->is_same,
                               &stem->pad_top);
    stem->out_width =
        size_of(said->in_width, STEM_KERNEL, STEM_STRIDE, said->is_same, &stem->pad_left);
    stem->activation = MNV2_RELU6;
    stem->channels = is_lite ? STEM_CHANNELS : make_divisible(STEM_CHANNELS * width, divisor);
    for (int row = 0; row < ROWS; row++) {
        const bool is_scaled = is_lite && row > 0 && row < ROWS - 1;
        const double depth = is_scaled ? lite_scaling[variant].depth : 1.0;
        const int repeats = (int)ceil(rows[row].repeats * depth);
        const int32_t channels = make_divisible(rows[row].channels * width, divisor);
        for (int i = 0; i < repeats; i++)
            add_block(made, &rows[row], channels, i == 0, said->is_same);
    }
    const mnv2_block *last = &made->blocks[made->block_count - 1];
    made->head = (mnv2_head){
        .height = last->out_height,
        .width = last->out_width,
        .channels = last->out_channels,
        .features = is_lite ? HEAD_CHANNELS
                            : make_divisible(HEAD_CHANNELS * (width > 1.0 ? width : 1.0), divisor),
        .activation = MNV2_RELU6,
    };
    made->classifier = (mnv2_dense){
        .inputs = made->head.features,
        .outputs = said->classes,
        .activation = MNV2_LINEAR,
    };
    return true;
}

/* --- layers -------------------------------------------------------------------------------- */

enum { PARTS = 3 }; /* of a block: expand, depthwise, project */

int32_t network_places(const network *net) { return 1 + PARTS * net->block_count + 2; }

static bool block_layer(mnv2_block *block, int32_t index, int part, network_layer *layer) {
    static const char *const parts[PARTS] = {"expand", "depthwise", "project"};
    if (part == 0 && block->expand_weight < 0) return false;
    snprintf(layer->name, sizeof layer->name, "block%d.%s", index, parts[part]);
    layer->kind = part == 1 ? LAYER_DEPTHWISE : LAYER_POINTWISE;
    layer->in_channels = part == 0 ? block->in_channels : block->hidden;
    layer->out_channels = part == 2 ? block->out_channels : block->hidden;
    layer->kernel = part == 1 ? block->kernel : 1;
    layer->has_relu6 = part < 2;
    int64_t *const weights[] = {&block->expand_weight, &block->depthwise_weight,
                                &block->project_weight};
    int64_t *const biases[] = {&block->expand_bias, &block->depthwise_bias, &block->project_bias};
    int32_t *const fractions[] = {&block->expand_fraction, &block->depthwise_fraction,
                                  &block->project_fraction};
    layer->weight = weights[part];
    layer->bias = biases[part];
    layer->fraction = fractions[part];
    layer->residual = part == 2 ? &block->residual : NULL;
    return true;
}

bool network_layer_at(network *net, int32_t place, network_layer *layer) {
    const int32_t behind = place - 1 - PARTS * net->block_count;
    *layer = (network_layer){.kernel = 1};
    if (place == 0) {
        mnv2_stem *stem = &net->stem;
        *layer = (network_layer){"stem", LAYER_STEM, IMAGE_CHANNELS, stem->channels, STEM_KERNEL,
                                 true, &stem->weight, &stem->bias, &stem->fraction, NULL};
        return true;
    }
    if (behind < 0) {
        const int32_t index = (place - 1) / PARTS;
        return block_layer(&net->blocks[index], index, (place - 1) % PARTS, layer);
    }
    mnv2_head *head = &net->head;
    mnv2_dense *classifier = &net->classifier;
    if (behind == 0)
        *layer = (network_layer){"head", LAYER_POINTWISE, head->channels, head->features, 1, true,
                                 &head->head_weight, &head->head_bias, &head->fraction, NULL};
    else
        *layer = (network_layer){"classifier", LAYER_CLASSIFIER, classifier->inputs,
                                 classifier->outputs, 1, false, &classifier->weight,
                                 &classifier->bias, NULL, NULL};
    return true;
}

static int64_t over(int64_t count, int64_t unit) { return (count + unit - 1) / unit; }

/* Shapes and types are those of docs/model-file.md. */
layer_member weight_member(const network_layer *layer, mnv2_precision precision) {
    const int64_t panels = over(layer->out_channels, PANEL), area = layer->kernel * layer->kernel;
    const bool is_depthwise = layer->kind == LAYER_DEPTHWISE, is_stem = layer->kind == LAYER_STEM;
    const int64_t inputs = is_depthwise ? 1 : layer->in_channels;
    layer_member made;
    snprintf(made.name, sizeof made.name, "%s.weight", layer->name);
    made.array = (npy_array){"<f4", 3, {panels, inputs * area, PANEL, 0}};
    if (precision == MNV2_INT8 && is_depthwise)
        made.array = (npy_array){"|i1", 3, {panels, area, PANEL, 0}};
    else if (precision == MNV2_INT8) /* the terms of a stem's kernel row are 9 */
        made.array = (npy_array){"|i1", 4, {panels, is_stem ? 9 : over(inputs, 4), PANEL, 4}};
    else if (precision == MNV2_FLOAT16_WEIGHTS && !is_depthwise)
        made.array.descr = "<f2";
    else if ((precision == MNV2_BFLOAT16_WEIGHTS || precision == MNV2_BFLOAT16) && !is_depthwise)
        made.array = (npy_array){"<u2", 4, {panels, is_stem ? 15 : over(inputs, 2), PANEL, 2}};
    return made;
}

layer_member bias_member(const network_layer *layer, mnv2_precision precision) {
    const int64_t panels = over(layer->out_channels, PANEL);
    const bool is_int8 = precision == MNV2_INT8, is_last = layer->kind == LAYER_CLASSIFIER;
    layer_member made = {.array = {"<f4", 1, {panels * PANEL, 0, 0, 0}}};
    const char *kind = !is_int8 ? "bias" : is_last ? "dequantise" : "requantise";
    snprintf(made.name, sizeof made.name, "%s.%s", layer->name, kind);
    if (is_int8) made.array = (npy_array){is_last ? "<f4" : "<i4", 3, {panels, 2, PANEL, 0}};
    return made;
}
