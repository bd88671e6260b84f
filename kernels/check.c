/* Whether a plan may be believed: mnv2_run does, and then reads and writes what it says.
 *
 * Every extent is bounded first, so that no size below overflows 64 bits and no product of the
 * kernels' own overflows an int. Then the steps are gone through in order. What the one leaves in
 * the arena is what the next one takes: `tensor`. Every array that a step works on lies in the
 * arena, and no two of them overlap, the input and the output included, unless the step runs in
 * place.
 *
 * In place are steps of rows of one part whose output begins where their input does, if no output
 * row reaches the input rows that are still needed. */
#include <stddef.h>
#include <string.h>

#include "branches.h"
#include "isa.h"
#include "kernel.h"

enum {
    MOST_EXTENT = 1 << 13,   /* height or width of a map */
    MOST_CHANNELS = 1 << 20, /* of a map, or outputs of a dense layer */
    MOST_VALUES = 1 << 30,   /* of a map in panels */
    MOST_SUMMED = 1 << 23,   /* pixels whose 8-bit values are added up in 32 bits */
    IMAGE_CHANNELS = 3,
    ALIGNMENT = 64, /* of arrays in the arena */
    MOST_ARRAYS = 8 + 3 * MNV2_MAX_BLOCKS,
    FLOAT = 4, /* bytes */
};
static const int64_t MOST_BYTES = (int64_t)1 << 48; /* of the arena or the weights */

/* What lies between two steps: the caller's image, a map or a vector of floats or sums. */
typedef struct {
    enum { IMAGE, MAP, VECTOR } kind;
    int32_t height, width, channels;
    int64_t at;
} tensor;

typedef struct {
    int64_t at, bytes;
    int is_own; /* of one part, which the others have thread_bytes further on */
} array;

/* A step and its arrays; if `in_place` may be set, the first two are its input and output. */
typedef struct {
    const mnv2_plan *plan;
    const mnv2_step *step;
    array arrays[MOST_ARRAYS];
    int count;
    int in_place; /* the output may begin where the input does */
} step_arrays;

/* --- sizes --------------------------------------------------------------------------------- */

static int is_int8(const mnv2_plan *plan) { return plan->precision == MNV2_INT8; }

static int64_t thin_bytes(const mnv2_plan *plan) {
    return is_int8(plan) ? 1 : plan->precision == MNV2_BFLOAT16 ? 2 : FLOAT;
}

static int64_t expanded_bytes(const mnv2_plan *plan) { return is_int8(plan) ? 1 : FLOAT; }

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int is_within(int64_t value, int64_t first, int64_t last) {
    return value >= first && value <= last;
}

static int is_map(int32_t height, int32_t width, int32_t channels) {
    return is_within(height, 1, MOST_EXTENT) && is_within(width, 1, MOST_EXTENT) &&
           is_within(channels, 1, MOST_CHANNELS) &&
           (int64_t)height * width * panels_of(channels) * PANEL <= MOST_VALUES;
}

/* Whether a kernel makes `out` of `in` with so much padding before, and less than a kernel behind:
 * then every window has an input under it. */
static int is_filtered(int32_t in, int32_t out, int32_t kernel, int32_t stride, int32_t pad) {
    const int32_t behind = (out - 1) * stride + kernel - pad - in;
    return is_within(pad, 0, kernel - 1) && is_within(behind, 1 - stride, kernel - 1);
}

static int is_supported(int32_t kernel, int32_t stride) {
#define DEPTHWISE(K, S, dilation) \
    if (kernel == K && stride == S) return dilation == 1;
#include "supported.def"
#undef DEPTHWISE
    return 0;
}

static int is_activation(int32_t activation) {
    return is_within(activation, MNV2_LINEAR, MNV2_RELU6);
}

static int is_fraction(int32_t fraction) { return is_within(fraction, 0, 6); }

/* --- weights ------------------------------------------------------------------------------- */

static int has_weights(const mnv2_plan *plan, int64_t offset, int64_t bytes) {
    return offset >= 0 && offset % FLOAT == 0 && bytes <= plan->weight_bytes &&
           offset <= plan->weight_bytes - bytes;
}

/* Of a convolution of `rows` segments of `segment` terms each, stored as `precision`. */
static int has_weights_of(const mnv2_plan *plan, int32_t precision, int64_t weight, int64_t bias,
                          int64_t outputs, int64_t rows, int64_t segment) {
    static const struct {
        int group, bytes;
    } stored[MNV2_PRECISIONS] = {
        [MNV2_FLOAT32] = {1, 4},          [MNV2_FLOAT16_WEIGHTS] = {1, 2},
        [MNV2_BFLOAT16_WEIGHTS] = {2, 2}, [MNV2_BFLOAT16] = {2, 2},
        [MNV2_INT8] = {4, 1},
    };
    const int64_t panels = panels_of((int)outputs), group = stored[precision].group;
    const int64_t terms = rows * ((segment + group - 1) / group * group);
    return has_weights(plan, weight, panels * terms * PANEL * stored[precision].bytes) &&
           has_weights(plan, bias, panels * (precision == MNV2_INT8 ? 2 : 1) * PANEL * FLOAT);
}

/* The same in the plan's precision. */
static int has_convolution(const mnv2_plan *plan, int64_t weight, int64_t bias, int64_t outputs,
                           int64_t rows, int64_t segment) {
    return has_weights_of(plan, plan->precision, weight, bias, outputs, rows, segment);
}

