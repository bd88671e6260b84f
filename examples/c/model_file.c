#define _POSIX_C_SOURCE 200809L
#include "model_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "meta.h"
#include "pages.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "model files are little endian, and read in place"
#endif

enum { ALIGNMENT = 64, HEAD_BYTES = 4096 + 12, SHOWN_NAMES = 3 };

/* A copy of compressed members may be this many times larger than the file. Float weights deflate
 * by a tenth; only zeros, a zip bomb, inflate beyond it. Small copies are always allowed. */
enum { COPY_RATIO = 16, COPY_ALWAYS = 64 << 20 };

/* Goes through the members that the network has to have, each layer's weight first. */
typedef struct {
    network *net;
    int32_t place; /* of the layer behind this one */
    int index;     /* of the next member of this layer */
    network_layer layer;
    layer_member member;
    int64_t *offset; /* of the network, to be filled in */
} member_walk;

/* Behind those of the layers stand a detector's anchors. */
static bool anchors_member(member_walk *walk) {
    if (walk->net->answer != ANSWER_BOXES || walk->place > network_places(walk->net)) return false;
    walk->place++;
    walk->index = network_members(walk->net, &walk->layer);
    walk->member = network_anchors(walk->net);
    walk->offset = &walk->net->anchors;
    return true;
}

static bool next_member(member_walk *walk) {
    while (walk->place == 0 || walk->index == network_members(walk->net, &walk->layer)) {
        do {
            if (walk->place >= network_places(walk->net)) return anchors_member(walk);
        } while (!network_layer_at(walk->net, walk->place++, &walk->layer));
        walk->index = 0;
    }
    walk->member = network_member(walk->net, &walk->layer, walk->index);
    walk->offset = walk->index == 0   ? walk->layer.weight
                   : walk->index == 1 ? walk->layer.bias
                                      : walk->layer.values;
    walk->index++;
    return true;
}

static bool map_file(file_view *file, const char *path, refusal *why) {
    const int handle = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* not to wait for a FIFO */
    if (handle < 0) return refuse(why, "cannot open the model file: %s", strerror(errno));
    struct stat state;
    void *mapped = MAP_FAILED;
    bool fits = false;
    if (fstat(handle, &state) != 0) {
        refuse(why, "cannot open the model file: %s", strerror(errno));
    } else if (!S_ISREG(state.st_mode)) {
        refuse(why, "not a regular file; expected a .npz model file");
    } else if (state.st_size == 0) {
        refuse(why, "an empty file; expected a .npz model file");
    } else {
        fits = (uint64_t)state.st_size <= SIZE_MAX;
        if (fits) mapped = mmap(NULL, (size_t)state.st_size, PROT_READ, MAP_SHARED, handle, 0);
        if (mapped == MAP_FAILED)
            refuse(why, "cannot be mapped into memory: %s", strerror(fits ? errno : ENOMEM));
    }
    close(handle);
    if (mapped == MAP_FAILED) return false;
    *file = (file_view){mapped, (uint64_t)state.st_size};
    return true;
}

static bool parse_meta(model_file *model, const npz_member *member, uint8_t *content,
                       refusal *why) {
    /* Any length will do, so the header is compared with the one for the length that is there. */
    npy_array due = {"|u1", 1, {0, 0, 0, 0}};
    uint64_t start = 0;
    if (!npz_copy(model->file, member, content, why)) return refuse_within(why, "member 'meta' ");
    if (member->size >= 10) due.shape[0] = (int64_t)member->size - 10 - u16_at(content + 8);
    if (!npy_data_offset(content, member->size, member->size, &due, &start, why))
        return refuse_within(why, "member 'meta' ");
    content[member->size] = '\0';
    return meta_read(&model->net, &model->labels, &model->label_count, (char *)content + start,
                     (size_t)(member->size - start), why);
}

