/* What opening a model file leaves out, since it would read the whole file. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "model/bytes.h"
#include "model_file.h"

enum { GROUP = 4 }; /* of int8 weights */
enum { MAX_MULTIPLIER = 32767, MAX_SHIFT = 31 };

/* Whether no number has all bits of its exponent set. */
static bool is_finite(const uint8_t *x, const npy_array *array) {
    const uint64_t item_bytes = (uint64_t)(array->descr[2] - '0'), bytes = npy_bytes(array);
    const uint32_t exponent = strcmp(array->descr, "<f4") == 0   ? 0x7F800000
                              : strcmp(array->descr, "<f2") == 0 ? 0x7C00
                              : strcmp(array->descr, "<u2") == 0 ? 0x7F80 /* bfloat16 */
                                                                 : 0;
    for (uint64_t i = 0; exponent && i < bytes; i += item_bytes) {
        const uint32_t bits = item_bytes == 2 ? u16_at(x + i) : u32_at(x + i);
        if ((bits & exponent) == exponent) return false;
    }
    return true;
}

static bool check_floats(const model_file *model, const layer_member *member, int64_t offset,
                         refusal *why) {
    return is_finite(model->weights + offset, &member->array) ||
           refuse(why, "'%s' holds NaN or infinity; convert the model again", member->name);
}

/* The sum of the sizes of one output channel's weights; `is_padded` unless all that stand behind
 * the last term are zero. */
static int64_t sum_of_sizes(const network_layer *layer, const int8_t *w, int64_t groups,
                            int32_t lane, bool *is_padded) {
    const int64_t area = layer->kernel * layer->kernel;
    const bool has_rows = layer->kind == LAYER_STEM || layer->kind == LAYER_CONV;
    const int64_t segment = (int64_t)(has_rows ? layer->kernel : 1) * layer->in_channels;
    const int64_t segment_groups = (segment + GROUP - 1) / GROUP;
    int64_t sum = 0;
    if (layer->kind == LAYER_DEPTHWISE) { /* [k * k][16] */
        for (int64_t i = 0; i < area; i++) sum += abs(w[i * PANEL + lane]);
        return sum;
    }
    for (int64_t g = 0; g < groups; g++) /* [groups][16][4] */
        for (int32_t i = 0; i < GROUP; i++) {
            const int32_t value = w[(g * PANEL + lane) * GROUP + i];
            if (value && g % segment_groups * GROUP + i >= segment) *is_padded = true;
            sum += abs(value);
        }
    return sum;
}

/* One output channel, or one behind the last, which has to be nothing but zeros. */
static bool check_channel(const network_layer *layer, int32_t channel, int64_t sum,
                          const uint8_t *table, refusal *why) {
    const bool is_last = layer->kind == LAYER_DENSE;
    const int32_t lane = channel % PANEL;
    const uint32_t first = u32_at(table + 4 * lane), second = u32_at(table + 4 * (PANEL + lane));
    if (channel >= layer->out_channels) {
        const uint32_t sign = is_last ? UINT32_C(1) << 31 : 0; /* floats: -0 is 0, too */
        return (sum == 0 && (first & ~sign) == 0 && (second & ~sign) == 0) ||
               refuse(why,
                      "'%s' holds numbers behind the last channel: expected zeros; convert the "
                      "model again",
                      layer->name);
    }
    const int64_t bias = is_last ? 0 : (int32_t)first;
    const int64_t reach = 255 * sum + (bias < 0 ? -bias : bias);
    const uint32_t multiplier = second & 0xFFFF, shift = second >> 16;
    if (!is_last && (multiplier > MAX_MULTIPLIER || shift > MAX_SHIFT))
        return refuse(why,
                      "'%s' has multiplier %u and shift %u: expected 0 to %d and 0 to %d; convert "
                      "the model again",
                      layer->name, (unsigned)multiplier, (unsigned)shift, MAX_MULTIPLIER,
                      MAX_SHIFT);
    return reach < INT64_C(1) << 31 ||
           refuse(why, "'%s': channel %d could sum up to %" PRId64
                       ": expected below 2^31; convert the model again",
                  layer->name, channel, reach);
}

static bool check_int8(const model_file *model, const network_layer *layer, refusal *why) {
    const npy_array array = network_member(&model->net, layer, 0).array;
    const int64_t panel_bytes = (int64_t)npy_bytes(&array) / array.shape[0];
    bool is_padded = false;
    for (int32_t channel = 0; channel < array.shape[0] * PANEL; channel++) {
        const int64_t panel = channel / PANEL;
        const int8_t *w =
            (const int8_t *)(model->weights + *layer->weight + panel * panel_bytes);
        const uint8_t *table = model->weights + *layer->bias + panel * 2 * PANEL * 4;
        const int64_t sum =
            sum_of_sizes(layer, w, array.shape[1], channel % PANEL, &is_padded);
        if (!check_channel(layer, channel, sum, table, why)) return false;
    }
    return !is_padded || refuse(why,
                                "'%s' holds numbers behind the last term: expected zeros; convert "
                                "the model again",
                                layer->name);
}

bool model_file_verify(model_file *model, refusal *why) {
    const mnv2_precision precision = model->net.precision;
    for (size_t i = 0; i < model->directory.count; i++) {
        const npz_member *member = &model->directory.members[i];
        if (!member->deflated && !npz_check(model->file, member, why)) /* or else checked */
            return refuse_within(why, "member '%s' ", shown(member->name, member->name_bytes).text);
    }
    for (int32_t place = 0; place < network_places(&model->net); place++) {
        network_layer layer;
        if (!network_layer_at(&model->net, place, &layer)) continue;
        const int64_t offsets[] = {*layer.weight, *layer.bias, layer.values ? *layer.values : 0};
        for (int i = 0; i < network_members(&model->net, &layer); i++) {
            const layer_member member = network_member(&model->net, &layer, i);
            if (!check_floats(model, &member, offsets[i], why)) return false;
        }
        if (precision == MNV2_INT8 && layer.kind != LAYER_LATER_DENSE &&
            !check_int8(model, &layer, why))
            return false;
    }
    return true;
}
