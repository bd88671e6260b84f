#include "table.h"

#include <stdio.h>
#include <string.h>

#include "detector.h"
#include "layers.h"

enum {
    MAX_CHANNELS = 1 << 20,
    MAX_KERNEL = 31,
    MAX_STRIDE = 16,
    MAX_CONV_KERNEL = 7,
    MAX_CONV_STRIDE = 2
};
static const int64_t MAX_VALUES = 1 << 30; /* of one tensor, or of one layer's weights */

static const char *const operation_names[OPERATIONS] = {"conv", "pointwise", "depthwise",
                                                        "add",  "pool",      "dense"};
static const char *const activation_names[] = {
    [MNV2_LINEAR] = "linear", [MNV2_RELU] = "relu", [MNV2_RELU6] = "relu6"};
static const char *const answer_names[] = {
    [ANSWER_SOFTMAX] = "softmax", [ANSWER_SIGMOID] = "sigmoid", [ANSWER_LINEAR] = "linear"};

bool refuse_layer(refusal *why, const char *name, const char *problem) {
    return refuse(why,
                  "layer '%s' %s: this engine runs a 3x3 stem of stride 2, inverted residuals "
                  "(expand, depthwise, project), a head, a pool and dense layers; a newer version "
                  "may",
                  name, problem);
}

bool refuse_window(refusal *why, const layer *x, const char *what) {
    char problem[120];
    snprintf(problem, sizeof problem, "is a %dx%d %s of stride %d and dilation %d", x->kernel,
             x->kernel, what, x->stride, x->dilation);
    return refuse_layer(why, x->name, problem);
}

/* --- one row ------------------------------------------------------------------------------- */

int32_t find_text(const json_value *value, const char *const *texts, size_t count) {
    for (size_t i = 0; value && i < count; i++)
        if (json_is(value, texts[i])) return (int32_t)i;
    return -1;
}

/* 1 to 64 letters, digits, _, . and -, and not what the network's input is called. */
static bool is_name(const json_value *value) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    return value->kind == JSON_TEXT && value->count > 0 && value->count <= MAX_LAYER_NAME &&
           strspn(value->text, allowed) == value->count && !json_is(value, "image");
}

/* The nearest are asked first. */
int32_t find_layer(const table *all, const json_value *name, int32_t end) {
    if (json_is(name, "image")) return IMAGE;
    for (int32_t i = end - 1; i >= 0; i--)
        if (json_is(name, all->layers[i].name)) return i;
    return end;
}

static shape shape_of(const table *all, int32_t number) {
    const shape image = {all->in_height, all->in_width, IMAGE_CHANNELS, false};
    return number == IMAGE ? image : all->layers[number].out;
}

static bool read_number(const char *name, const char *what, const json_value *value, int32_t most,
                        int32_t *number, refusal *why) {
    if (!json_is_integer(value, 1, most))
        return refuse(why, "network: %s: %s %s: expected 1 to %d", name, what,
                      json_shown(value).text, most);
    *number = (int32_t)value->number;
    return true;
}

static bool check_row_keys(int32_t index, const json_value *row, operation kind, refusal *why) {
    static const char *const keys[] = {"name",     "operation", "inputs", "channels",  "activation",
                                       "kernel",   "stride",    "dilation", "pads"};
    static const int window = 5; /* the first key of those that have a window */
    uint32_t count = 0;
    for (int i = 0; i < 9; i++) {
        const bool is_window = i >= window && (kind == CONV || kind == DEPTHWISE);
        const bool has_channels = kind != ADD && kind != POOL && kind != DEPTHWISE;
        const bool has_activation = kind != ADD && kind != POOL;
        if (!(i < 3 || (i == 3 && has_channels) || (i == 4 && has_activation) || is_window))
            continue;
        count++;
        if (!json_get(row, keys[i]))
            return refuse(why, "network: layer %d: '%s' is missing; expected exactly the keys of %s",
                          index, keys[i], operation_names[kind]);
    }
    return row->count == count ||
           refuse(why, "network: layer %d: %u keys: expected exactly the keys, %u, of %s", index,
                  (unsigned)row->count, (unsigned)count, operation_names[kind]);
}

