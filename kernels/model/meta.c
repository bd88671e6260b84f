#include "meta.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "family.h"
#include "image/mnv2_image.h"
#include "json.h"
#include "table.h"

enum { NEWEST = 2, MAX_FRACTION = 6, MAX_MULTIPLIER = 32767, MAX_SHIFT = 31, MOST_KEYS = 8 };
#define MAX_MEAN 65535.0
#define MIN_STD 1e-3

/* What weights may be; and those of the first dense layer, where they differ. */
typedef struct {
    const char *name;
    mnv2_precision precision, stored;
} dtype;

static const dtype dtypes[] = {
    {"float32", MNV2_FLOAT32, MNV2_FLOAT32},
    {"float16", MNV2_FLOAT16_WEIGHTS, MNV2_FLOAT32},
    {"bfloat16", MNV2_BFLOAT16_WEIGHTS, MNV2_FLOAT32},
    {"int8", MNV2_INT8, MNV2_FLOAT32},
    {"float32+float16", MNV2_FLOAT32, MNV2_FLOAT16_WEIGHTS},
    {"float32+bfloat16", MNV2_FLOAT32, MNV2_BFLOAT16_WEIGHTS},
    {"float32+int8", MNV2_FLOAT32, MNV2_INT8},
};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

/* The texts or keys behind each other, with commas, as far as they fit. */
static const char *join(char *y, size_t room, const char *const *texts) {
    size_t at = 0;
    y[0] = '\0';
    for (; *texts && at < room; texts++)
        at += (size_t)snprintf(y + at, room - at, at ? ", %s" : "%s", *texts);
    return y;
}

static bool check_object(const char *name, const json_value *value, refusal *why) {
    return value->kind == JSON_OBJECT ||
           refuse(why, "%s: %s found: expected an object", name, json_kind_name(value));
}

/* `keys` end with NULL. */
static bool check_keys(const char *name, const json_value *value, const char *const *keys,
                       refusal *why) {
    if (!check_object(name, value, why)) return false;
    uint32_t count = 0;
    bool complete = true;
    for (; keys[count]; count++) complete = complete && json_get(value, keys[count]);
    if (complete && value->count == count) return true;

    shown_bytes some[MOST_KEYS];
    const char *found[MOST_KEYS + 1] = {NULL};
    const json_value *key = json_first(value);
    for (uint32_t i = 0; i < value->count && i < MOST_KEYS; i++, key = json_next(json_next(key))) {
        some[i] = shown(key->text, key->count < 24 ? key->count : 24);
        found[i] = some[i].text;
    }
    char wanted_text[200], found_text[200];
    return refuse(why, "%s: expected exactly %s; found '%s'", name,
                  join(wanted_text, sizeof wanted_text, keys),
                  join(found_text, sizeof found_text, found));
}

static bool is_within(const json_value *value, double least, double most) {
    return json_is_number(value) && value->number >= least && value->number <= most;
}

/* No control characters, which may command a terminal, and no halves of surrogate pairs. */
static bool check_text(const char *name, const json_value *value, refusal *why) {
    if (value->kind != JSON_TEXT) return refuse(why, "%s: expected nothing but text", name);
    const unsigned char *x = (const unsigned char *)value->text;
    for (uint32_t i = 0; i < value->count; i++) /* a NUL ends the text */
        if (x[i] < ' ' || x[i] == 0x7F || (x[i] == 0xC2 && x[i + 1] < 0xA0) ||
            (x[i] == 0xED && x[i + 1] >= 0xA0))
            return refuse(why, "%s: '%s' holds a control character or half a pair", name,
                          shown(x, value->count).text);
    return true;
}

/* One for each class; of one sigmoid, which is the probability of class 1, one or two. */
static bool is_label_count(const network *net, uint32_t count) {
    const int32_t classes = network_classes(net);
    if (classes == 1 && net->answer == ANSWER_SIGMOID && count == 2) return true;
    return classes > 0 && count == (uint32_t)classes;
}

