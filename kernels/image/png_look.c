/* Walks a PNG's chunks: what it is, how it is turned, and whether all of it is there. */
#include <string.h>

#include "exif.h"
#include "photo.h"

enum { GREY = 0, RGB = 2, PALETTE = 3, GREY_ALPHA = 4, RGB_ALPHA = 6 };

static int is_chunk(const uint8_t *name, const char *expected) {
    return memcmp(name, expected, 4) == 0;
}

int32_t png_look(bytes_of file, mnv2_photo *p) {
    int is_odd = 0, has_data = 0, is_ended = 0, has_header = 0, has_xmp = 0, has_exif = 0;
    int32_t exif = 0;
    p->format = MNV2_PNG;
    int64_t at = 8;
    while (at + 12 <= file.size && !is_ended) {
        const int64_t length = big_endian(file.data + at, 4);
        const uint8_t *name = file.data + at + 4, *x = name + 4;
        if (length > file.size - at - 12) return MNV2_PHOTO_ELSEWHERE;
        if (is_chunk(name, "IHDR")) {
            if (length != 13 || has_header || at != 8) return MNV2_PHOTO_ELSEWHERE;
            has_header = 1;
            p->width = big_endian(x, 4), p->height = big_endian(x + 4, 4);
            p->depth = x[8], p->color = x[9], p->is_interlaced = x[12];
            is_odd |= x[10] != 0 || x[11] != 0;
        } else if (is_chunk(name, "IDAT")) {
            has_data = 1;
        } else if (is_chunk(name, "tRNS")) {
            p->has_key = 1;
        } else if (is_chunk(name, "eXIf")) {
            exif = has_exif ? -1 : exif_orientation(x, length);
            has_exif = 1;
        } else if (is_chunk(name, "acTL") || is_chunk(name, "fdAT") || is_chunk(name, "fcTL")) {
            is_odd = 1; /* an animation */
        } else if (is_chunk(name, "tEXt") || is_chunk(name, "zTXt") || is_chunk(name, "iTXt")) {
            /* Text may hold EXIF or XMP, packed or not. */
            has_xmp |= (length >= 17 && memcmp(x, "XML:com.adobe.xmp", 17) == 0) ||
                       (length >= 16 && memcmp(x, "Raw profile type", 16) == 0);
        } else if (is_chunk(name, "IEND")) {
            is_ended = 1;
        }
        at += length + 12;
    }
    p->orientation = exif > 1 ? exif : 1;
    p->components = p->color == GREY || p->color == GREY_ALPHA ? 1 : 3;
    /* 16 bits of grey, and one transparent colour, are rare. */
    const int is_usual = p->depth == 8 ? p->color == GREY || p->color == RGB || p->color == PALETTE ||
                                             p->color == GREY_ALPHA || p->color == RGB_ALPHA
                                       : p->depth < 8 && (p->color == GREY || p->color == PALETTE);
    if (is_odd || !is_usual || !has_header || !has_data || !is_ended || p->is_interlaced ||
        (p->has_key && p->color != PALETTE) || exif < 0 || (has_xmp && exif <= 0) ||
        p->width < 1 || p->height < 1)
        return MNV2_PHOTO_ELSEWHERE;
    return MNV2_IMAGE_OK;
}

int64_t png_library_bytes(const mnv2_photo *p) {
    const int64_t row = region_round((int64_t)p->width * 4 + 128);
    return (72 << 10) + 3 * row;
}