/* Of a dense layer. In 8 bits of a float32 plan it has no groups. */
static int has_dense(const mnv2_plan *plan, const mnv2_dense *dense) {
    const int64_t lanes = (int64_t)panels_of(dense->outputs) * PANEL;
    if (dense->stored == MNV2_INT8)
        return has_weights(plan, dense->weight, lanes * dense->inputs) &&
               has_weights(plan, dense->bias, 2 * lanes * FLOAT);
    const int32_t own = dense->stored ? dense->stored : plan->precision;
    return has_weights_of(plan, dense == plan->dense ? own : MNV2_FLOAT32, dense->weight,
                          dense->bias, dense->outputs, 1, dense->inputs);
}

static const char *check_weights(const mnv2_plan *plan) {
    const mnv2_stem *stem = &plan->stem;
    const mnv2_head *head = &plan->head;
    if (!has_convolution(plan, stem->weight, stem->bias, stem->channels, 3, 9))
        return "the stem's weights or biases lie outside the weights, or not at a multiple of 4";
    for (int32_t i = 0; i < plan->block_count; i++) {
        const mnv2_block *block = &plan->blocks[i];
        const int64_t panels = panels_of(block->hidden), taps = block->kernel * block->kernel;
        if (block->expand_weight != -1 &&
            !has_convolution(plan, block->expand_weight, block->expand_bias, block->hidden, 1,
                             block->in_channels))
            return "an expand layer's weights or biases lie outside the weights, or not at a "
                   "multiple of 4";
        if (block->kernel > 1 &&
            (!has_weights(plan, block->depthwise_weight,
                         panels * taps * PANEL * (is_int8(plan) ? 1 : FLOAT)) ||
            !has_weights(plan, block->depthwise_bias,
                         panels * (is_int8(plan) ? 2 : 1) * PANEL * FLOAT)))
            return "a depthwise layer's weights or biases lie outside the weights, or not at a "
                   "multiple of 4";
        if (!has_convolution(plan, block->project_weight, block->project_bias,
                             block->out_channels, 1, block->hidden))
            return "a project layer's weights or biases lie outside the weights, or not at a "
                   "multiple of 4";
    }
    for (int32_t i = 0; i < plan->conv_count; i++) {
        const mnv2_conv *conv = &plan->convs[i];
        if (!has_convolution(plan, conv->weight, conv->bias, conv->out_channels, conv->kernel,
                             (int64_t)conv->kernel * conv->in_channels))
            return "a convolution's weights or biases lie outside the weights, or not at a "
                   "multiple of 4";
    }
    if (head->head_weight != -1 && !has_convolution(plan, head->head_weight, head->head_bias,
                                                    head->features, 1, head->channels))
        return "the head's weights or biases lie outside the weights, or not at a multiple of 4";
    for (int32_t i = 0; i < plan->dense_count; i++) {
        if (!has_dense(plan, &plan->dense[i]))
            return "a dense layer's weights or biases lie outside the weights, or not at a "
                   "multiple of 4";
    }
    for (int32_t i = plan->block_count - plan->predictor_count;
         is_int8(plan) && i < plan->block_count; i++)
        if (!has_weights(plan, plan->blocks[i].values,
                         2 * FLOAT * (int64_t)plan->blocks[i].out_channels))
            return "a head's scales lie outside the weights, or not at a multiple of 4";
    for (int32_t i = 0; is_int8(plan) && i < plan->tap_count; i++)
        if (!has_weights(plan, plan->taps[i].values, 2 * FLOAT * (int64_t)plan->taps[i].channels))
            return "a tap's scales lie outside the weights, or not at a multiple of 4";
    return NULL;
}

/* --- layers -------------------------------------------------------------------------------- */

static const char *check_block(const mnv2_plan *plan, int32_t index) {
    const mnv2_block *block = &plan->blocks[index];
    if (!is_map(block->in_height, block->in_width, block->in_channels) ||
        !is_map(block->out_height, block->out_width, block->out_channels) ||
        !is_map(block->in_height, block->in_width, block->hidden) ||
        !is_map(block->out_height, block->out_width, block->hidden))
        return "a block's sizes or channels are out of range";
    const int is_plain = block->kernel == 1 && block->stride == 1; /* no depthwise layer */
    if (is_plain != (block->depthwise_weight < 0) ||
        (!is_plain && !is_supported(block->kernel, block->stride)))
        return "a block's depthwise kernel and stride are not in kernels/supported.def";
    if (!is_filtered(block->in_height, block->out_height, block->kernel, block->stride,
                     block->pad_top) ||
        !is_filtered(block->in_width, block->out_width, block->kernel, block->stride,
                     block->pad_left))
        return "a block's output size does not follow from its input, kernel, stride and padding";
    if (block->expand_weight < 0 && block->hidden != block->in_channels)
        return "a block without an expand layer has other hidden channels than input channels";
    if (!is_activation(block->expand_activation) || !is_activation(block->depthwise_activation) ||
        !is_activation(block->project_activation))
        return "a block's activation is none of mnv2_activation";
    if (block->residual && (block->stride != 1 || block->in_channels != block->out_channels ||
                            block->in_height != block->out_height ||
                            block->in_width != block->out_width))
        return "a block with a residual has another output than input size";
    if (block->residual && block->project_activation != MNV2_LINEAR)
        return "a block has both a residual and an activation of its project layer";
    if (!is_within(block->residual, 0, is_int8(plan) ? 32767 : 1))
        return "a block's residual is out of range";
    if (is_int8(plan) && (!is_within(block->pad, 0, 255) || !is_fraction(block->expand_fraction) ||
                          !is_fraction(block->depthwise_fraction) ||
                          !is_fraction(block->project_fraction)))
        return "a block's padding or fractions are out of range";
    return NULL;
}

