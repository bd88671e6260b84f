#define _POSIX_C_SOURCE 200809L
#include "model_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/members.h"
#include "model/mnv2_model.h"
#include "model/model.h"
#include "pages.h"

/* A copy of compressed members may be this many times larger than the file. Float weights deflate
 * by a tenth; only zeros, a zip bomb, inflate beyond it. Small copies are always allowed. */
enum { COPY_RATIO = 16, COPY_ALWAYS = 64 << 20 };

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
    while (members_next(&walk)) {
        const npz_member *member = npz_find(&model->directory, walk.member.name);
        const uint64_t due = npy_bytes(&walk.member.array);
        if (member->size <= due || member->size > due + MEMBER_HEAD_BYTES)
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
    model->copy = aligned_alloc(MEMBER_ALIGNMENT, (size_t)total);
    if (!model->copy)
        return refuse(why, "cannot get %" PRId64 " bytes of memory to copy to", total);
    int64_t at = 0;
    walk = (member_walk){.net = &model->net};
    while (members_next(&walk)) {
        const npz_member *member = npz_find(&model->directory, walk.member.name);
        const int64_t bytes = (int64_t)npy_bytes(&walk.member.array);
        if (!copy_tensor(model, member, &walk.member, model->copy + at, why)) return false;
        *walk.offset = at;
        at += (bytes + MEMBER_ALIGNMENT - 1) / MEMBER_ALIGNMENT * MEMBER_ALIGNMENT;
    }
    return true;
}

/* A copy of what has to stay, which `made` points to. */
static void *kept(const void *made, size_t bytes) {
    void *copy = bytes ? malloc(bytes) : NULL;
    if (copy) memcpy(copy, made, bytes);
    return copy;
}

/* Directory and labels, which were read into memory that is given back. */
static bool keep(model_file *model, const model_reading *made, refusal *why) {
    model->directory = made->directory;
    model->directory.members =
        kept(made->directory.members, made->directory.count * sizeof *made->directory.members);
    model->labels = kept(made->labels.texts, made->labels.bytes);
    model->label_count = made->labels.count;
    return (model->directory.members && (model->labels || !made->labels.texts)) ||
           refuse(why, "no memory for its labels");
}

static bool read_file(model_file *model, reading_room left, refusal *why) {
    model_reading made = {.weight_bytes = 0};
    if (!model_read(&made, &model->net, model->file, &left, why) || !keep(model, &made, why))
        return false;
    model->is_mapped = made.are_usable;
    model->weight_bytes = made.weight_bytes;
    if (!model->is_mapped && !copy_tensors(model, made.aligned_bytes, why)) return false;
    model->weights = model->is_mapped ? model->file.bytes : model->copy;
    model->buffer_bytes = model->is_mapped ? (int64_t)model->file.count : made.aligned_bytes;
    return members_check_anchors(&model->net, model->weights, why);
}

static bool read_mapped(model_file *model, refusal *why) {
    const size_t bytes = (size_t)model_room(model->file);
    uint8_t *memory = pages_take(bytes);
    const bool is_read = memory ? read_file(model, (reading_room){memory, memory + bytes}, why)
                                : refuse(why, "no memory to read it");
    pages_give(memory, bytes);
    return is_read;
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
    if (map_file(&model->file, path, why) && read_mapped(model, why)) {
        if (!model->is_mapped) unmap(model);
        return true;
    }
    model_file_close(model);
    return refuse_within(why, "%.200s: ", path);
}

const char *model_file_label(const model_file *model, int32_t index) {
    if (!model->labels || index < 0 || (uint32_t)index >= model->label_count) return NULL;
    return mnv2_label(model->labels, index);
}

void model_file_close(model_file *model) {
    unmap(model);
    free(model->labels);
    free(model->copy);
    empty(model);
}