/* Of one axis: output size and the padding behind; false if the window does not fit. */
static bool slide(int32_t size, const layer *made, int32_t before, int32_t after, int32_t *out,
                  int32_t *reached) {
    const int32_t reach = (made->kernel - 1) * made->dilation + 1;
    if (size + before + after < reach) return false;
    *out = (size + before + after - reach) / made->stride + 1;
    const int32_t past = (*out - 1) * made->stride + reach - size - before;
    *reached = past > 0 ? past : 0;
    return true;
}

static bool read_window(layer *made, const json_value *row, refusal *why) {
    const json_value *pads = json_get(row, "pads");
    if (!read_number(made->name, "kernel", json_get(row, "kernel"), MAX_KERNEL, &made->kernel,
                     why) ||
        !read_number(made->name, "stride", json_get(row, "stride"), MAX_STRIDE, &made->stride,
                     why) ||
        !read_number(made->name, "dilation", json_get(row, "dilation"), MAX_STRIDE,
                     &made->dilation, why))
        return false;
    int32_t *const to[4] = {&made->top, &made->left, &made->bottom, &made->right};
    const int32_t most = (made->kernel - 1) * made->dilation;
    const json_value *pad = json_first(pads);
    bool is_right = pads->kind == JSON_LIST && pads->count == 4;
    for (int i = 0; is_right && i < 4; i++, pad = json_next(pad)) {
        is_right = json_is_integer(pad, 0, most);
        if (is_right) *to[i] = (int32_t)pad->number;
    }
    if (!is_right)
        return refuse(why,
                      "network: %s: pads: expected (top, left, bottom, right), each from 0 to %d",
                      made->name, most);
    int32_t bottom, right;
    if (!slide(made->in.height, made, made->top, made->bottom, &made->out.height, &bottom) ||
        !slide(made->in.width, made, made->left, made->right, &made->out.width, &right))
        return refuse(why, "network: %s: a %dx%d window does not fit a map of %d x %d", made->name,
                      made->kernel, made->kernel, made->in.height, made->in.width);
    return (bottom == made->bottom && right == made->right) ||
           refuse(why, "network: layer %s: pads [%d, %d, %d, %d]: its outputs reach %d and %d",
                  made->name, made->top, made->left, made->bottom, made->right, bottom, right);
}

static bool check_values(const layer *made, refusal *why) {
    int64_t parameters = 0;
    if (made->operation == DENSE || made->operation == POINTWISE)
        parameters = (int64_t)made->in.channels * made->out.channels;
    else if (made->operation == CONV)
        parameters = (int64_t)made->in.channels * made->kernel * made->kernel; /* below 2^31 */
    else if (made->operation == DEPTHWISE)
        parameters = (int64_t)made->kernel * made->kernel * made->out.channels;
    if (made->operation == CONV) parameters *= made->out.channels; /* below 2^51 */
    if (made->operation != ADD && made->operation != POOL)
        parameters += made->out.channels * (made->operation == DENSE ? 1 : 2);
    const int64_t values = (int64_t)made->out.height * made->out.width * made->out.channels;
    return (values <= MAX_VALUES && parameters <= MAX_VALUES) ||
           refuse(why, "network: %s: more than %lld values: no machine here runs it", made->name,
                  (long long)MAX_VALUES);
}