/* Blocks that are heads, and where they read: the expanded tensors of the blocks that name them, each
 * once and in order, or what lies before their own step. */
static const char *check_predictors(const mnv2_plan *plan) {
    const int32_t chain = plan->block_count - plan->predictor_count;
    for (int32_t i = 0; i < plan->block_count; i++) {
        const mnv2_block *block = &plan->blocks[i];
        const int is_head = i >= chain;
        if (is_head && (block->expand_weight >= 0 || block->residual))
            return "a head has an expand layer or a residual";
        if (!is_within(block->within_count, 0, is_head || i == 0 ? 0 : plan->predictor_count))
            return "a block has more heads within than there are, or is a head, or block 0";
        if (block->within_count == 0) continue;
        if (!is_within(block->within, chain, plan->block_count - block->within_count))
            return "the heads within a block are none of the last blocks";
        for (int32_t n = 0; n < block->within_count; n++) {
            const mnv2_block *head = block + (block->within + n - i);
            if (head->in_height != block->in_height || head->in_width != block->in_width ||
                head->in_channels != block->hidden)
                return "a head reads another tensor than its block's expanded one";
        }
    }
    for (int32_t i = 0; i < plan->map_count; i++) {
        const mnv2_map *map = &plan->maps[i];
        if (!is_within(map->boxes, chain, plan->block_count - 1) ||
            !is_within(map->scores, chain, plan->block_count - 1) || map->boxes == map->scores)
            return "a map's boxes or scores are no head";
        const mnv2_block *boxes = &plan->blocks[map->boxes], *scores = &plan->blocks[map->scores];
        if (!is_within(map->anchors, 1, MOST_CHANNELS / 4) ||
            boxes->out_channels != 4 * map->anchors ||
            scores->out_channels != (int64_t)plan->columns * map->anchors ||
            boxes->out_height != scores->out_height || boxes->out_width != scores->out_width)
            return "a map's anchors do not fit the outputs of its heads";
    }
    return NULL;
}

/* How many taps are of expanded tensors. */
static int32_t expanded_taps(const mnv2_plan *plan) {
    int32_t count = 0;
    for (int32_t i = 0; i < plan->block_count; i++) count += plan->blocks[i].expanded_tap != 0;
    return count;
}

static const char *check_expanded_taps(const mnv2_plan *plan) {
    int32_t next = plan->tap_count - expanded_taps(plan);
    if (next < 0) return "more expanded tensors than taps";
    for (int32_t i = 0; i < plan->block_count; i++) {
        const mnv2_block *block = &plan->blocks[i];
        if (block->expanded_tap == 0) continue;
        if (i == 0 || block->expand_weight < 0 || is_int8(plan))
            return "an expanded tensor is tapped of block 0, without an expand layer or in 8 bits";
        if (block->expanded_tap != ++next) return "taps of expanded tensors are not in order";
        const mnv2_tap *tap = &plan->taps[next - 1];
        if (tap->height != block->in_height || tap->width != block->in_width ||
            tap->channels != block->hidden)
            return "a tap has another size than its block's expanded tensor";
    }
    return NULL;
}

static const char *check_layers(const mnv2_plan *plan) {
    const mnv2_stem *stem = &plan->stem;
    const mnv2_head *head = &plan->head;
    const char *why = NULL;
    if (!is_map(stem->in_height, stem->in_width, IMAGE_CHANNELS) ||
        !is_map(stem->out_height, stem->out_width, stem->channels))
        return "the stem's sizes or channels are out of range";
    if (!is_filtered(stem->in_height, stem->out_height, 3, 2, stem->pad_top) ||
        !is_filtered(stem->in_width, stem->out_width, 3, 2, stem->pad_left))
        return "the stem's output size does not follow from the image and its padding";
    if (!is_activation(stem->activation) || (is_int8(plan) && !is_fraction(stem->fraction)))
        return "the stem's activation or fraction is out of range";
    for (int32_t i = 0; i < plan->block_count && !why; i++) why = check_block(plan, i);
    if (!why) why = check_predictors(plan);
    if (!why) why = check_expanded_taps(plan);
    for (int32_t i = 0; i < plan->conv_count && !why; i++) {
        const mnv2_conv *conv = &plan->convs[i];
        if (!is_map(conv->in_height, conv->in_width, conv->in_channels) ||
            !is_map(conv->out_height, conv->out_width, conv->out_channels) ||
            !is_within(conv->kernel, 1, MNV2_MAX_KERNEL) ||
            !is_within(conv->stride, 1, MOST_EXTENT))
            why = "a convolution's sizes, channels, kernel or stride are out of range";
        else if (conv->in_height < conv->kernel || conv->in_width < conv->kernel ||
                 conv->out_height != (conv->in_height - conv->kernel) / conv->stride + 1 ||
                 conv->out_width != (conv->in_width - conv->kernel) / conv->stride + 1)
            why = "a convolution's output size does not follow from its input, kernel and stride";
        else if (!is_activation(conv->activation) ||
                 (is_int8(plan) && !is_fraction(conv->fraction)))
            why = "a convolution's activation or fraction is out of range";
    }
    for (int32_t i = 0; i < plan->tap_count && !why; i++)
        if (!is_map(plan->taps[i].height, plan->taps[i].width, plan->taps[i].channels))
            why = "a tap's sizes or channels are out of range";
    if (why || plan->predictor_count > 0) return why; /* a detector has no head in front of a pool */
    if (!is_map(head->height, head->width, head->channels) ||
        !is_within(head->features, 1, MOST_CHANNELS))
        return "the head's sizes, channels or features are out of range";
    if (is_int8(plan) && head->height * head->width > MOST_SUMMED)
        return "the head has more pixels than 32 bits can add up";
    if (head->head_weight < 0 && head->features != head->channels)
        return "a head without a convolution has other features than channels";
    if (!is_activation(head->activation)) return "the head's activation is none of mnv2_activation";
    if (is_int8(plan) && (!is_fraction(head->fraction) || !is_fraction(head->pool_fraction) ||
                          !is_within(head->pool_multiplier, 0, 32767) ||
                          !is_within(head->pool_shift, 0, 31)))
        return "the head's fraction, or the pool's numbers, are out of range";
    for (int32_t i = 0, inputs = head->features; i < plan->dense_count; i++) {
        const mnv2_dense *dense = &plan->dense[i];
        if (dense->inputs != inputs) return "a dense layer has other inputs than lie before it";
        if (!is_within(dense->outputs, 1, MOST_CHANNELS) || !is_activation(dense->activation))
            return "a dense layer's outputs or activation are out of range";
        if (!is_stored_soundly(plan, dense))
            return "a dense layer's weights are stored as none of a float32 plan's first one are";
        inputs = dense->outputs;
    }
    return NULL;
}