static bool read_labels(const json_value *value, const network *net, label_texts *labels,
                        reading_room *left, refusal *why) {
    const int32_t classes = network_classes(net);
    if (value->kind == JSON_NULL) return true;
    if (value->kind != JSON_LIST)
        return refuse(why, "labels: %s: expected %d labels, or none at all",
                      json_shown(value).text, classes);
    if (!is_label_count(net, value->count))
        return refuse(why, "labels: %u labels: expected %d labels, or none at all",
                      (unsigned)value->count, classes);
    size_t bytes = 0;
    const json_value *label = json_first(value);
    for (uint32_t i = 0; i < value->count; i++, label = json_next(label)) {
        if (!check_text("labels", label, why)) return false;
        bytes += label->count + 1;
    }
    char *made = room_take(left, bytes, 1), *text = made;
    if (!made) return refuse(why, "labels: no memory for %u of them", (unsigned)value->count);
    label = json_first(value);
    for (uint32_t i = 0; i < value->count; i++, label = json_next(label)) {
        memcpy(text, label->text, label->count + 1);
        text += label->count + 1;
    }
    *labels = (label_texts){made, bytes, value->count};
    return true;
}

static bool check_provenance(const json_value *value, refusal *why) {
    if (!check_object("provenance", value, why)) return false;
    const json_value *text = json_first(value);
    for (uint32_t i = 0; i < 2 * value->count; i++, text = json_next(text))
        if (!check_text("provenance", text, why)) return false;
    return true;
}

static bool read_count(const char *what, const json_value *value, int32_t most, int32_t *count,
                       refusal *why) {
    if (!json_is_integer(value, 1, most))
        return refuse(why, "architecture: %s %s: expected an integer from 1 to %d", what,
                      json_shown(value).text, most);
    *count = (int32_t)value->number;
    return true;
}

static bool read_architecture(network *net, const json_value *value, refusal *why) {
    static const char *const keys[] = {"family",  "width",   "divisor", "resolution",
                                       "classes", "padding", NULL};
    static const json_kind kinds[] = {JSON_TEXT,    JSON_REAL, JSON_INTEGER, JSON_LIST,
                                      JSON_INTEGER, JSON_TEXT};
    if (!check_keys("architecture", value, keys, why)) return false;
    const json_value *said[6];
    for (int i = 0; i < 6; i++) {
        said[i] = json_get(value, keys[i]);
        if (said[i]->kind != kinds[i] && !(kinds[i] == JSON_REAL && json_is_number(said[i])))
            return refuse(why,
                          "architecture: expected texts for family and padding, a number for "
                          "width, integers for divisor and classes, [height, width] for "
                          "resolution; found %s: %s",
                          keys[i], json_shown(said[i]).text);
    }
    const json_value *padding = said[5], *size = said[3];
    if (!json_is(padding, "same") && !json_is(padding, "symmetric"))
        return refuse(why, "architecture: padding %s: expected one of same, symmetric",
                      json_shown(padding).text);
    if (size->count != 2)
        return refuse(why, "architecture: resolution of %u values: expected [height, width]",
                      (unsigned)size->count);
    architecture made = {.width = said[1]->number, .is_same = json_is(padding, "same")};
    const json_value *height = json_first(size);
    if (!(made.width > 0 && made.width <= MAX_WIDTH))
        return refuse(why, "architecture: width multiplier %s: expected more than 0, up to %d",
                      json_shown(said[1]).text, MAX_WIDTH);
    if (!read_count("channel divisor", said[2], MAX_DIVISOR, &made.divisor, why) ||
        !read_count("class count", said[4], MAX_CLASSES, &made.classes, why) ||
        !read_count("resolution", height, MAX_RESOLUTION, &made.in_height, why) ||
        !read_count("resolution", json_next(height), MAX_RESOLUTION, &made.in_width, why))
        return false;
    snprintf(made.family, sizeof made.family, "%.23s",
             shown(said[0]->text, said[0]->count).text); /* no known one is as long */
    refusal inner;
    if (network_of_family(net, &made, &inner)) return true;
    const bool is_family = inner.text[0] == '\'';
    return refuse(why, is_family ? "architecture %.900s; a newer version may"
                                 : "architecture: %.900s", inner.text);
}

static bool read_three(const char *name, const json_value *value, double least, double most,
                       double three[3], refusal *why) {
    if (value->kind != JSON_LIST || value->count != 3)
        return refuse(why,
                      "preprocessing: %s %s: expected three numbers, for red, green and blue",
                      name, json_shown(value).text);
    const json_value *number = json_first(value);
    for (int i = 0; i < 3; i++, number = json_next(number)) {
        if (!is_within(number, least, most))
            return refuse(why, "preprocessing: %s %s: expected a number from %g to %g", name,
                          json_shown(number).text, least, most);
        three[i] = number->number;
    }
    return true;
}