static bool read_inputs(table *all, layer *made, const json_value *row, refusal *why) {
    const json_value *inputs = json_get(row, "inputs"), *input = json_first(inputs);
    const uint32_t count = made->operation == ADD ? 2 : 1;
    if (inputs->kind != JSON_LIST || inputs->count != count)
        return refuse(why, "network: layer %d: expected texts, and %u names of inputs", all->count,
                      (unsigned)count);
    made->input_count = (int32_t)count;
    for (uint32_t i = 0; i < count; i++, input = json_next(input)) {
        if (input->kind != JSON_TEXT)
            return refuse(why, "network: layer %d: expected texts, and %u names of inputs",
                          all->count, (unsigned)count);
        made->inputs[i] = find_layer(all, input, all->count);
        if (made->inputs[i] == all->count)
            return refuse(why, "network: %s: input '%s' is no layer before it", made->name,
                          shown(input->text, input->count).text);
    }
    for (uint32_t i = 0; i < count; i++)
        ++*(made->inputs[i] == IMAGE ? &all->image_readers
                                     : &all->layers[made->inputs[i]].readers);
    return true;
}

/* The output of a layer whose operation, inputs and window are known. */
static bool resolve(const table *all, layer *made, const json_value *row, refusal *why) {
    made->in = made->out = shape_of(all, made->inputs[0]);
    if (made->operation == ADD) {
        const shape other = shape_of(all, made->inputs[1]);
        return (!made->in.is_pooled && other.height == made->in.height &&
                other.width == made->in.width && other.channels == made->in.channels) ||
               refuse(why, "network: %s: adds what differs: expected maps of one shape",
                      made->name);
    }
    if (made->in.is_pooled != (made->operation == DENSE))
        return refuse(why, made->in.is_pooled
                               ? "network: %s: a convolution or pool of features: expected a map"
                               : "network: %s: a dense layer of a map: expected pooled features",
                      made->name);
    if (made->operation == POOL) {
        made->out = (shape){1, 1, made->in.channels, true};
        return true;
    }
    made->activation = find_text(json_get(row, "activation"), activation_names, 3);
    if (made->activation < 0)
        return refuse(why, "network: %s: activation %s: expected one of linear, relu, relu6",
                      made->name, json_shown(json_get(row, "activation")).text);
    if ((made->operation == CONV || made->operation == DEPTHWISE) &&
        !read_window(made, row, why))
        return false;
    if (made->operation == DEPTHWISE) return true;
    const json_value *channels = json_get(row, "channels");
    if (!json_is_integer(channels, 1, MAX_CHANNELS))
        return refuse(why, "network: %s: %s channels: expected 1 to %d", made->name,
                      json_shown(channels).text, MAX_CHANNELS);
    made->out.channels = (int32_t)channels->number;
    return true;
}

static bool read_row(table *all, const json_value *row, refusal *why) {
    layer *made = &all->layers[all->count];
    const json_value *kind = row->kind == JSON_OBJECT ? json_get(row, "operation") : NULL;
    const int32_t found = find_text(kind, operation_names, OPERATIONS);
    if (found < 0)
        return refuse(why,
                      "network: layer %d: operation %s: expected one of conv, pointwise, "
                      "depthwise, add, pool, dense",
                      all->count, kind ? json_shown(kind).text : "missing");
    if (!check_row_keys(all->count, row, (operation)found, why)) return false;
    const json_value *name = json_get(row, "name");
    if (!is_name(name))
        return refuse(why,
                      "network: layer name %s: expected 1 to %d letters, digits, _, . and -",
                      json_shown(name).text, MAX_LAYER_NAME);
    if (find_layer(all, name, all->count) != all->count)
        return refuse(why, "network: layer name '%s': two layers have it", name->text);
    *made = (layer){.name = name->text, .operation = (operation)found, .kernel = 1, .stride = 1,
                    .dilation = 1};
    if (!read_inputs(all, made, row, why) || !resolve(all, made, row, why) ||
        !check_values(made, why))
        return false;
    all->count++;
    return true;
}

/* --- blocks -------------------------------------------------------------------------------- */

/* The number of the layer at a place of the chain, or -1 behind its end. */
static int32_t chained(const table *all, int32_t place) {
    return place < all->chain_count ? all->chain[place] : -1;
}