/* --- arrays -------------------------------------------------------------------------------- */

static void add_array(step_arrays *all, int64_t at, int64_t bytes, int is_own) {
    const int spaced = is_int8(all->plan) && all->plan->threads > 1;
    all->arrays[all->count++] = (array){at, bytes + (spaced ? MNV2_OVERREAD : 0), is_own};
}

static int are_apart(int64_t a, int64_t a_bytes, int64_t b, int64_t b_bytes) {
    return a + a_bytes <= b || b + b_bytes <= a;
}

static const char *check_arrays(const step_arrays *all) {
    const mnv2_plan *plan = all->plan;
    const int64_t threads = plan->threads, between = all->step->thread_bytes;
    const int64_t behind = is_int8(plan) && threads == 1 ? MNV2_OVERREAD : 0;
    int64_t first = MOST_BYTES, end = 0; /* of what is one part's own */
    for (int i = 0; i < all->count; i++) {
        const array *a = &all->arrays[i];
        if (a->at < 0 || a->at % ALIGNMENT)
            return "an array of a step does not lie at a multiple of 64 in the arena";
        if (a->at > plan->arena_bytes || a->bytes + behind > plan->arena_bytes - a->at)
            return "an array of a step reaches past the arena's end";
        if (a->is_own) first = smaller(first, a->at);
        if (a->is_own) end = larger(end, a->at + a->bytes);
        for (int n = 0; n < i; n++) {
            const array *b = &all->arrays[n];
            if (n == 0 && i == 1 && all->in_place && a->at == b->at) continue;
            if (!are_apart(a->at, a->bytes, b->at, b->bytes))
                return "two arrays of a step overlap";
        }
    }
    if (threads == 1 || end == 0) return NULL;
    if (between % ALIGNMENT || between < end - first || between > MOST_BYTES)
        return "a step's thread_bytes are too few for the scratch of a part, or no multiple of 64";
    const int64_t every = end - first + (threads - 1) * between;
    if (every > plan->arena_bytes - first) return "the scratch of all parts reaches past the arena";
    for (int i = 0; i < all->count; i++)
        if (!all->arrays[i].is_own &&
            !are_apart(all->arrays[i].at, all->arrays[i].bytes, first, every))
            return "an array of a step overlaps with the scratch of a part";
    return NULL;
}

static int64_t map_bytes(const mnv2_plan *plan, const tensor *map) {
    return thin_bytes(plan) * map->height * map->width * map->channels;
}

static int64_t vector_bytes(int64_t values) { return panels_of((int)values) * PANEL * FLOAT; }

/* Values of an image row under so many outputs of the stem. */
static int64_t stem_row(const mnv2_plan *plan, int64_t outputs) {
    return ((outputs - 1) * 2 + 3) * IMAGE_CHANNELS + (is_int8(plan) ? 3 : 0);
}

static int64_t padded(int32_t in, int32_t out, int32_t kernel, int32_t stride, int32_t pad) {
    return larger(pad + in, (int64_t)(out - 1) * stride + kernel);
}

/* Whether an output row never reaches an input row that is read while it is written, or later. How
 * far reading is ahead of writing is a concave function of the row, so the ends decide. */
static int runs_in_place(const mnv2_plan *plan, const mnv2_step *step) {
    const mnv2_block *from = &plan->blocks[step->first], *to = from + step->count - 1;
    const int64_t row_in = (int64_t)from->in_width * from->in_channels;
    const int64_t row_out = (int64_t)to->out_width * to->out_channels;
    if (plan->threads > 1) return 0;
    for (int end = 0; end < 2; end++) {
        const int64_t written = end ? to->out_height : 1;
        int64_t reading = written - 1;
        for (const mnv2_block *block = to; block >= from; block--) {
            /* Integers read as many rows at once as the stride. */
            const int at_once = is_int8(plan) ? block->stride : 1;
            reading = reading * block->stride - block->pad_top + block->kernel - at_once;
            reading = smaller(reading, block->in_height);
        }
        if (written * row_out > reading * row_in) return 0;
    }
    return 1;
}

