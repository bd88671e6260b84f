#include "npz.h"

#include <inttypes.h>
#include <string.h>

#include "bytes.h"
#include "inflate.h"

/* PKWARE APPNOTE 4.3.7, 4.3.12 and 4.3.16, without the variable tails. */
enum { LOCAL_BYTES = 30, CENTRAL_BYTES = 46, END_BYTES = 22 };
enum { STORED = 0, DEFLATED = 8, ZIP64_EXTRA = 1 };
/* Of the flags: sizes and checksum follow the data, the local header has zeros. */
enum { DESCRIPTOR_FLAG = 0x0008, HARMLESS_FLAGS = 0x0006 | DESCRIPTOR_FLAG | 0x0800 };
#define ZIP64 UINT32_C(0xFFFFFFFF) /* in place of a number that did not fit */

static bool starts(const uint8_t *x, const char *magic) { return memcmp(x, magic, 4) == 0; }

/* Where a member lies, its local header included. */
typedef struct {
    uint64_t first, end;
    const npz_member *member;
} extent;

/* By where they begin. They are in order, or nearly, in files that programs write. */
static void sort_extents(extent *x, size_t count) {
    for (size_t i = 1; i < count; i++) {
        const extent moved = x[i];
        size_t at = i;
        for (; at > 0 && (x[at - 1].first > moved.first ||
                          (x[at - 1].first == moved.first && x[at - 1].end > moved.end)); at--)
            x[at] = x[at - 1];
        x[at] = moved;
    }
}

/* The local header's own idea of the sizes; numpy.savez always moves both to a zip64 field. */
static void local_sizes(const uint8_t *extra, const uint8_t *extra_end, uint64_t *packed,
                        uint64_t *size) {
    if (*packed != ZIP64 || *size != ZIP64) return;
    while (extra_end - extra >= 4) {
        const uint32_t kind = u16_at(extra), length = u16_at(extra + 2);
        if (kind == ZIP64_EXTRA && length >= 16 && extra_end - extra >= 20) {
            *size = u64_at(extra + 4);
            *packed = u64_at(extra + 12);
            return;
        }
        if (extra_end - extra - 4 < (ptrdiff_t)length) return;
        extra += 4 + length;
    }
}

/* Compares a member's local header, at `local_at`, with the directory's entry `central`; `limit` is
 * where the directory begins. */
static bool read_local(file_view file, const uint8_t *central, const char *name, uint64_t limit,
                       npz_member *made, refusal *why) {
    const uint32_t flags = u16_at(central + 8), method = u16_at(central + 10);
    const uint32_t name_bytes = u16_at(central + 28);
    const uint64_t local_at = u32_at(central + 42);
    if (local_at + LOCAL_BYTES > limit)
        return refuse(why, "member '%s' is said to begin at %" PRIu64 ", outside the file", name,
                      local_at);
    const uint8_t *local = file.bytes + local_at;
    const uint64_t extra_at = local_at + LOCAL_BYTES + u16_at(local + 26);
    made->start = extra_at + u16_at(local + 28);
    if (made->start + made->packed_size > limit)
        return refuse(why,
                      "member '%s' is said to end at byte %" PRIu64 ", beyond the %" PRIu64
                      " bytes of members",
                      name, made->start + made->packed_size, limit);
    const uint32_t crc = u32_at(local + 14);
    uint64_t packed = u32_at(local + 18), size = u32_at(local + 22);
    local_sizes(file.bytes + extra_at, file.bytes + made->start, &packed, &size);
    const bool streamed = (flags & DESCRIPTOR_FLAG) && crc == 0 && packed == 0 && size == 0;
    const bool agrees = crc == made->crc && packed == made->packed_size && size == made->size;
    if (!starts(local, "PK\3\4") || u16_at(local + 26) != name_bytes ||
        memcmp(local + LOCAL_BYTES, central + CENTRAL_BYTES, name_bytes) != 0 ||
        u16_at(local + 6) != flags || u16_at(local + 8) != method || !(streamed || agrees))
        return refuse(why, "member '%s': its own header and the zip's directory disagree", name);
    return true;
}

