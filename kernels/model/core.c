#include "mnv2_model.h"

#include <string.h>

#include "bytes.h"
#include "image/mnv2_image.h"
#include "members.h"
#include "model.h"

static const char *const answers[] = {
    [ANSWER_SOFTMAX] = "softmax",
    [ANSWER_SIGMOID] = "sigmoid",
    [ANSWER_LINEAR] = "linear",
    [ANSWER_BOXES] = "boxes",
};

int64_t mnv2_network_bytes(void) { return sizeof(network); }

int64_t mnv2_reading_bytes(const void *file, int64_t bytes) {
    const file_view view = {file, (uint64_t)bytes};
    return npz_count(view) ? (int64_t)model_room(view) : 0;
}

static void say(mnv2_model *said, const network *net, const model_reading *made, file_view file) {
    const bool finds_boxes = net->answer == ANSWER_BOXES;
    *said = (mnv2_model){
        .name = net->name,
        .dtype = net->dtype,
        .answer = answers[net->answer],
        .filter = net->filter_name,
        .fit = net->fit == MNV2_SQUASH ? "squash" : "crop",
        .height = net->stem.in_height,
        .width = net->stem.in_width,
        .classes = network_classes(net),
        .features = finds_boxes ? 0 : net->head.features,
        .blocks = net->block_count,
        .crop_fraction = net->crop_fraction,
        .weight_bytes = made->weight_bytes,
        .meta = (int64_t)made->meta,
        .meta_bytes = (int64_t)made->meta_bytes,
        .directory_crc = crc32_of(file.bytes + made->directory.start,
                                  (size_t)(file.count - made->directory.start)),
        .label_count = (int32_t)made->labels.count,
        .label_bytes = (int64_t)made->labels.bytes,
        .labels = made->labels.texts,
    };
    memcpy(said->mean, net->mean, sizeof said->mean);
    memcpy(said->std, net->std, sizeof said->std);
}

int32_t mnv2_read_model(const void *file, int64_t bytes, void *memory, int64_t memory_bytes,
                        mnv2_network *net, mnv2_model *said) {
    const file_view view = {file, (uint64_t)bytes};
    reading_room left = {memory, (uint8_t *)memory + memory_bytes};
    model_reading made = {.weight_bytes = 0};
    refusal why;
    memset(net, 0, sizeof *net);
    if (!model_read(&made, net, view, &left, &why) || !made.are_usable || !made.meta ||
        !members_check_anchors(net, view.bytes, &why))
        return MNV2_NO_MODEL;
    say(said, net, &made, view);
    return MNV2_OK;
}

const char *mnv2_label(const char *labels, int32_t index) {
    while (index-- > 0) labels += strlen(labels) + 1;
    return labels;
}

int32_t mnv2_plan_network(const mnv2_network *net, int32_t in_bfloat16, int64_t weight_bytes,
                          int32_t threads, const char *cpu, mnv2_plan *plan, mnv2_block *blocks,
                          mnv2_step *steps) {
    memcpy(blocks, net->blocks, (size_t)net->block_count * sizeof *net->blocks);
    *plan = (mnv2_plan){
        .stem = net->stem,
        .head = net->head,
        .blocks = blocks,
        .convs = net->conv_count ? net->convs : NULL,
        .dense = net->dense_count ? net->dense : NULL,
        .block_count = net->block_count,
        .conv_count = net->conv_count,
        .dense_count = net->dense_count,
        .maps = net->map_count ? net->maps : NULL,
        .predictor_count = net->predictor_count,
        .map_count = net->map_count,
        .columns = net->detection.columns,
        .precision = (int32_t)(in_bfloat16 ? MNV2_BFLOAT16 : net->precision),
        .threads = threads,
        .weight_bytes = weight_bytes,
    };
    return mnv2_make_plan(plan, blocks, steps, cpu);
}