static const char *add_rows(step_arrays *all) {
    const mnv2_plan *plan = all->plan;
    const mnv2_step *step = all->step;
    const int64_t thin = thin_bytes(plan), wide = expanded_bytes(plan);
    int64_t expanded = 0, halo = 0, filtered = 0;
    if (!is_within(step->strip, 1, MOST_EXTENT)) return "a step's strip is out of range";
    for (int32_t i = step->first; i < step->first + step->count; i++) {
        const mnv2_block *block = &plan->blocks[i];
        if (block->kernel == 1 || block->within_count > 0 || block->expanded_tap)
            return "a block without a depthwise layer, or whose expanded tensor is read, runs by "
                   "tiles alone";
        const int64_t panels = panels_of(block->hidden), overlap = block->kernel - block->stride;
        const int64_t strip = smaller(step->strip, block->out_width);
        if (panels * step->strip * PANEL > MOST_VALUES) return "a step's strip is out of range";
        const int64_t columns = (strip - 1) * block->stride + block->kernel;
        const int64_t lines = is_int8(plan) ? block->stride : 1;
        const int64_t pixels = i == 0 ? 3 * stem_row(plan, columns) : 0;
        const int64_t kept = block->residual ? block->kernel - block->pad_top : 1;
        expanded = larger(expanded, lines * columns);
        halo = larger(halo, panels * lines * overlap);
        filtered = larger(filtered, panels * step->strip * PANEL + pixels);
        if (is_int8(plan))
            add_array(all, block->ring,
                      overlap * panels * ((block->out_width - 1) * block->stride + block->kernel) *
                          PANEL,
                      1);
        else
            add_array(all, block->partial,
                      (block->kernel - 1) / block->stride * panels * block->out_width * PANEL *
                          FLOAT,
                      1);
        const int of_stem = i == 0 && block->expand_weight < 0; /* whose rows are panels */
        if (i == step->first && (i > 0 || (of_stem && !block->residual)))
            continue; /* no rows are kept */
        if (!is_within(block->thin_rows, larger(lines, kept), MOST_EXTENT))
            return "a block keeps fewer thin rows than it needs";
        add_array(all, block->thin,
                  thin * block->thin_rows * block->in_width *
                      (of_stem ? panels * PANEL : block->in_channels),
                  1);
    }
    add_array(all, step->expanded, wide * EXPANDED_PANELS * expanded * PANEL, 1);
    add_array(all, step->halo, wide * halo * PANEL, 1);
    add_array(all, step->filtered, thin * filtered, 1);
    all->in_place = step->first > 0 && runs_in_place(plan, step);
    return NULL;
}

/* The most lines that lie under the output rows of a band, of any branch. */
static int64_t most_lines(const mnv2_plan *plan, const mnv2_step *step) {
    const mnv2_block *block = &plan->blocks[step->first];
    int64_t most = 0;
    for (int32_t band = 0; band < step->bands; band++) {
        const range lines = band_lines(plan, block, step->bands, band);
        most = larger(most, lines.end - lines.first);
    }
    return most;
}

/* Bands are of 8 bits, or apart, and each has a row of every branch. */
static const char *check_bands(const mnv2_plan *plan, const mnv2_step *step) {
    const mnv2_block *block = &plan->blocks[step->first];
    const int is_tiles = step->kind == MNV2_TILES;
    int64_t rows = block->out_height;
    if (!is_within(step->apart, 0, is_tiles && !block->within_count && !block->expanded_tap) ||
        (step->apart && step->bands != plan->threads))
        return "a step's bands are apart that are not of tiles of one branch, one for each part";
    for (int32_t i = 0; i < block->within_count; i++)
        rows = smaller(rows, plan->blocks[block->within + i].out_height);
    const int may_be_cut = is_tiles && (is_int8(plan) || step->apart);
    return is_within(step->bands, 0, may_be_cut ? rows : 1)
               ? NULL
               : "a step's bands are not of tiles of 8 bits, or more than there are rows";
}

/* What the branches of a step of tiles or layers share: its expanded tile's padding. */
static const char *check_padding(const mnv2_plan *plan, const mnv2_step *step) {
    const mnv2_block *block = &plan->blocks[step->first];
    int32_t top = block->pad_top, left = block->pad_left;
    int64_t lines = 0, columns = 0; /* behind the padding before */
    for (int i = 0; i < 2; i++) /* the most before, then what lies behind it */
        for (int32_t n = -1; n < block->within_count; n++) {
            const mnv2_block *to = n < 0 ? block : &plan->blocks[block->within + n];
            top = (int32_t)larger(top, to->pad_top);
            left = (int32_t)larger(left, to->pad_left);
            lines = larger(lines, top - to->pad_top + padded(to->in_height, to->out_height,
                                                             to->kernel, to->stride, to->pad_top));
            columns =
                larger(columns, left - to->pad_left + padded(to->in_width, to->out_width,
                                                             to->kernel, to->stride, to->pad_left));
        }
    if (step->bands > 1) lines = most_lines(plan, step);
    return is_within(step->lines, lines, 2 * MOST_EXTENT) &&
                   is_within(step->columns, columns, 2 * MOST_EXTENT)
               ? NULL
               : "a step's lines or columns do not hold the block's input and its padding";
}

