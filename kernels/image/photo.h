/* What the sources of photographs share. */
#ifndef MNV2_PHOTO_H
#define MNV2_PHOTO_H

#include "mnv2_image.h"
#include "region.h"

/* A file in memory. */
typedef struct {
    const uint8_t *data;
    int64_t size;
} bytes_of;

/* Everything that decoding needs. */
typedef struct {
    bytes_of file;
    const mnv2_photo *photo;
    const mnv2_photo_plan *plan;
    mnv2_resize *resize;
    uint8_t *line;  /* decoded */
    region window;  /* coefficients */
    region library; /* what the library takes */
} decoding;

int32_t jpeg_look(bytes_of file, mnv2_photo *photo);
enum { BLOCK_BYTES = 128 }; /* of 8x8 coefficients */
/* Blocks of a component in a row, whole MCUs. */
int64_t jpeg_row_blocks(const mnv2_photo *photo, int32_t component);
int64_t jpeg_library_bytes(const mnv2_photo *photo);
int64_t jpeg_window_bytes(const mnv2_photo *photo);
/* MNV2_IMAGE_OK, MNV2_PHOTO_ELSEWHERE or MNV2_PHOTO_NO_ROOM. */
int32_t jpeg_decode(decoding *d);

int32_t png_look(bytes_of file, mnv2_photo *photo);
int64_t png_library_bytes(const mnv2_photo *photo);
int32_t png_decode(decoding *d);

static inline int32_t big_endian(const uint8_t *x, int bytes) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | x[i];
    return value > INT32_MAX ? INT32_MAX : (int32_t)value;
}

#endif