/* Whether the layer at a place of the chain is such an operation of nothing but `source`. */
static bool follows(const table *all, int32_t place, operation kind, int32_t source) {
    const int32_t number = chained(all, place);
    return number >= 0 && all->layers[number].operation == kind &&
           all->layers[number].inputs[0] == source;
}

static void name_place(network *net, const table *all, int32_t place, const layer *named) {
    net->rows[place] = (int16_t)(named - all->layers);
    snprintf(net->names[place], sizeof net->names[place], "%s", named->name);
}

bool match_stem(network *net, const table *all, refusal *why) {
    const layer *x = &all->layers[0];
    if (x->operation != CONV || x->kernel != 3 || x->stride != 2 || x->dilation != 1)
        return x->operation == CONV ? refuse_window(why, x, "stem")
                                    : refuse_layer(why, x->name, "is where the network begins");
    if (x->activation == MNV2_LINEAR)
        return refuse_layer(why, x->name, "is a stem without an activation");
    if (all->image_readers != 1) /* layer 0 is one */
        return refuse_layer(why, x->name, "is not the only layer that reads the image");
    name_place(net, all, 0, x);
    net->stem.in_height = x->in.height, net->stem.in_width = x->in.width;
    net->stem.out_height = x->out.height, net->stem.out_width = x->out.width;
    net->stem.channels = x->out.channels;
    net->stem.pad_top = x->top, net->stem.pad_left = x->left;
    net->stem.activation = x->activation;
    return true;
}

bool check_depthwise(const layer *depthwise, refusal *why) {
    if (!network_runs_depthwise(depthwise->kernel, depthwise->stride, depthwise->dilation))
        return refuse_window(why, depthwise, "depthwise convolution");
    return depthwise->activation != MNV2_LINEAR ||
           refuse_layer(why, depthwise->name,
                        "has no activation, where ReLU or ReLU6 is expected");
}

static bool check_block(const table *all, const block_layers *found, int32_t thin, refusal *why) {
    const layer *depthwise = &all->layers[found->depthwise];
    const layer *project = &all->layers[found->project];
    const layer *expand = found->expand < 0 ? NULL : &all->layers[found->expand];
    const char *name = depthwise->name;
    if (depthwise->readers != 1 || (expand && expand->readers != 1) ||
        (found->residual && project->readers != 1))
        return refuse_layer(why, name, "or its neighbour is read by several layers");
    const int32_t first = expand ? found->expand : found->depthwise;
    if (all->layers[thin].readers != 1 + found->residual || all->layers[first].inputs[0] != thin)
        return refuse_layer(why, all->layers[thin].name, "is the input of another layer, too");
    if (!check_depthwise(depthwise, why)) return false;
    if (expand && expand->activation == MNV2_LINEAR)
        return refuse_layer(why, name, "has no activation, where ReLU or ReLU6 is expected");
    if (found->residual && project->activation != MNV2_LINEAR)
        return refuse_layer(why, project->name, "has an activation in front of the shortcut");
    return true;
}