/* A branch's panels of `filtered`, and its sums where `at_once` hidden channels are not all. */
static void add_branch(step_arrays *all, const mnv2_block *block, int64_t filtered, int64_t sums,
                       int64_t panels, int64_t at_once) {
    const mnv2_plan *plan = all->plan;
    const int64_t pixels = band_pixels(block, bands_of(all->step));
    const int is_own = all->step->apart;
    add_array(all, filtered, thin_bytes(plan) * panels * pixels * PANEL, is_own);
    if (thin_bytes(plan) < FLOAT && at_once < block->hidden)
        add_array(all, sums,
                  FLOAT * pixels *
                      (is_int8(plan) ? panels_of(block->out_channels) * PANEL
                                     : block->out_channels),
                  is_own);
}

/* The expanded tile's lines and columns, and the arrays that tiles and layers share. */
static const char *add_maps(step_arrays *all, int64_t panels, int64_t at_once) {
    const mnv2_plan *plan = all->plan;
    const mnv2_step *step = all->step;
    const mnv2_block *block = &plan->blocks[step->first];
    const char *why = check_bands(plan, step);
    if (!why) why = check_padding(plan, step);
    if (why) return why;
    /* Of 32 in bfloat16, where sums are cut at those (docs/bfloat16.md). */
    if (at_once < block->hidden && at_once % (plan->precision == MNV2_BFLOAT16 ? 32 : PANEL))
        return "a step's tile is no multiple of 16 hidden channels, or of 32 in bfloat16";
    add_branch(all, block, step->filtered, step->sums, panels, at_once);
    for (int32_t i = 0; i < block->within_count; i++) {
        const mnv2_block *head = &plan->blocks[block->within + i];
        add_branch(all, head, head->filtered, head->sums, panels, at_once);
    }
    return NULL;
}

static const char *add_tiles(step_arrays *all) {
    const mnv2_step *step = all->step;
    const int64_t threads = step->apart ? 1 : all->plan->threads, turns = threads > 1 ? 2 : 1;
    if (step->count != 1 || step->first == 0) return "a step of tiles has one block, not block 0";
    if (!is_within(step->tile, 1, MOST_CHANNELS)) return "a step's tile is out of range";
    const int64_t panels = panels_of(step->tile);
    const char *why = add_maps(all, turns * threads * panels, threads * step->tile);
    if (!why)
        add_array(all, step->expanded,
                  expanded_bytes(all->plan) * smaller(EXPANDED_PANELS, panels) * step->lines *
                      step->columns * PANEL,
                  1);
    return why;
}

static const char *add_layers(step_arrays *all) {
    const mnv2_step *step = all->step;
    if (step->count != 1) return "a step of layers has one block";
    const mnv2_block *block = &all->plan->blocks[step->first];
    if (block->kernel == 1 || block->within_count > 0 || block->expanded_tap)
        return "a block without a depthwise layer, or whose expanded tensor is read, runs by tiles "
               "alone";
    if (step->first == 0 && block->residual)
        return "block 0 has a residual, which only steps of rows keep";
    if (step->first == 0 && block->expand_weight >= 0)
        return "block 0 has an expand layer, for which only steps of rows keep the stem's output";
    if (!is_within(step->layers, MNV2_EXPAND, MNV2_EXPAND | MNV2_DEPTHWISE | MNV2_PROJECT))
        return "a step of layers runs none, or others than a block has";
    if (!is_within(step->tile, 1, MOST_CHANNELS)) return "a step's tile is out of range";
    const char *why = add_maps(all, panels_of(step->tile), step->tile);
    if (why) return why;
    add_array(all, step->expanded,
              expanded_bytes(all->plan) * panels_of(step->tile) * step->lines * step->columns *
                  PANEL,
              0);
    if (step->first == 0)
        add_array(all, step->pixels,
                  3 * thin_bytes(all->plan) * stem_row(all->plan, block->in_width), 1);
    return NULL;
}

/* --- steps --------------------------------------------------------------------------------- */

/* What every layer leaves, and how many of each table have had their step. */
typedef struct {
    tensor at;
    int32_t blocks, convs, dense, taps, heads;
    int32_t predictors;
    uint64_t waiting; /* heads whose outputs lie in the arena, by number: a bit each */
    uint32_t maps;    /* that were handed over: a bit each */
} progress;

static tensor map_of(const mnv2_block *block) {
    return (tensor){MAP, block->out_height, block->out_width, block->out_channels, block->output};
}

/* The outputs that lie in the arena until their map's step: no other array may touch them. */
static const char *add_outputs(step_arrays *all, progress *done, int32_t first, int32_t count) {
    const mnv2_plan *plan = all->plan;
    const int32_t chain = plan->block_count - plan->predictor_count;
    if (first != chain + done->predictors || count > plan->predictor_count - done->predictors)
        return "the steps do not cover the heads once each, in order";
    done->predictors += count;
    for (int32_t i = 0; i < count; i++) done->waiting |= (uint64_t)1 << (first - chain + i);
    return NULL;
}

static void add_waiting(step_arrays *all, const progress *done) {
    const mnv2_plan *plan = all->plan;
    const int32_t chain = plan->block_count - plan->predictor_count;
    for (int32_t i = 0; i < plan->predictor_count; i++) {
        const tensor made = map_of(&plan->blocks[chain + i]);
        if (done->waiting >> i & 1) add_array(all, made.at, map_bytes(plan, &made), 0);
    }
}