/* How pixels become numbers. Resizing is left to whoever makes the pixels. */
static bool read_preprocessing(network *net, bool is_int8, const json_value *value,
                               refusal *why) {
    static const char *const keys[] = {"mean", "std", "resample", "crop_fraction", NULL};
    static const char *const more[] = {"mean", "std", "resample", "crop_fraction", "fit", NULL};
    static const char *const filters[] = {"bilinear", "bicubic", "nearest", "lanczos",
                                          "box",      "hamming", "bilinear-no-antialias",
                                          "bilinear-from-corner", NULL};
    static const mnv2_filter numbers[] = {MNV2_BILINEAR, MNV2_BICUBIC, MNV2_NEAREST,
                                          MNV2_LANCZOS,  MNV2_BOX,     MNV2_HAMMING,
                                          MNV2_BILINEAR_NO_ANTIALIAS,
                                          MNV2_BILINEAR_FROM_CORNER};
    mnv2_stem *stem = &net->stem;
    double *const mean = net->mean, *const std = net->std;
    if (!check_object("preprocessing", value, why)) return false;
    const json_value *fit = json_get(value, "fit"); /* what is usual is left out */
    if (!check_keys("preprocessing", value, fit ? more : keys, why)) return false;
    const json_value *resample = json_get(value, "resample");
    bool is_known = false;
    for (int i = 0; filters[i]; i++) {
        if (!json_is(resample, filters[i])) continue;
        is_known = true;
        net->filter = numbers[i];
        net->filter_name = filters[i];
    }
    char all[120];
    if (!is_known)
        return refuse(why, "preprocessing: resample %s: expected one of %s",
                      json_shown(resample).text, join(all, sizeof all, filters));
    if (!read_three("mean", json_get(value, "mean"), -MAX_MEAN, MAX_MEAN, mean, why) ||
        !read_three("std", json_get(value, "std"), MIN_STD, MAX_MEAN, std, why))
        return false;
    const json_value *crop = json_get(value, "crop_fraction");
    if (!is_within(crop, 0.05, 1.0))
        return refuse(why, "preprocessing: crop_fraction %s: expected a number from 0.05 to 1",
                      json_shown(crop).text);
    net->crop_fraction = crop->number;
    net->fit = fit && json_is(fit, "squash") ? MNV2_SQUASH : MNV2_CROP;
    if (fit && !net->fit && !json_is(fit, "crop"))
        return refuse(why, "preprocessing: fit %s: expected one of crop, squash",
                      json_shown(fit).text);
    for (int i = 0; i < 3; i++) {
        stem->scale[i] = (float)(1.0 / std[i]); /* x = (pixel - mean) / std */
        stem->shift[i] = (float)(-mean[i] / std[i]);
        if (!is_int8) continue;
        stem->mean[i] = (float)mean[i];
        stem->std[i] = (float)std[i];
        stem->pad[i] = (uint8_t)fmin(fmax(rint(mean[i]), 0), 255); /* what is nearest to zero */
    }
    return true;
}

static bool check_quantity(const char *name, const char *what, const json_value *value,
                           double least, double most, refusal *why) {
    const bool is_scale = strcmp(what, "scale") == 0; /* the only one that is no integer, or 0 */
    if (!json_is_number(value) || (!is_scale && value->kind != JSON_INTEGER))
        return refuse(why, "quantization of %s: %s %s: expected %s", name, what,
                      json_shown(value).text, is_scale ? "a number" : "an integer");
    if (!is_within(value, least, most) || (is_scale && value->number == 0))
        return refuse(why, "quantization of %s: %s %s: expected %g to %g", name, what,
                      json_shown(value).text, least, most);
    return true;
}

static bool check_list(const char *name, const json_value *value, uint32_t count, refusal *why) {
    return (value->kind == JSON_LIST && value->count == count) ||
           refuse(why, "quantization of %s: %s: expected a scale and %u integers", name,
                  json_shown(value).text, (unsigned)count - 1);
}

/* real = scale * (q - zero_point), and bits of fraction of the sums before */
typedef struct {
    double scale;
    int32_t zero_point, fraction;
} output_scale;

