#include "detection.h"

static const double MAX_CODING = 1e6;

static bool read_count(const char *what, const json_value *value, int32_t most, int32_t *count,
                       refusal *why) {
    if (!json_is_integer(value, 1, most))
        return refuse(why, "network: detection: %s %s: expected 1 to %d", what,
                      json_shown(value).text, most);
    *count = (int32_t)value->number;
    return true;
}

static bool read_share(const char *what, const json_value *value, float *share, refusal *why) {
    if (!json_is_number(value) || !(value->number >= 0 && value->number <= 1))
        return refuse(why, "network: detection: %s %s: expected a number from 0 to 1", what,
                      json_shown(value).text);
    *share = (float)value->number;
    return true;
}

/* Whether it is an object of exactly such keys, which end with NULL. */
static bool has_keys(const json_value *value, const char *const *keys) {
    uint32_t count = 0;
    if (value->kind != JSON_OBJECT) return false;
    for (; keys[count]; count++)
        if (!json_get(value, keys[count])) return false;
    return value->count == count;
}

static bool read_maps(named_map *maps, int32_t *map_count, const json_value *said, refusal *why) {
    static const char *const keys[] = {"boxes", "scores", "anchors", NULL};
    if (said->kind != JSON_LIST || said->count < 1 || said->count > MNV2_MAX_MAPS)
        return refuse(why, "network: detection: feature maps: expected a list of 1 to %d",
                      MNV2_MAX_MAPS);
    const json_value *row = json_first(said);
    for (uint32_t i = 0; i < said->count; i++, row = json_next(row)) {
        if (!has_keys(row, keys))
            return refuse(why, "network: detection: a map: expected exactly the keys boxes, scores, "
                               "anchors");
        maps[i].boxes = json_get(row, "boxes");
        maps[i].scores = json_get(row, "scores");
        if (maps[i].boxes->kind != JSON_TEXT || maps[i].scores->kind != JSON_TEXT)
            return refuse(why, "network: detection: a map: expected names of layers for boxes and "
                               "scores");
        if (!read_count("anchors a cell", json_get(row, "anchors"), MAX_CELL_ANCHORS,
                        &maps[i].anchors, why))
            return false;
    }
    *map_count = (int32_t)said->count;
    return true;
}

static bool read_coding(float coding[4], const json_value *said, refusal *why) {
    const json_value *value = json_first(said);
    bool is_right = said->kind == JSON_LIST && said->count == 4;
    for (int i = 0; is_right && i < 4; i++, value = json_next(value)) {
        is_right = json_is_number(value) && value->number > 0 && value->number <= MAX_CODING;
        if (is_right) coding[i] = (float)value->number;
    }
    return is_right || refuse(why, "network: detection: box_coding: expected four numbers above 0, "
                                   "for y, x, height and width");
}

bool detection_read(mnv2_detection *made, named_map *maps, int32_t *map_count,
                    const json_value *said, refusal *why) {
    static const char *const keys[] = {
        "maps",          "classes",       "background",    "score_conversion", "box_coding",
        "score_threshold", "iou_threshold", "max_per_class", "max_objects",      NULL};
    if (!has_keys(said, keys))
        return refuse(why, "network: detection: expected exactly the keys maps, classes, "
                           "background, score_conversion, box_coding, score_threshold, "
                           "iou_threshold, max_per_class, max_objects");
    *made = (mnv2_detection){.anchors = 0};
    if (!read_maps(maps, map_count, json_get(said, "maps"), why) ||
        !read_count("classes", json_get(said, "classes"), MAX_OBJECT_CLASSES, &made->columns,
                    why) ||
        !read_count("max_per_class", json_get(said, "max_per_class"), MAX_OBJECTS,
                    &made->max_per_class, why) ||
        !read_count("max_objects", json_get(said, "max_objects"), MAX_OBJECTS,
                    &made->max_objects, why))
        return false;
    const json_value *background = json_get(said, "background");
    if (background->kind != JSON_TRUE && background->kind != JSON_FALSE)
        return refuse(why, "network: detection: background %s: expected a bool",
                      json_shown(background).text);
    made->has_background = background->kind == JSON_TRUE;
    made->columns += made->has_background;
    const json_value *conversion = json_get(said, "score_conversion");
    made->is_softmax = json_is(conversion, "softmax");
    if (!made->is_softmax && !json_is(conversion, "sigmoid"))
        return refuse(why, "network: detection: score_conversion %s: expected one of sigmoid, "
                           "softmax", json_shown(conversion).text);
    if (made->is_softmax && made->columns == 1)
        return refuse(why, "network: detection: softmax of one class is 100 %% always: expected "
                           "sigmoid");
    return read_share("score_threshold", json_get(said, "score_threshold"),
                      &made->score_threshold, why) &&
           read_share("iou_threshold", json_get(said, "iou_threshold"), &made->iou_threshold,
                      why) &&
           read_coding(made->coding, json_get(said, "box_coding"), why);
}