static int is_the_map(const tensor *found, int32_t height, int32_t width, int32_t channels) {
    return found->kind == MAP && found->height == height && found->width == width &&
           found->channels == channels;
}

static const char *check_blocks(step_arrays *all, progress *done) {
    const mnv2_plan *plan = all->plan;
    const mnv2_step *step = all->step;
    const int32_t chain = plan->block_count - plan->predictor_count;
    tensor at = done->at;
    if (step->first >= chain && step->kind == MNV2_TILES) { /* a head, whose input stays */
        const char *why = add_outputs(all, done, step->first, 1);
        if (why) return why;
        const mnv2_block *head = &plan->blocks[step->first];
        if (!is_the_map(&at, head->in_height, head->in_width, head->in_channels))
            return "a head's input is not the map that lies before it";
        if (step->output != step->input) return "the output of a head's step is not its input";
        add_array(all, step->input, map_bytes(plan, &at), 0);
        return add_tiles(all);
    }
    if (step->count < 1 || step->first != done->blocks || step->count > chain - done->blocks)
        return "the steps do not cover the blocks once each, in order";
    const mnv2_block *block = &plan->blocks[step->first];
    if (step->first == 0) {
        if (at.kind != IMAGE) return "block 0 does not begin at the image";
        at = (tensor){MAP, plan->stem.out_height, plan->stem.out_width, plan->stem.channels, 0};
    }
    for (int32_t i = 0; i < step->count; i++, block++) {
        if (!is_the_map(&at, block->in_height, block->in_width, block->in_channels))
            return "a block's input is not the map that lies before it";
        at = (tensor){MAP, block->out_height, block->out_width, block->out_channels, step->output};
    }
    if (step->first > 0) add_array(all, step->input, map_bytes(plan, &done->at), 0);
    add_array(all, step->output, map_bytes(plan, &at), 0);
    done->at = at;
    done->blocks += step->count;
    block = &plan->blocks[step->first];
    if (step->count == 1 && block->within_count > 0) {
        const char *why = add_outputs(all, done, block->within, block->within_count);
        if (why) return why;
    }
    return step->kind == MNV2_ROWS    ? add_rows(all)
           : step->kind == MNV2_TILES ? add_tiles(all)
                                      : add_layers(all);
}

static const char *check_conv(step_arrays *all, progress *done) {
    const mnv2_step *step = all->step;
    if (step->first != done->convs || done->convs == all->plan->conv_count)
        return "the steps do not cover the convolutions once each, in order";
    const mnv2_conv *conv = &all->plan->convs[done->convs++];
    if (!is_the_map(&done->at, conv->in_height, conv->in_width, conv->in_channels))
        return "a convolution's input is not the map that lies before it";
    add_array(all, step->input, map_bytes(all->plan, &done->at), 0);
    done->at =
        (tensor){MAP, conv->out_height, conv->out_width, conv->out_channels, step->output};
    add_array(all, step->output, map_bytes(all->plan, &done->at), 0);
    return NULL;
}

static const char *check_tap(step_arrays *all, progress *done) {
    const mnv2_step *step = all->step;
    if (step->first != done->taps || done->taps == all->plan->tap_count)
        return "the steps do not cover the taps once each, in order";
    const mnv2_tap *tap = &all->plan->taps[done->taps++];
    if (!is_the_map(&done->at, tap->height, tap->width, tap->channels))
        return "a tap is not of the map that lies before it";
    if (step->output != step->input) return "a tap's output is not its input";
    add_array(all, step->input, map_bytes(all->plan, &done->at), 0);
    return NULL;
}

static const char *check_boxes(step_arrays *all, progress *done) {
    const mnv2_plan *plan = all->plan;
    const mnv2_step *step = all->step;
    const int32_t chain = plan->block_count - plan->predictor_count;
    if (!is_within(step->first, 0, plan->map_count - 1) || (done->maps >> step->first & 1))
        return "the steps do not cover the maps once each";
    const mnv2_map *map = &plan->maps[step->first];
    done->maps |= (uint32_t)1 << step->first;
    const uint64_t both = (uint64_t)1 << (map->boxes - chain) | (uint64_t)1 << (map->scores - chain);
    if ((done->waiting & both) != both) return "a map is handed over before its heads have run";
    if (step->output != step->input) return "the output of a map's step is not its input";
    if (done->at.kind != MAP) return "a map is handed over where no tensor lies";
    add_array(all, step->input, map_bytes(plan, &done->at), 0);
    return NULL;
}

static const char *check_head(step_arrays *all, progress *done) {
    const mnv2_step *step = all->step;
    const mnv2_head *head = &all->plan->head;
    if (done->heads++) return "a plan has more than one head";
    if (!is_the_map(&done->at, head->height, head->width, head->channels))
        return "the head's input is not the map that lies before it";
    add_array(all, step->input, map_bytes(all->plan, &done->at), 0);
    add_array(all, step->output, vector_bytes(head->features), 0);
    done->at = (tensor){.kind = VECTOR, .channels = head->features, .at = step->output};
    return NULL;
}

static const char *check_dense(step_arrays *all, progress *done) {
    const mnv2_plan *plan = all->plan;
    const mnv2_step *step = all->step;
    if (step->first != done->dense || done->dense == plan->dense_count)
        return "the steps do not cover the dense layers once each, in order";
    const mnv2_dense *dense = &plan->dense[done->dense++];
    if (done->at.kind != VECTOR) return "a dense layer does not come behind the head";
    add_array(all, step->input, vector_bytes(dense->inputs), 0);
    if (done->dense < plan->dense_count)
        add_array(all, step->output, vector_bytes(dense->outputs), 0);
    if (is_int8(plan) && step->first == 0)
        add_array(all, step->filtered, (int64_t)panels_of(dense->inputs) * PANEL, 1);
    done->at = (tensor){.kind = VECTOR, .channels = dense->outputs, .at = step->output};
    return NULL;
}