static bool read_meta(model_file *model, refusal *why) {
    const npz_member *member = npz_find(&model->directory, "meta");
    if (!member)
        return refuse(why,
                      "a .npz without 'meta'; if it is a checkpoint, make a model file of it with: "
                      "mnv2 convert CHECKPOINT OUT.npz");
    if (member->size > META_LIMIT)
        return refuse(why, "member 'meta' has %" PRIu64 " bytes: expected at most %d",
                      member->size, META_LIMIT);
    const size_t bytes = (size_t)member->size + 1; /* and a NUL */
    uint8_t *content = pages_take(bytes);
    const bool is_read = content ? parse_meta(model, member, content, why)
                                 : refuse(why, "no memory for member 'meta'");
    pages_give(content, bytes);
    return is_read;
}

/* The members have to be exactly those of the network. */
static bool check_names(model_file *model, refusal *why) {
    const npz_directory *directory = &model->directory;
    bool known[NPZ_MAX_MEMBERS] = {false};
    shown_bytes some[SHOWN_NAMES];
    size_t missing = 0, unknown = 0, expected = 0;
    member_walk walk = {.net = &model->net};
    for (; next_member(&walk); expected++) {
        const npz_member *found = npz_find(directory, walk.member.name);
        if (found)
            known[found - directory->members] = true;
        else if (missing++ < SHOWN_NAMES)
            some[missing - 1] = shown(walk.member.name, strlen(walk.member.name));
    }
    for (size_t i = 0; missing == 0 && i < directory->count; i++) {
        const npz_member *member = &directory->members[i];
        if (!known[i] && !npz_is_named(member, "meta") && unknown++ < SHOWN_NAMES)
            some[unknown - 1] = shown(member->name, member->name_bytes);
    }
    const size_t wrong = missing + unknown;
    if (wrong == 0) return true;
    member_walk last = {.net = &model->net};
    while (next_member(&last)) continue;
    char more[32] = "";
    if (wrong > SHOWN_NAMES) snprintf(more, sizeof more, " and %zu more", wrong - SHOWN_NAMES);
    return refuse(why,
                  "%s %.80s%s%.80s%s%.80s%s: %.80s has exactly %zu arrays, %s.weight to %s",
                  missing ? "lacks" : "holds the unknown", some[0].text, wrong > 1 ? ", " : "",
                  wrong > 1 ? some[1].text : "", wrong > 2 ? ", " : "",
                  wrong > 2 ? some[2].text : "", more, model->net.name, expected,
                  model->net.names[0], last.member.name);
}

/* Finds the tensors where they lie. `are_usable` if they can stay there. */
static bool find_tensors(model_file *model, bool *are_usable, refusal *why) {
    member_walk walk = {.net = &model->net};
    *are_usable = true;
    for (size_t i = 0; i < model->directory.count; i++)
        if (model->directory.members[i].deflated &&
            !npz_is_named(&model->directory.members[i], "meta"))
            *are_usable = false;
    if (!*are_usable) return true;
    while (next_member(&walk)) {
        const npz_member *member = npz_find(&model->directory, walk.member.name);
        const uint64_t head = member->size < HEAD_BYTES ? member->size : HEAD_BYTES;
        uint64_t data = 0;
        if (!npy_data_offset(model->file.bytes + member->start, head, member->size,
                             &walk.member.array, &data, why))
            return refuse_within(why, "member '%s' ", walk.member.name);
        *walk.offset = (int64_t)(member->start + data);
        if (*walk.offset % ALIGNMENT != 0) *are_usable = false;
    }
    return true;
}

