#include "family.h"

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
    block->depthwise_activation = MNV2_RELU6;
    if (spec->expansion != 1) block->expand_activation = MNV2_RELU6;
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

static void name_layers(network *net) {
    snprintf(net->names[0], sizeof net->names[0], "stem");
    for (int32_t i = 0; i < net->block_count; i++) {
        char(*const names)[MAX_LAYER_NAME + 1] = &net->names[1 + BLOCK_PARTS * i];
        if (net->blocks[i].expand_weight >= 0)
            snprintf(names[0], sizeof names[0], "block%d.expand", i);
        snprintf(names[1], sizeof names[1], "block%d.depthwise", i);
        snprintf(names[2], sizeof names[2], "block%d.project", i);
    }
    snprintf(net->names[network_place_behind(net)], sizeof net->names[0], "head");
    snprintf(net->names[network_place_behind(net) + 1], sizeof net->names[0], "classifier");
}

bool network_of_family(network *made, const architecture *said, refusal *why) {
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

    network_begin(made);
    made->answer = ANSWER_SOFTMAX;
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
    made->dense_count = 1;
    made->dense[0] = (mnv2_dense){
        .inputs = made->head.features,
        .outputs = said->classes,
        .activation = MNV2_LINEAR,
    };
    name_layers(made);
    return true;
}
