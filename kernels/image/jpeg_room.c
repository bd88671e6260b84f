/* What decoding a JPEG takes beside its lines, from its header alone. */
#include "photo.h"

enum {
    /* Bounds on tables, states and structs of the decoder that makes the pixels, and of each other
     * one. Tests measure them. */
    LAST_BYTES = 22 << 10,
    OTHER_BYTES = 11 << 10
};

static int32_t most_of(const int32_t *factors, int32_t count) {
    int32_t most = 1;
    for (int32_t i = 0; i < count; i++)
        if (factors[i] > most) most = factors[i];
    return most;
}

static int32_t up(int64_t x, int64_t by) { return (int32_t)((x + by - 1) / by); }

/* Blocks of a component in a row, whole MCUs. */
int64_t jpeg_row_blocks(const mnv2_photo *p, int32_t c) {
    return (int64_t)up(p->width, most_of(p->horizontal, p->components) * 8) * p->horizontal[c];
}

int64_t jpeg_window_bytes(const mnv2_photo *p) {
    int64_t bytes = 0;
    for (int32_t c = 0; c < p->components && p->scans > 1; c++)
        bytes += jpeg_row_blocks(p, c) * p->vertical[c] * BLOCK_BYTES;
    return bytes;
}

/* Rows of samples of the decoder that makes the pixels: a band of each component, with what smooth
 * upsampling looks at above and below it, and the rows that upsampling makes of it. */
static int64_t sample_bytes(const mnv2_photo *p) {
    const int32_t high = most_of(p->vertical, p->components);
    const int32_t wide = most_of(p->horizontal, p->components);
    int32_t has_context = 0;
    for (int32_t c = 0; c < p->components; c++) has_context |= p->vertical[c] < high;
    int64_t bytes = 0;
    for (int32_t c = 0; c < p->components; c++) {
        const int64_t rows = (has_context ? 10 : 8) * p->vertical[c];
        bytes += rows * region_round(jpeg_row_blocks(p, c) * 8);
        if (p->vertical[c] < high || p->horizontal[c] < wide)
            bytes += high * region_round(p->width + wide);
    }
    return bytes;
}

/* The same of the others, whose pixels are 1 / shrink; chroma may be scaled less. */
static int64_t other_bytes(const mnv2_photo *p, int32_t shrink) {
    const int32_t high = most_of(p->vertical, p->components);
    const int64_t row = region_round(p->width / shrink + 64);
    return p->components * high * (8 / shrink + 1) * row;
}

int64_t jpeg_library_bytes(const mnv2_photo *p) {
    return LAST_BYTES + sample_bytes(p) +
           (p->scans - 1) * (OTHER_BYTES + other_bytes(p, p->is_progressive ? 8 : 4));
}