bool add_block(network *net, const table *all, const block_layers *found, refusal *why) {
    const int32_t index = net->block_count, place = 1 + BLOCK_PARTS * index;
    const layer *expand = found->expand < 0 ? NULL : &all->layers[found->expand];
    const layer *depthwise = found->depthwise < 0 ? NULL : &all->layers[found->depthwise];
    const layer *project = &all->layers[found->project];
    /* Without a depthwise layer the expanded tensor is projected as it is. */
    const shape in = depthwise ? depthwise->in : project->in;
    const shape out = depthwise ? depthwise->out : project->in;
    if (index == MNV2_MAX_BLOCKS)
        return refuse(why, "network: more than %d blocks: this engine runs up to %d",
                      MNV2_MAX_BLOCKS, MNV2_MAX_BLOCKS);
    net->block_count++;
    if (expand) name_place(net, all, place, expand);
    if (depthwise) name_place(net, all, place + 1, depthwise);
    name_place(net, all, place + 2, project);
    net->blocks[index] = (mnv2_block){
        .in_height = in.height,
        .in_width = in.width,
        .in_channels = expand ? expand->in.channels : in.channels,
        .hidden = out.channels,
        .out_height = out.height,
        .out_width = out.width,
        .out_channels = project->out.channels,
        .kernel = depthwise ? depthwise->kernel : 1,
        .stride = depthwise ? depthwise->stride : 1,
        .pad_top = depthwise ? depthwise->top : 0,
        .pad_left = depthwise ? depthwise->left : 0,
        .residual = found->residual,
        .expand_activation = expand ? expand->activation : MNV2_LINEAR,
        .depthwise_activation = depthwise ? depthwise->activation : MNV2_LINEAR,
        .project_activation = project->activation,
        .expand_weight = expand ? 0 : -1,
        .expand_bias = expand ? 0 : -1,
        .depthwise_weight = depthwise ? 0 : -1,
        .depthwise_bias = depthwise ? 0 : -1,
    };
    return true;
}

bool match_block(network *net, const table *all, int32_t *at, int32_t *thin, block_layers *found,
                 bool *done, refusal *why) {
    int32_t next = *at;
    *found = (block_layers){.expand = -1};
    *done = false;
    if (follows(all, next, POINTWISE, *thin) &&
        follows(all, next + 1, DEPTHWISE, chained(all, next))) {
        found->expand = chained(all, next++);
    } else if (!follows(all, next, DEPTHWISE, *thin)) {
        *done = true;
        return true;
    }
    found->depthwise = chained(all, next++);
    if (!follows(all, next, POINTWISE, found->depthwise))
        return refuse_layer(why, all->layers[found->depthwise].name,
                            "is not followed by a 1x1 convolution");
    found->project = found->output = chained(all, next++);
    const int32_t joining = chained(all, next);
    if (joining >= 0 && all->layers[joining].operation == ADD) {
        const int32_t *inputs = all->layers[joining].inputs;
        const bool joins = (inputs[0] == found->project && inputs[1] == *thin) ||
                           (inputs[1] == found->project && inputs[0] == *thin);
        if (!joins)
            return refuse_layer(why, all->layers[joining].name,
                                "does not add a block's input to its output");
        found->residual = true;
        found->output = joining;
        next++;
    }
    if (!check_block(all, found, *thin, why) || !add_block(net, all, found, why)) return false;
    *at = next;
    *thin = found->output;
    return true;
}

/* --- behind the blocks --------------------------------------------------------------------- */

static bool add_conv(network *net, const table *all, const layer *x, refusal *why) {
    if (net->conv_count == MAX_CONVS)
        return refuse(why, "network: more than %d convolutions in front of the pool: this engine "
                           "runs up to %d", MAX_CONVS, MAX_CONVS);
    if (x->top || x->left || x->bottom || x->right)
        return refuse_layer(why, x->name, "is a padded convolution in front of the pool");
    if (x->kernel > MAX_CONV_KERNEL || x->dilation != 1 || x->stride > MAX_CONV_STRIDE)
        return refuse_window(why, x, "convolution in front of the pool");
    const int32_t index = net->conv_count++;
    name_place(net, all, network_place_behind(net) + index, x);
    net->convs[index] = (mnv2_conv){
        .in_height = x->in.height,
        .in_width = x->in.width,
        .in_channels = x->in.channels,
        .out_height = x->out.height,
        .out_width = x->out.width,
        .out_channels = x->out.channels,
        .kernel = x->kernel,
        .stride = x->stride,
        .activation = x->activation,
    };
    return true;
}

static bool add_dense(network *net, const table *all, const layer *x, refusal *why) {
    if (net->dense_count == MNV2_MAX_DENSE)
        return refuse(why, "network: more than %d dense layers: this engine runs up to %d",
                      MNV2_MAX_DENSE, MNV2_MAX_DENSE);
    const int32_t index = net->dense_count++;
    name_place(net, all, network_place_behind(net) + net->conv_count + 1 + index, x);
    net->dense[index] = (mnv2_dense){
        .inputs = x->in.channels, .outputs = x->out.channels, .activation = x->activation};
    return true;
}