static const char *check_step(const mnv2_plan *plan, const mnv2_step *step, progress *done) {
    step_arrays all = {.plan = plan, .step = step};
    const char *why = "the kind of a step is none of mnv2_kind";
    if (done->at.kind != IMAGE && step->input != done->at.at)
        return "a step's input is not where the step before left its output";
    switch (step->kind) {
        case MNV2_ROWS:
        case MNV2_TILES:
        case MNV2_LAYERS:
            why = check_blocks(&all, done);
            break;
        case MNV2_CONV:
            why = check_conv(&all, done);
            break;
        case MNV2_TAP:
            why = check_tap(&all, done);
            break;
        case MNV2_BOXES:
            why = check_boxes(&all, done);
            break;
        case MNV2_HEAD:
            why = check_head(&all, done);
            break;
        case MNV2_DENSE:
            why = check_dense(&all, done);
            break;
    }
    if (why) return why;
    add_waiting(&all, done);
    why = check_arrays(&all);
    if (step->kind == MNV2_BOXES) { /* whose outputs may be overwritten from now on */
        const mnv2_map *map = &plan->maps[step->first];
        const int32_t chain = plan->block_count - plan->predictor_count;
        done->waiting &= ~((uint64_t)1 << (map->boxes - chain) |
                           (uint64_t)1 << (map->scores - chain));
    }
    return why;
}

static const char *check_steps(const mnv2_plan *plan) {
    progress done = {.at = {.kind = IMAGE}};
    for (int32_t i = 0; i < plan->step_count; i++) {
        const char *why = check_step(plan, &plan->steps[i], &done);
        if (why) return why;
    }
    if (done.blocks != plan->block_count - plan->predictor_count ||
        done.predictors != plan->predictor_count ||
        done.maps != ((uint32_t)1 << plan->map_count) - 1 || done.convs != plan->conv_count ||
        done.dense != plan->dense_count || done.taps != plan->tap_count - expanded_taps(plan))
        return "the steps end before every block, convolution, dense layer and tap had its own";
    return NULL;
}

static const char *check_counts(const mnv2_isa *isa, const mnv2_plan *plan) {
    if (!mnv2_isa_computes(isa, plan->precision))
        return "the instruction set does not compute in this precision";
    if (!is_within(plan->block_count, 1, MNV2_MAX_BLOCKS) ||
        !is_within(plan->conv_count, 0, MNV2_MAX_CONVS) ||
        !is_within(plan->dense_count, 0, MNV2_MAX_DENSE) ||
        !is_within(plan->tap_count, 0, MNV2_MAX_TAPS) || plan->step_count < 1)
        return "a count of blocks, convolutions, dense layers, taps or steps is out of range";
    if (!is_within(plan->predictor_count, 0, plan->block_count - 1) ||
        !is_within(plan->map_count, 0, MNV2_MAX_MAPS) || plan->predictor_count != 2 * plan->map_count)
        return "a count of heads or maps is out of range";
    if (!is_within(plan->threads, 1, MNV2_MAX_THREADS)) return "the threads are out of range";
    if (!is_within(plan->arena_bytes, 0, MOST_BYTES) ||
        !is_within(plan->weight_bytes, 0, MOST_BYTES))
        return "the bytes of the arena or of the weights are out of range";
    if (!plan->blocks || !plan->steps || (plan->conv_count && !plan->convs) ||
        (plan->dense_count && !plan->dense) || (plan->tap_count && !plan->taps) ||
        (plan->map_count && !plan->maps))
        return "a table that has entries is missing";
    return NULL;
}

/* Kernels point to every array, those too that a step does not use. */
static const char *check_places(const mnv2_plan *plan) {
    int is_inside = 1;
    for (int32_t i = 0; i < plan->block_count; i++) {
        const mnv2_block *block = &plan->blocks[i];
        const int64_t places[] = {block->partial, block->ring,     block->thin,
                                  block->output,  block->filtered, block->sums};
        for (size_t n = 0; n < sizeof places / sizeof *places; n++)
            is_inside &= is_within(places[n], 0, plan->arena_bytes);
    }
    for (int32_t i = 0; i < plan->step_count; i++) {
        const mnv2_step *step = &plan->steps[i];
        const int64_t places[] = {step->input, step->output,   step->expanded, step->filtered,
                                  step->halo,  step->sums,     step->pixels,   step->thread_bytes};
        for (size_t n = 0; n < sizeof places / sizeof *places; n++)
            is_inside &= is_within(places[n], 0, plan->arena_bytes);
    }
    return is_inside ? NULL : "an array of a block or a step, used or not, begins outside the arena";
}

int32_t mnv2_check_plan(const mnv2_isa *isa, const mnv2_plan *plan, const char **why) {
    const char *found = check_counts(isa, plan);
    if (!found) found = check_layers(plan);
    if (!found) found = check_weights(plan);
    if (!found) found = check_steps(plan);
    if (!found) found = check_places(plan);
    if (why) *why = found ? found : "";
    return found ? MNV2_BAD_PLAN : MNV2_OK;
}
