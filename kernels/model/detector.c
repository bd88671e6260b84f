#include "detector.h"

#include "detection.h"

/* The layers from a tensor of the chain to one output. */
typedef struct {
    int32_t depthwise; /* -1: the 1x1 convolution reads the tensor itself */
    int32_t project;
    int32_t at;      /* the block whose tensor it reads */
    bool is_within;  /* that block's expanded tensor; else its thin output */
} head_layers;

/* Of a block: the layers whose values heads may read. */
typedef struct {
    int32_t expand, output;
} block_tensors;

typedef struct {
    named_map maps[MNV2_MAX_MAPS];
    head_layers heads[2 * MNV2_MAX_MAPS]; /* boxes and scores of each map in turn */
    int32_t head_count;
    block_tensors tensors[MNV2_MAX_BLOCKS];
} detector;

/* --- outputs ------------------------------------------------------------------------------- */

static bool check_output(const table *all, const json_value *name, int32_t channels,
                         int32_t *number, refusal *why) {
    const int32_t found = find_layer(all, name, all->count);
    *number = found;
    if (found == all->count || found == IMAGE)
        return refuse(why, "network: detection: %s is no layer of the network",
                      json_shown(name).text);
    const layer *x = &all->layers[found];
    if (x->operation != POINTWISE || x->activation != MNV2_LINEAR)
        return refuse(why, "network: detection: %s: expected a 1x1 convolution without an "
                           "activation", x->name);
    return x->out.channels == channels ||
           refuse(why, "network: detection: %s has %d channels: expected %d", x->name,
                  x->out.channels, channels);
}

/* The outputs of all maps, each a layer of its own, at the ends of the network. */
static bool find_outputs(detector *made, network *net, table *all, const json_value *outputs,
                         refusal *why) {
    mnv2_detection *said = &net->detection;
    if (outputs->kind != JSON_LIST || outputs->count != 2 * (uint32_t)net->map_count)
        return refuse(why, "network: outputs %s: expected those of the detection's maps",
                      json_shown(outputs).text);
    const json_value *output = json_first(outputs);
    int64_t anchors = 0;
    for (int32_t i = 0; i < net->map_count; i++) {
        const named_map *map = &made->maps[i];
        int32_t both[2];
        if (!check_output(all, map->boxes, 4 * map->anchors, &both[0], why) ||
            !check_output(all, map->scores, said->columns * map->anchors, &both[1], why))
            return false;
        const layer *boxes = &all->layers[both[0]], *scores = &all->layers[both[1]];
        if (boxes->out.height != scores->out.height || boxes->out.width != scores->out.width)
            return refuse(why, "network: detection: %s and %s differ in size", boxes->name,
                          scores->name);
        anchors += (int64_t)boxes->out.height * boxes->out.width * map->anchors;
        for (int n = 0; n < 2; n++, output = json_next(output)) {
            layer *end = &all->layers[both[n]];
            if (end->is_output)
                return refuse(why, "network: detection: a layer is named twice: expected two "
                                   "outputs for each map");
            if (!json_is(output, end->name))
                return refuse(why, "network: outputs %s: expected those of the detection's maps",
                              json_shown(output).text);
            end->is_output = true;
            made->heads[made->head_count++].project = both[n];
        }
    }
    if (anchors > MAX_ANCHORS)
        return refuse(why, "network: detection: %lld anchors: expected at most %d",
                      (long long)anchors, MAX_ANCHORS);
    said->anchors = (int32_t)anchors;
    for (int32_t i = 0; i < all->count; i++)
        if ((all->layers[i].readers > 0) == all->layers[i].is_output)
            return refuse(why, "network: %s: %s: expected outputs at the ends of the network",
                          all->layers[i].name,
                          all->layers[i].is_output ? "is read by a layer, too"
                                                   : "is read by no layer");
    return true;
}

/* --- heads --------------------------------------------------------------------------------- */

/* With its depthwise layer, or alone. */
static bool find_head(const table *all, head_layers *head, refusal *why) {
    const layer *project = &all->layers[head->project];
    const int32_t source = project->inputs[0];
    head->depthwise = -1;
    if (source == IMAGE)
        return refuse_layer(why, project->name, "is an output of the image itself");
    const layer *before = &all->layers[source];
    if (before->operation != DEPTHWISE || before->inputs[0] == IMAGE) return true;
    if (before->readers != 1)
        return refuse_layer(why, before->name, "is read by several layers");
    head->depthwise = source;
    return check_depthwise(before, why);
}