/* The member of the directory's entry at `at`, of which CENTRAL_BYTES are there; `at` moves on. */
static bool read_member(file_view file, uint64_t *at, uint64_t start, uint64_t end,
                        npz_member *made, refusal *why) {
    const uint8_t *central = file.bytes + *at;
    const uint32_t flags = u16_at(central + 8), method = u16_at(central + 10);
    const uint32_t name_bytes = u16_at(central + 28);
    const uint64_t following =
        *at + CENTRAL_BYTES + name_bytes + u16_at(central + 30) + u16_at(central + 32);
    if (!starts(central, "PK\1\2") || following > end)
        return refuse(why, "the zip's directory is damaged at byte %" PRIu64, *at);
    const uint8_t *raw = central + CENTRAL_BYTES;
    const shown_bytes name = shown(raw, name_bytes);
    bool is_array = name_bytes >= 4 && memcmp(raw + name_bytes - 4, ".npy", 4) == 0;
    for (uint32_t i = 0; i < name_bytes; i++) is_array = is_array && raw[i] < 0x80;
    if (!is_array) return refuse(why, "holds '%s': expected only .npy arrays", name.text);
    if (flags & ~(uint32_t)HARMLESS_FLAGS)
        return refuse(why, "member '%s' is encrypted or patched (zip flags 0x%04x)", name.text,
                      (unsigned)flags);
    if (method != STORED && method != DEFLATED)
        return refuse(why, "member '%s' has zip compression %u: expected stored or deflated",
                      name.text, (unsigned)method);
    *made = (npz_member){
        .name = (const char *)raw,
        .name_bytes = name_bytes - 4,
        .deflated = method == DEFLATED,
        .crc = u32_at(central + 16),
        .packed_size = u32_at(central + 20),
        .size = u32_at(central + 24),
    };
    if (made->packed_size == ZIP64 || made->size == ZIP64 || u32_at(central + 42) == ZIP64)
        return refuse(why, "member '%s' uses zip64, which no model file needs", name.text);
    if (u16_at(central + 34) != 0 || (!made->deflated && made->packed_size != made->size))
        return refuse(why, "member '%s': the zip's directory contradicts itself", name.text);
    *at = following;
    return read_local(file, central, name.text, start, made, why);
}

static bool read_members(npz_directory *directory, size_t count, file_view file, uint64_t start,
                         uint64_t end, extent *extents, refusal *why) {
    uint64_t at = start;
    for (size_t i = 0; i < count; i++) {
        npz_member *member = &directory->members[i];
        if (at + CENTRAL_BYTES > end)
            return refuse(why, "the zip's directory holds fewer than the %zu members it says",
                          count);
        const uint64_t local_at = u32_at(file.bytes + at + 42);
        if (!read_member(file, &at, start, end, member, why)) return false;
        for (size_t j = 0; j < i; j++)
            if (directory->members[j].name_bytes == member->name_bytes &&
                memcmp(directory->members[j].name, member->name, member->name_bytes) == 0)
                return refuse(why, "holds two members named '%s'",
                              shown(member->name, member->name_bytes).text);
        extents[i] = (extent){local_at, member->start + member->packed_size, member};
        directory->count = i + 1;
    }
    if (at != end)
        return refuse(why, "the zip's directory holds more than the %zu members it says", count);
    sort_extents(extents, count);
    for (size_t i = 1; i < count; i++) {
        const npz_member *before = extents[i - 1].member, *member = extents[i].member;
        if (extents[i].first < extents[i - 1].end)
            return refuse(why, "members '%s' and '%s' overlap",
                          shown(before->name, before->name_bytes).text,
                          shown(member->name, member->name_bytes).text);
    }
    return true;
}