/* Bytes of all tensors, and of each with what makes the next one aligned. */
static void count_bytes(network *net, int64_t *weights, int64_t *aligned) {
    member_walk walk = {.net = net};
    *weights = *aligned = 0;
    while (next_member(&walk)) {
        const int64_t bytes = (int64_t)npy_bytes(&walk.member.array);
        *weights += bytes;
        *aligned += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
}

/* One member's data, checked, to `y`. */
static bool copy_tensor(model_file *model, const npz_member *member, const layer_member *due,
                        uint8_t *y, refusal *why) {
    uint64_t data = 0;
    uint8_t *content = malloc((size_t)member->size);
    const bool copied =
        content ? npz_copy(model->file, member, content, why) &&
                      npy_data_offset(content, member->size, member->size, &due->array, &data, why)
                : refuse(why, "has %" PRIu64 " bytes, for which there is no memory", member->size);
    if (copied) memcpy(y, content + data, (size_t)(member->size - data));
    free(content);
    return copied || refuse_within(why, "member '%s' ", due->name);
}

static bool copy_tensors(model_file *model, int64_t total, refusal *why) {
    member_walk walk = {.net = &model->net};
    while (next_member(&walk)) {
        const npz_member *member = npz_find(&model->directory, walk.member.name);
        const uint64_t due = npy_bytes(&walk.member.array);
        if (member->size <= due || member->size > due + HEAD_BYTES)
            return refuse(why,
                          "member '%s' has %" PRIu64 " bytes: expected %" PRIu64
                          " and a .npy header",
                          walk.member.name, member->size, due);
    }
    if (total > COPY_ALWAYS && (uint64_t)total > COPY_RATIO * model->file.count)
        return refuse(why,
                      "%" PRIu64 " bytes would inflate to %" PRId64
                      ", more than weights ever do: refused",
                      model->file.count, total);
    model->copy = aligned_alloc(ALIGNMENT, (size_t)total);
    if (!model->copy)
        return refuse(why, "cannot get %" PRId64 " bytes of memory to copy to", total);
    int64_t at = 0;
    walk = (member_walk){.net = &model->net};
    while (next_member(&walk)) {
        const npz_member *member = npz_find(&model->directory, walk.member.name);
        const int64_t bytes = (int64_t)npy_bytes(&walk.member.array);
        if (!copy_tensor(model, member, &walk.member, model->copy + at, why)) return false;
        *walk.offset = at;
        at += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    return true;
}

/* A detector's anchors are few, and every box depends on one: they are read at once. */
static bool check_anchors(const model_file *model, refusal *why) {
    const int64_t count = model->net.answer == ANSWER_BOXES ? model->net.detection.anchors : 0;
    const uint8_t *x = model->weights + model->net.anchors;
    for (int64_t i = 0; i < 4 * count; i++) {
        float value;
        memcpy(&value, x + 4 * i, sizeof value);
        if (!isfinite(value) || (i % 4 >= 2 && !(value > 0)))
            return refuse(why, "anchors: anchor %" PRId64 ": %g: expected finite numbers, height "
                               "and width above 0; convert the model again", i / 4,
                          (double)value);
    }
    return true;
}

static bool read_file(model_file *model, refusal *why) {
    int64_t aligned_bytes;
    if (!npz_read(&model->directory, model->file, why) || !read_meta(model, why) ||
        !check_names(model, why) || !find_tensors(model, &model->is_mapped, why))
        return false;
    count_bytes(&model->net, &model->weight_bytes, &aligned_bytes);
    if (!model->is_mapped && !copy_tensors(model, aligned_bytes, why)) return false;
    model->weights = model->is_mapped ? model->file.bytes : model->copy;
    model->buffer_bytes = model->is_mapped ? (int64_t)model->file.count : aligned_bytes;
    return check_anchors(model, why);
}

static void unmap(model_file *model) {
    if (model->file.bytes) munmap((void *)(uintptr_t)model->file.bytes, (size_t)model->file.count);
    free(model->directory.members);
    model->file = (file_view){0};
    model->directory = (npz_directory){0};
}

/* All but what network_begin leaves, too. */
static void empty(model_file *model) {
    memset(model, 0, offsetof(model_file, net) + offsetof(network, names));
}

bool model_file_open(model_file *model, const char *path, refusal *why) {
    empty(model);
    if (map_file(&model->file, path, why) && read_file(model, why)) {
        if (!model->is_mapped) unmap(model);
        return true;
    }
    model_file_close(model);
    return refuse_within(why, "%.200s: ", path);
}

const char *model_file_label(const model_file *model, int32_t index) {
    const char *label = model->labels;
    if (!label || index < 0 || (uint32_t)index >= model->label_count) return NULL;
    while (index-- > 0) label += strlen(label) + 1;
    return label;
}

void model_file_close(model_file *model) {
    unmap(model);
    free(model->labels);
    free(model->copy);
    empty(model);
}