/* The 8-bit output of a layer: [scale, zero_point, fraction, shortcut]. */
static bool read_layer(const network_layer *layer, const json_value *value, output_scale *out,
                       refusal *why) {
    const char *name = layer->name;
    const bool joins = layer->residual && *layer->residual;
    const bool is_linear = layer->activation == MNV2_LINEAR;
    if (!check_list(name, value, 4, why)) return false;
    const json_value *zero_point = json_next(json_first(value));
    const json_value *fraction = json_next(zero_point), *shortcut = json_next(fraction);
    /* The largest output of a ReLU6, 255, is at most 6. */
    const double most_scale = layer->activation == MNV2_RELU6 ? 6.0 / 255 : FLT_MAX;
    if (!check_quantity(name, "scale", json_first(value), 0, most_scale, why) ||
        !check_quantity(name, "zero_point", zero_point, 0, is_linear ? 255 : 0, why) ||
        !check_quantity(name, "fraction", fraction, 0, MAX_FRACTION, why) ||
        !check_quantity(name, "shortcut", shortcut, 0, joins ? MAX_MULTIPLIER : 0, why))
        return false;
    *out = (output_scale){json_first(value)->number, (int32_t)zero_point->number,
                          (int32_t)fraction->number};
    *layer->fraction = out->fraction;
    if (joins) *layer->residual = (int32_t)shortcut->number;
    return true;
}

static bool read_pool(mnv2_head *head, const json_value *value, refusal *why) {
    static const struct {
        const char *what;
        double least, most;
    } parts[] = {{"scale", 0, FLT_MAX},
                 {"fraction", 0, MAX_FRACTION},
                 {"bias", -(1 << 30), 1 << 30},
                 {"multiplier", 0, MAX_MULTIPLIER},
                 {"shift", 0, MAX_SHIFT}};
    int32_t ignored;
    int32_t *const to[] = {&ignored, &head->pool_fraction, &head->pool_bias,
                           &head->pool_multiplier, &head->pool_shift};
    if (!check_list("pool", value, 5, why)) return false;
    const json_value *number = json_first(value);
    for (int i = 0; i < 5; i++, number = json_next(number)) {
        if (!check_quantity("pool", parts[i].what, number, parts[i].least, parts[i].most, why))
            return false;
        if (i > 0) *to[i] = (int32_t)number->number;
    }
    return true;
}

/* The places of layers in the order of the table: a detector's heads may stand among its blocks. */
static void order_places(const network *net, int16_t order[MAX_PLACES]) {
    for (int32_t place = 0; place < network_places(net); place++) {
        int32_t at = place;
        for (; at > 0 && net->rows[order[at - 1]] > net->rows[place]; at--)
            order[at] = order[at - 1];
        order[at] = (int16_t)place;
    }
}

/* The level of zero around what a depthwise layer without an expand layer reads. Tensors behind an
 * activation have 0. `zeros` are those of the blocks' outputs. */
static void set_pads(network *net, const int32_t zeros[MNV2_MAX_BLOCKS]) {
    const int32_t chain = net->block_count - net->predictor_count;
    for (int32_t i = 0; i < chain; i++) {
        mnv2_block *block = &net->blocks[i];
        if (i > 0 && block->expand_weight < 0) block->pad = zeros[i - 1];
        for (int32_t n = 0; n < block->behind_count; n++)
            net->blocks[block->behind + n].pad = zeros[i];
    }
}

static bool read_layers(network *net, const json_value *layers, output_scale *last,
                        refusal *why) {
    const json_value *key = json_first(layers);
    int16_t order[MAX_PLACES];
    int32_t zeros[MNV2_MAX_BLOCKS];
    uint32_t count = 0;
    order_places(net, order);
    for (int32_t i = 0; i < network_places(net); i++) {
        const int32_t place = order[i];
        network_layer layer;
        if (!network_layer_at(net, place, &layer) || layer.kind == LAYER_DENSE ||
            layer.kind == LAYER_LATER_DENSE)
            continue;
        if (count++ == layers->count || !json_is(key, layer.name))
            return refuse(why,
                          "quantization: expected the layers of %.200s in order; %s is not in its "
                          "place",
                          net->name, layer.name);
        if (!read_layer(&layer, json_next(key), last, why)) return false;
        if (layer.values) zeros[(place - 1) / BLOCK_PARTS] = last->zero_point; /* a project layer */
        key = json_next(json_next(key));
    }
    if (count != layers->count)
        return refuse(why, "quantization: %u layers: expected the %u of %.200s",
                      (unsigned)layers->count, (unsigned)count, net->name);
    set_pads(net, zeros);
    return true;
}