/* One chain: convolutions, the head if the last of them is 1x1, the pool, dense layers. */
static bool match_tail(network *net, const table *all, int32_t at, int32_t thin, refusal *why) {
    int32_t pool = -1;
    for (int32_t i = at; i < all->count; i++) {
        const layer *x = &all->layers[i];
        if (x->input_count != 1 || x->inputs[0] != thin || all->layers[thin].readers != 1)
            return refuse_layer(why, x->name, "is no part of one chain behind the last block");
        const bool is_known = pool < 0 ? x->operation != DEPTHWISE && x->operation != DENSE
                                       : x->operation == DENSE;
        if (!is_known)
            return refuse_layer(why, x->name, pool < 0 ? "stands behind the last block"
                                                       : "stands behind the pool");
        if (x->operation == POOL) pool = i;
        thin = i;
    }
    if (pool < 0)
        return refuse_layer(why, all->layers[all->count - 1].name,
                            "is not followed by a pool over all pixels");
    const bool has_head = pool > at && all->layers[pool - 1].operation == POINTWISE;
    for (int32_t i = at; i < pool - has_head; i++)
        if (!add_conv(net, all, &all->layers[i], why)) return false;
    const layer *head = &all->layers[has_head ? pool - 1 : pool];
    if (has_head) name_place(net, all, network_place_behind(net) + net->conv_count, head);
    net->head = (mnv2_head){
        .height = head->in.height,
        .width = head->in.width,
        .channels = head->in.channels,
        .features = head->out.channels,
        .activation = has_head ? head->activation : MNV2_LINEAR,
        .head_weight = has_head ? 0 : -1,
        .head_bias = has_head ? 0 : -1,
    };
    for (int32_t i = pool + 1; i < all->count; i++)
        if (!add_dense(net, all, &all->layers[i], why)) return false;
    return true;
}

static bool match(network *net, table *all, refusal *why) {
    int32_t at = 1, thin = 0;
    bool done = false;
    if (!match_stem(net, all, why)) return false;
    for (int32_t i = 0; i < all->count; i++) all->chain[i] = (int16_t)i;
    all->chain_count = all->count;
    while (at < all->count && !done) {
        block_layers found;
        if (!match_block(net, all, &at, &thin, &found, &done, why)) return false;
    }
    if (net->block_count == 0)
        return refuse_layer(why, all->layers[at < all->count ? at : all->count - 1].name,
                            "follows the stem, where a block is expected");
    return match_tail(net, all, at, thin, why);
}

/* --- the whole table ----------------------------------------------------------------------- */

/* No control characters, no halves of surrogate pairs. */
static bool check_name(const json_value *value, refusal *why) {
    uint32_t characters = 0;
    for (uint32_t i = 0; value->kind == JSON_TEXT && i < value->count; i++)
        characters += ((unsigned char)value->text[i] & 0xC0) != 0x80;
    if (value->kind != JSON_TEXT || characters > MAX_NETWORK_NAME)
        return refuse(why, "network: name %s: expected printable text of up to %d characters",
                      json_shown(value).text, MAX_NETWORK_NAME);
    const unsigned char *x = (const unsigned char *)value->text;
    for (uint32_t i = 0; i < value->count; i++) /* a NUL ends the text */
        if (x[i] < ' ' || x[i] == 0x7F || (x[i] == 0xC2 && x[i + 1] < 0xA0) ||
            (x[i] == 0xED && x[i + 1] >= 0xA0))
            return refuse(why, "network: name '%s': expected printable text",
                          shown(x, value->count).text);
    return true;
}

