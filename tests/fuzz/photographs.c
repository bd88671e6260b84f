/* Feeds files to the photograph sources and the resize, as libFuzzer does, or by itself:
 *
 *     fuzz_photo SECONDS SEED FILE...    mutates the files until the time is over
 *     fuzz_photo FILE...                 runs each file once
 *
 * Built with sanitizers (fuzz_photographs.py); a fault ends it, and the file is left in crash.bin. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "image/mnv2_image.h"
#include "isa.h"

extern const mnv2_lines mnv2_lines_baseline;
static const struct mnv2_isa isa = {.name = "baseline", .lines = &mnv2_lines_baseline};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *room_of(int64_t bytes) { return aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64); }

static uint32_t hash_of(const uint8_t *data, size_t size) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < size; i++) hash = (hash ^ data[i]) * 16777619u;
    return hash;
}

/* Whatever the bytes say as a framing; lines of any content. */
static void resize(const uint8_t *data, size_t size) {
    mnv2_framing framing;
    mnv2_resize_plan plan;
    uint32_t words[8] = {0};
    memcpy(words, data, size < sizeof words ? size : sizeof words);
    const uint32_t most = words[7] & 1 ? 0xFFFFFFFF : 0x1FF;
    framing = (mnv2_framing){.width = (int32_t)(words[0] & most),
                             .height = (int32_t)(words[1] & most),
                             .orientation = (int32_t)(words[2] & 15),
                             .out_width = (int32_t)(words[3] & 127),
                             .out_height = (int32_t)(words[4] & 127),
                             .filter = (int32_t)(words[5] & 7),
                             .fit = (int32_t)(words[5] >> 3 & 3),
                             .pixel_bytes = (int32_t)(words[6] & 7),
                             .crop_fraction = (words[7] >> 8) / 16777216.0};
    if (mnv2_resize_plan_for(&framing, &plan) != MNV2_IMAGE_OK) return;
    const int64_t line = (int64_t)plan.columns * framing.pixel_bytes + plan.overread;
    if (plan.bytes > 1 << 24 || plan.rows > 4096 || line > (1 << 23) / plan.rows) return;
    void *memory = room_of(plan.bytes);
    uint8_t *out = malloc((size_t)framing.out_width * (size_t)framing.out_height * 3);
    uint8_t *pixels = malloc((size_t)line);
    mnv2_resize *made = mnv2_resize_begin(&plan, &isa, memory, out);
    for (int32_t y = 0; y < plan.rows; y++) {
        memset(pixels, size ? data[(size_t)y % size] : 0, (size_t)line);
        mnv2_resize_lines(made, pixels, line, 1);
    }
    free(pixels);
    free(out);
    free(memory);
}

static void decode(const uint8_t *data, size_t size) {
    mnv2_photo photo;
    mnv2_photo_plan plan;
    uint8_t *copy = malloc(size ? size : 1); /* of exactly its size: no byte beyond may be read */
    memcpy(copy, data, size);
    const uint32_t hash = hash_of(data, size);
    if (mnv2_photo_look(copy, (int64_t)size, &photo) == MNV2_IMAGE_OK &&
        (int64_t)photo.width * photo.height <= 1 << 20) {
        const mnv2_framing wanted = {.width = photo.width,
                                     .height = photo.height,
                                     .orientation = 1,
                                     .out_width = 1 + (int32_t)(hash & 63),
                                     .out_height = 1 + (int32_t)(hash >> 6 & 63),
                                     .filter = (int32_t)(hash >> 12 & 3) + 1,
                                     .fit = (int32_t)(hash >> 15 & 1),
                                     .pixel_bytes = 3,
                                     .crop_fraction = 0.875};
        if (mnv2_photo_plan_for(&photo, &wanted, hash >> 14 & 1, &plan) == MNV2_IMAGE_OK) {
            void *memory = room_of(plan.bytes);
            uint8_t *out = malloc((size_t)wanted.out_width * (size_t)wanted.out_height * 3);
            int64_t used;
            mnv2_photo_decode(copy, (int64_t)size, &photo, &plan, &isa, memory, out, &used);
            free(out);
            free(memory);
        }
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    decode(data, size);
    resize(data, size);
    return 0;
}

#ifndef MNV2_LIBFUZZER
enum { MOST = 1 << 20 };

static uint8_t seeds[64][MOST / 16], file[MOST];
static size_t sizes[64];

static size_t read_file(const char *name, uint8_t *into, size_t most) {
    FILE *from = fopen(name, "rb");
    const size_t size = from ? fread(into, 1, most, from) : 0;
    if (from) fclose(from);
    return size;
}

static uint64_t state;
static uint32_t next(uint32_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

static size_t mutate(size_t size) {
    static const uint8_t odd[] = {0, 1, 2, 0x7F, 0x80, 0xC0, 0xC2, 0xC4, 0xD0, 0xD9, 0xDA, 0xDB, 0xFE, 0xFF};
    for (uint32_t i = 0, count = 1 + next(4); i < count && size > 8; i++) {
        const uint32_t at = next((uint32_t)size), kind = next(6);
        const uint32_t length = 1 + next(40), room = (uint32_t)size - at;
        if (kind < 2) file[at] = (uint8_t)next(256);
        else if (kind == 2) file[at] = odd[next(sizeof odd)];
        else if (kind == 3) file[at] ^= (uint8_t)(1u << next(8));
        else if (kind == 4) { /* a piece is lost */
            const uint32_t lost = length < room ? length : room;
            memmove(file + at, file + at + lost, room - lost);
            size -= lost;
        } else if (size + length < MOST && length < room) { /* a piece comes twice */
            memmove(file + at + length, file + at, room);
            size += length;
        }
    }
    return size;
}

int main(int count, char **arguments) {
    char *end = NULL;
    const long seconds = count > 3 ? strtol(arguments[1], &end, 10) : 0;
    if (!end || *end) {
        for (int i = 1; i < count; i++) LLVMFuzzerTestOneInput(file, read_file(arguments[i], file, MOST));
        return 0;
    }
    state = strtoull(arguments[2], NULL, 10);
    int known = 0;
    for (int i = 3; i < count && known < 64; i++, known++)
        sizes[known] = read_file(arguments[i], seeds[known], sizeof seeds[known]);
    const time_t until = time(NULL) + seconds;
    long runs = 0;
    for (; time(NULL) < until; runs++) {
        const uint32_t seed = next((uint32_t)known);
        memcpy(file, seeds[seed], sizes[seed]);
        const size_t size = mutate(sizes[seed]);
        FILE *last = fopen("crash.bin", "wb"); /* in case this is the one */
        if (last) {
            fwrite(file, 1, size, last);
            fclose(last);
        }
        LLVMFuzzerTestOneInput(file, size);
    }
    remove("crash.bin");
    printf("%ld files, no fault\n", runs);
    return 0;
}
#endif
