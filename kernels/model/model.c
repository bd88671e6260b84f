#include "model.h"

#include <inttypes.h>

#include "bytes.h"
#include "json.h"
#include "layers.h"
#include "members.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "model files are little endian, and read in place"
#endif

static bool parse_meta(model_reading *made, network *net, file_view file,
                       const npz_member *member, reading_room *left, refusal *why) {
    /* Any length will do, so the header is compared with the one for the length that is there. */
    npy_array due = {"|u1", 1, {0, 0, 0, 0}};
    uint64_t start = 0;
    uint8_t *content = room_take(left, (size_t)member->size + 1, 1); /* and a NUL */
    if (!content) return refuse(why, "no memory for member 'meta'");
    if (!npz_copy(file, member, content, why)) return refuse_within(why, "member 'meta' ");
    if (member->size >= 10) due.shape[0] = (int64_t)member->size - 10 - u16_at(content + 8);
    if (!npy_data_offset(content, member->size, member->size, &due, &start, why))
        return refuse_within(why, "member 'meta' ");
    content[member->size] = '\0';
    made->meta = member->deflated ? 0 : member->start + start;
    made->meta_bytes = member->size - start;
    return meta_read(net, &made->labels, (char *)content + start, (size_t)(member->size - start),
                     left, why);
}

static bool read_meta(model_reading *made, network *net, file_view file, reading_room *left,
                      refusal *why) {
    const npz_member *member = npz_find(&made->directory, "meta");
    if (!member)
        return refuse(why,
                      "a .npz without 'meta'; if it is a checkpoint, make a model file of it with: "
                      "mnv2 convert CHECKPOINT OUT.npz");
    if (member->size > META_LIMIT)
        return refuse(why, "member 'meta' has %" PRIu64 " bytes: expected at most %d",
                      member->size, META_LIMIT);
    return parse_meta(made, net, file, member, left, why);
}

bool model_read(model_reading *made, network *net, file_view file, reading_room *left, refusal *why) {
    if (!npz_read(&made->directory, file, left, why) || !read_meta(made, net, file, left, why) ||
        !members_are_named(net, &made->directory, why) ||
        !members_find(net, &made->directory, file, &made->are_usable, why))
        return false;
    members_count(net, &made->weight_bytes, &made->aligned_bytes);
    return true;
}

uint64_t model_room(file_view file) {
    const uint64_t said = npz_size(file, "meta.npy"), size = said < META_LIMIT ? said : META_LIMIT;
    /* Its text, and once more for labels. Of "[]," json.c counts two values, an object's key takes four
     * characters. */
    return npz_room(npz_count(file)) + 2 * room_bytes(size + 1, 1) +
           room_bytes(2 * size / 3 + 4, sizeof(json_value)) +
           room_bytes(size / 4 + 1, sizeof(void *)) +
           room_bytes(MAX_LAYERS, sizeof(layer));
}