/* Takes the layers of the heads out of the table: what is left is the chain. */
static bool take_heads(detector *made, table *all, refusal *why) {
    for (int32_t i = 0; i < made->head_count; i++)
        if (!find_head(all, &made->heads[i], why)) return false;
    for (int32_t i = 0; i < made->head_count; i++) {
        const head_layers *head = &made->heads[i];
        if (head->depthwise >= 0) all->layers[head->depthwise].is_beside = true;
        all->layers[head->project].is_beside = true;
    }
    for (int32_t i = 0; i < all->count; i++) {
        const layer *x = &all->layers[i];
        if (x->is_beside)
            all->layers[x->inputs[0]].readers--; /* which is no image */
        else
            all->chain[all->chain_count++] = (int16_t)i;
    }
    return true;
}

/* The block of two 1x1 convolutions that begins at a place of the chain. */
static bool match_plain(network *net, const table *all, int32_t *at, int32_t *thin,
                        block_layers *found, refusal *why) {
    const int32_t first = all->chain[*at];
    const layer *expand = &all->layers[first];
    if (expand->operation != POINTWISE || expand->inputs[0] != *thin)
        return refuse_layer(why, expand->name, "stands where a block is expected");
    const int32_t next = *at + 1 < all->chain_count ? all->chain[*at + 1] : -1;
    if (all->layers[*thin].readers != 1 || expand->readers != 1 || next < 0 ||
        all->layers[next].operation != POINTWISE || all->layers[next].inputs[0] != first)
        return refuse_layer(why, expand->name,
                            "is not followed by a depthwise or a 1x1 convolution");
    if (expand->activation == MNV2_LINEAR)
        return refuse_layer(why, expand->name,
                            "has no activation, where ReLU or ReLU6 is expected");
    *found = (block_layers){.expand = first, .depthwise = -1, .project = next, .output = next};
    *at += 2;
    *thin = next;
    return add_block(net, all, found, why);
}

static bool match_chain(detector *made, network *net, const table *all, refusal *why) {
    int32_t at = 1, thin = 0;
    while (at < all->chain_count) {
        block_layers found;
        bool done = false;
        if (!match_block(net, all, &at, &thin, &found, &done, why) ||
            (done && !match_plain(net, all, &at, &thin, &found, why)))
            return false;
        made->tensors[net->block_count - 1] = (block_tensors){found.expand, found.output};
    }
    return net->block_count > 0 ||
           refuse_layer(why, all->layers[0].name, "is not followed by a block");
}

static bool place_head(const detector *made, const network *net, const table *all,
                       head_layers *head, refusal *why) {
    const layer *first = &all->layers[head->depthwise < 0 ? head->project : head->depthwise];
    const int32_t source = first->inputs[0];
    for (int32_t i = 0; i < net->block_count; i++) {
        head->at = i;
        head->is_within = i > 0 && made->tensors[i].expand == source;
        if (head->is_within || made->tensors[i].output == source) return true;
    }
    return refuse_layer(why, first->name, "reads what is neither a block's output nor expanded");
}

/* Adds those that read one tensor, in the order of the outputs. */
static bool add_heads(const detector *made, network *net, const table *all, int32_t at,
                      bool is_within, refusal *why) {
    mnv2_block *block = &net->blocks[at];
    int32_t *count = is_within ? &block->within_count : &block->behind_count;
    for (int32_t i = 0; i < made->head_count; i++) {
        const head_layers *head = &made->heads[i];
        if (head->at != at || head->is_within != is_within) continue;
        const block_layers found = {
            .expand = -1, .depthwise = head->depthwise, .project = head->project};
        const int32_t index = net->block_count;
        if (!add_block(net, all, &found, why)) return false;
        if ((*count)++ == 0) *(is_within ? &block->within : &block->behind) = index;
        mnv2_map *map = &net->maps[i / 2];
        *(i % 2 ? &map->scores : &map->boxes) = index;
        map->anchors = made->maps[i / 2].anchors;
    }
    return true;
}

bool match_detector(network *net, table *all, const json_value *outputs,
                    const json_value *detection, refusal *why) {
    detector made = {.head_count = 0};
    net->answer = ANSWER_BOXES;
    net->head.head_weight = net->head.head_bias = -1;
    if (!detection_read(&net->detection, made.maps, &net->map_count, detection, why) ||
        !find_outputs(&made, net, all, outputs, why) || !take_heads(&made, all, why))
        return false;
    if (all->layers[0].is_beside)
        return refuse_layer(why, all->layers[0].name, "is where the network begins");
    if (!match_stem(net, all, why) || !match_chain(&made, net, all, why)) return false;
    for (int32_t i = 0; i < made.head_count; i++)
        if (!place_head(&made, net, all, &made.heads[i], why)) return false;
    const int32_t chain = net->block_count;
    for (int32_t i = 0; i < chain; i++)
        if (!add_heads(&made, net, all, i, true, why) || !add_heads(&made, net, all, i, false, why))
            return false;
    net->predictor_count = made.head_count;
    return true;
}