/* How the network answers follows its last layer. */
static bool read_answer(network *net, const table *all, const json_value *said, refusal *why) {
    const layer *last = &all->layers[all->count - 1];
    const json_value *outputs = json_get(said, "outputs");
    const int32_t answer = find_text(json_get(said, "answer"), answer_names, 3);
    if (answer < 0)
        return refuse(why, "network: answer %s: expected one of softmax, sigmoid, linear",
                      json_shown(json_get(said, "answer")).text);
    if (outputs->kind != JSON_LIST || outputs->count != 1 ||
        !json_is(json_first(outputs), last->name))
        return refuse(why, "network: outputs %s: expected one, the last layer of the table",
                      json_shown(outputs).text);
    if (!last->out.is_pooled)
        return refuse(why, "network: output '%s': expected pooled features or a dense layer",
                      last->name);
    if (last->operation == DENSE && answer == ANSWER_SOFTMAX && last->out.channels == 1)
        return refuse(why, "network: one class with the answer softmax is 100 %% for every image; "
                           "if the network ends in a sigmoid, its answer is sigmoid");
    if (last->operation == DENSE && last->activation != MNV2_LINEAR)
        return refuse(why, "network: %s: an activation behind the last dense layer: expected linear",
                      last->name);
    net->answer = (answer_kind)answer;
    return true;
}

static bool read_layers(network *net, table *all, const json_value *said, refusal *why) {
    const json_value *rows = json_get(said, "layers"), *row = json_first(rows);
    for (uint32_t i = 0; i < rows->count; i++, row = json_next(row))
        if (!read_row(all, row, why)) return false;
    if (json_is(json_get(said, "answer"), "boxes"))
        return match_detector(net, all, json_get(said, "outputs"), json_get(said, "detection"),
                              why);
    return read_answer(net, all, said, why) && match(net, all, why);
}

bool network_of_table(network *made, const json_value *said, reading_room *left, refusal *why) {
    static const char *const keys[] = {"name",    "resolution", "layers",
                                       "outputs", "answer",     "detection"};
    const json_value *answer = said->kind == JSON_OBJECT ? json_get(said, "answer") : NULL;
    const bool finds_boxes = answer && json_is(answer, "boxes");
    const uint32_t count = finds_boxes ? 6 : 5;
    bool is_complete = said->kind == JSON_OBJECT && said->count == count;
    for (uint32_t i = 0; is_complete && i < count; i++)
        is_complete = json_get(said, keys[i]) != NULL;
    if (!is_complete)
        return refuse(why, "network: expected exactly the keys name, resolution, layers, outputs, "
                           "answer%s", finds_boxes ? ", detection" : "");
    const json_value *name = json_get(said, "name"), *size = json_get(said, "resolution");
    if (!check_name(name, why)) return false;
    const json_value *height = json_first(size);
    if (size->kind != JSON_LIST || size->count != 2 || !json_is_integer(height, 1, MAX_RESOLUTION) ||
        !json_is_integer(json_next(height), 1, MAX_RESOLUTION))
        return refuse(why, "network: resolution %s: expected [height, width], each from 1 to %d "
                           "pixels", json_shown(size).text, MAX_RESOLUTION);
    const json_value *rows = json_get(said, "layers");
    if (rows->kind != JSON_LIST || rows->count < 1 || rows->count > MAX_LAYERS)
        return rows->kind == JSON_LIST
                   ? refuse(why, "network: layers: %u of them: expected a list of 1 to %d",
                            (unsigned)rows->count, MAX_LAYERS)
                   : refuse(why, "network: layers: %s: expected a list of 1 to %d",
                            json_shown(rows).text, MAX_LAYERS);
    network_begin(made);
    snprintf(made->name, sizeof made->name, "%s", name->text);
    table all = {.in_height = (int32_t)height->number,
                 .in_width = (int32_t)json_next(height)->number};
    all.layers = room_take(left, rows->count, sizeof *all.layers);
    if (!all.layers) return refuse(why, "no memory for %u layers", (unsigned)rows->count);
    return read_layers(made, &all, said, why);
}