/* Where the zip's directory lies, and how many members it says that it has. */
static bool find_directory(file_view file, uint64_t *start, uint64_t *end, size_t *count,
                           refusal *why) {
    if (file.count < END_BYTES || !starts(file.bytes + file.count - END_BYTES, "PK\5\6")) {
        if (file.count >= 4 && starts(file.bytes, "PK\3\4"))
            return refuse(why,
                          "the zip's directory is not at the end of its %" PRIu64
                          " bytes: the file was cut short or something was appended; copy or "
                          "download it again",
                          file.count);
        return refuse(why,
                      "not a .npz model file: it begins with '%s'; make one with: mnv2 convert "
                      "CHECKPOINT OUT.npz",
                      shown(file.bytes, file.count < 8 ? (size_t)file.count : 8).text);
    }
    *end = file.count - END_BYTES;
    const uint8_t *record = file.bytes + *end;
    *count = u16_at(record + 10);
    *start = u32_at(record + 16);
    const uint64_t size = u32_at(record + 12);
    if (size == ZIP64 || *start == ZIP64 || *count == 0xFFFF)
        return refuse(why, "uses zip64, which no model file below 4 GiB needs");
    if (u16_at(record + 4) || u16_at(record + 6) || u16_at(record + 8) != *count ||
        u16_at(record + 20))
        return refuse(why,
                      "the zip spans several disks or has a comment; model files do not");
    if (*start + size != *end)
        return refuse(why,
                      "the zip's directory is said to be bytes %" PRIu64 " to %" PRIu64
                      ", but ends at %" PRIu64 ": the file was cut short or altered",
                      *start, *start + size, *end);
    if (*count > NPZ_MAX_MEMBERS)
        return refuse(why, "holds %zu members: expected at most %d", *count, NPZ_MAX_MEMBERS);
    return true;
}

bool npz_read(npz_directory *directory, file_view file, reading_room *left, refusal *why) {
    uint64_t end;
    size_t count;
    *directory = (npz_directory){0};
    if (!find_directory(file, &directory->start, &end, &count, why)) return false;
    directory->members = room_take(left, count, sizeof *directory->members);
    reading_room scratch = *left; /* what is taken from here on is given back */
    extent *extents = room_take(&scratch, count, sizeof *extents);
    return ((directory->members && extents) ||
            refuse(why, "no memory for its %zu members", count)) &&
           read_members(directory, count, file, directory->start, end, extents, why);
}

uint64_t npz_room(uint64_t members) {
    return room_bytes(members, sizeof(npz_member)) + room_bytes(members, sizeof(extent));
}

uint64_t npz_count(file_view file) {
    if (file.count < END_BYTES || !starts(file.bytes + file.count - END_BYTES, "PK\5\6")) return 0;
    return u16_at(file.bytes + file.count - END_BYTES + 10);
}

uint64_t npz_size(file_view file, const char *name) {
    const size_t bytes = strlen(name);
    if (npz_count(file) == 0) return 0;
    const uint64_t end = file.count - END_BYTES;
    for (uint64_t at = u32_at(file.bytes + end + 16); at + CENTRAL_BYTES <= end;) {
        const uint8_t *central = file.bytes + at;
        const uint32_t name_bytes = u16_at(central + 28);
        if (name_bytes == bytes && at + CENTRAL_BYTES + bytes <= end &&
            memcmp(central + CENTRAL_BYTES, name, bytes) == 0)
            return u32_at(central + 24);
        at += CENTRAL_BYTES + name_bytes + u16_at(central + 30) + u16_at(central + 32);
    }
    return 0;
}

bool npz_is_named(const npz_member *member, const char *name) {
    return member->name_bytes == strlen(name) && memcmp(member->name, name, strlen(name)) == 0;
}

const npz_member *npz_find(const npz_directory *directory, const char *name) {
    const size_t bytes = strlen(name);
    for (size_t i = 0; i < directory->count; i++) {
        const npz_member *member = &directory->members[i];
        if (member->name_bytes == bytes && memcmp(member->name, name, bytes) == 0) return member;
    }
    return NULL;
}

static bool check_crc(const uint8_t *x, const npz_member *member, refusal *why) {
    return crc32_of(x, (size_t)member->size) == member->crc ||
           refuse(why, "does not match its checksum: the file is damaged");
}

bool npz_check(file_view file, const npz_member *member, refusal *why) {
    return check_crc(file.bytes + member->start, member, why);
}

bool npz_copy(file_view file, const npz_member *member, uint8_t *y, refusal *why) {
    const uint8_t *x = file.bytes + member->start;
    if (!member->deflated) {
        memcpy(y, x, (size_t)member->size);
    } else {
        switch (inflate_whole(x, (size_t)member->packed_size, y, (size_t)member->size)) {
            case INFLATED:
                break;
            case INFLATE_DAMAGED:
                return refuse(why, "cannot be inflated: it is not deflated data");
            case INFLATE_OTHER_SIZE:
                return refuse(why,
                              "does not inflate to the %" PRIu64
                              " bytes that the zip's directory says",
                              member->size);
        }
    }
    return check_crc(y, member, why);
}