/* A detector has no pool. */
static bool read_quantization(network *net, const json_value *value, refusal *why) {
    const bool pools = net->answer != ANSWER_BOXES;
    const char *const keys[] = {"layers", pools ? "pool" : NULL, NULL};
    if (!check_keys("quantization", value, keys, why)) return false;
    const json_value *layers = json_get(value, "layers");
    output_scale last = {0, 0, 0};
    if (!check_object("quantization: layers", layers, why) ||
        !read_layers(net, layers, &last, why))
        return false;
    if (!pools) return true;
    mnv2_head *head = &net->head; /* the last layer, whose scale is the features' */
    head->fraction = last.fraction;
    head->feature_scale = (float)(last.scale / (head->height * head->width));
    head->feature_offset = (float)(-last.zero_point * last.scale);
    return read_pool(head, json_get(value, "pool"), why);
}

static bool read_format(const json_value *document, const dtype **found, bool *newest,
                        refusal *why) {
    const char *keys[] = {"format", "version",    "architecture", "preprocessing", "labels",
                          "dtype",  "provenance", NULL,           NULL};
    const json_value absent = {.kind = JSON_NULL};
    if (!check_object("meta", document, why)) return false;
    const json_value *format = json_get(document, "format");
    if (!format || !json_is(format, "mnv2_engine"))
        return refuse(why,
                      "meta: format %s: expected 'mnv2_engine'; this file was made by another "
                      "program",
                      json_shown(format ? format : &absent).text);
    const json_value *version = json_get(document, "version");
    if (!version || version->kind != JSON_INTEGER || version->number < 1)
        return refuse(why, "meta: version %s: expected 1 to %d",
                      json_shown(version ? version : &absent).text, NEWEST);
    if (version->number > NEWEST)
        return refuse(why,
                      "meta: format version %s is newer than %d, the newest that this version "
                      "reads; upgrade",
                      json_shown(version).text, NEWEST);
    const json_value *said = json_get(document, "dtype");
    const bool is_int8 = said && json_is(said, "int8");
    *newest = version->number == NEWEST;
    if (*newest) keys[2] = "network";
    if (is_int8) keys[7] = "quantization";
    if (!check_keys("meta", document, keys, why)) return false;
    for (int i = 0; i < DTYPES; i++)
        if (json_is(said, dtypes[i].name)) {
            *found = &dtypes[i];
            return true;
        }
    return refuse(why,
                  "meta: dtype %s: this version reads float32, float16, bfloat16, int8, and "
                  "float32 with a classifier of those",
                  json_shown(said).text);
}

static bool read_document(network *net, label_texts *labels, const json_value *document,
                          reading_room *left, refusal *why) {
    const dtype *stored = &dtypes[0];
    bool newest = false;
    if (!read_format(document, &stored, &newest, why) ||
        !(newest ? network_of_table(net, json_get(document, "network"), left, why)
                 : read_architecture(net, json_get(document, "architecture"), why)) ||
        !read_preprocessing(net, stored->precision == MNV2_INT8,
                            json_get(document, "preprocessing"), why) ||
        !check_provenance(json_get(document, "provenance"), why))
        return false;
    if (stored->stored != MNV2_FLOAT32 && net->dense_count == 0)
        return refuse(why, "meta: dtype %s, and the network has no classifier", stored->name);
    net->precision = stored->precision;
    net->dtype = stored->name;
    if (net->dense_count > 0) net->dense[0].stored = (int32_t)stored->stored;
    net->version = newest ? 2 : 1;
    if (net->precision == MNV2_INT8 &&
        !read_quantization(net, json_get(document, "quantization"), why))
        return false;
    return read_labels(json_get(document, "labels"), net, labels, left, why);
}

bool meta_read(network *net, label_texts *labels, char *text, size_t count, reading_room *left,
               refusal *why) {
    refusal inner;
    const json_value *document = json_parse(text, count, left, &inner);
    *labels = (label_texts){NULL, 0, 0};
    if (!document)
        return refuse(why, "meta: not JSON: %.900s; convert the model again", inner.text);
    return read_document(net, labels, document, left, why);
}
