/* From a photograph to a network's pixels, line by line.
 *
 * No hidden allocation, no I/O: the caller gives the memory, whose size a plan states before, and
 * may call from many threads at once with memory of its own for each. A resize takes three steps:
 *
 *   1. mnv2_resize_plan_for says which part of the picture is read and how much memory that takes;
 *   2. mnv2_resize_begin makes the memory a resize;
 *   3. mnv2_resize_lines takes the lines of that part, from the first to the last.
 *
 * The picture covers the network's frame and its middle is cut out: its shorter side becomes
 * round(frame / crop_fraction), halves to even, the longer one in proportion, rounded down. Or it is
 * squashed: both sides become so. A picture of exactly the frame's size is used as it is.
 *
 * Lines are resampled horizontally, rounded to 8 bits, then vertically: the arithmetic of Pillow up
 * to version 12, to the bit. */
#ifndef MNV2_IMAGE_H
#define MNV2_IMAGE_H

#include "mnv2.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    MNV2_NEAREST,
    MNV2_BOX,
    MNV2_BILINEAR,
    MNV2_HAMMING,
    MNV2_BICUBIC,
    MNV2_LANCZOS,
    MNV2_BILINEAR_NO_ANTIALIAS, /* two pixels, whatever the scale: TensorFlow's, OpenCV's */
    MNV2_BILINEAR_FROM_CORNER,  /* the same, counted from the corner: TensorFlow 1's */
    MNV2_FILTERS /* how many there are */
} mnv2_filter;

/* How a picture of other proportions fills the frame: cropped, or each side scaled by itself. */
typedef enum {
    MNV2_CROP,
    MNV2_SQUASH,
    MNV2_FITS /* how many there are */
} mnv2_fit;

typedef struct {
    int32_t width, height;     /* of the picture as it is stored, up to 2^28 */
    int32_t orientation;       /* EXIF's, 1 to 8: how it is turned to be upright */
    int32_t out_width, out_height; /* the network's frame */
    int32_t filter;            /* mnv2_filter */
    int32_t pixel_bytes;       /* of the lines: 4, RGB and a byte that is ignored; or 3, RGB */
    double crop_fraction;      /* of the resized picture, what the frame keeps; above 0, at most 1,
                                  and 0.01 at least */
    int32_t fit;               /* mnv2_fit */
} mnv2_framing;

typedef struct {
    mnv2_framing framing;
    /* What is read of the stored picture; lines of no other rows are given. */
    int32_t first_row, rows, first_column, columns;
    /* Bytes that may be read, and are ignored, behind the `columns` pixels of a line. */
    int32_t overread;
    int64_t bytes; /* of memory that the resize takes, 64-byte aligned; of these: */
    int64_t taps_bytes, line_bytes, sum_bytes;
} mnv2_resize_plan;

typedef struct mnv2_resize mnv2_resize;

enum {
    MNV2_IMAGE_OK = 0,
    MNV2_BAD_FRAMING = 1, /* a size, orientation, filter or fraction that cannot be */
    MNV2_SLIVER = 2       /* too long and narrow: a side would be resized to 2^28 pixels or more */
};

/* MNV2_IMAGE_OK and the plan, or what is wrong. */
int32_t mnv2_resize_plan_for(const mnv2_framing *framing, mnv2_resize_plan *plan);
/* Begins a resize into `out`, [out_height][out_width][3]. `memory` holds plan->bytes, is 64-byte
 * aligned and is in use until the last line was given. */
mnv2_resize *mnv2_resize_begin(const mnv2_resize_plan *plan, const mnv2_isa *isa, void *memory,
                               uint8_t *out);
/* Takes the next rows, `count` of them, `step` bytes apart: `lines` points to the pixel of
 * first_column. Rows beyond the last are ignored. */
void mnv2_resize_lines(mnv2_resize *resize, const uint8_t *lines, int64_t step, int32_t count);

/* Encoded photographs: JPEG and, row by row, PNG, where the build found libjpeg and libpng. Only the
 * whole file in memory (or mapped) is read, nothing beyond `size`, whatever it holds.
 *
 *   1. mnv2_photo_look reads the headers and finds the scans;
 *   2. mnv2_photo_plan_for says what decoding and resizing takes;
 *   3. mnv2_photo_decode does both.
 *
 * What is not decoded here, or not soundly, is left to others: MNV2_PHOTO_ELSEWHERE. */
#define MNV2_MAX_SCANS 64

typedef enum { MNV2_NO_PHOTO, MNV2_JPEG, MNV2_PNG } mnv2_photo_format;

typedef struct {
    int32_t format;        /* mnv2_photo_format */
    int32_t width, height; /* as stored */
    int32_t orientation;   /* EXIF's, or XMP's; 1 where there is none */
    int32_t components;
    int32_t horizontal[4], vertical[4]; /* JPEG: sampling factors of the components */
    int32_t is_progressive;             /* JPEG */
    int32_t scans;                      /* JPEG: how many; one, unless they are decoded in step */
    int64_t scan[MNV2_MAX_SCANS];       /* JPEG: where each one's header begins, and */
    int64_t scan_end[MNV2_MAX_SCANS];   /* where its data ends */
    int32_t depth, color, is_interlaced, has_key; /* PNG: bits, colour type, Adam7, tRNS */
} mnv2_photo;

typedef struct {
    mnv2_resize_plan resize;
    int32_t reduced;      /* JPEG: decoded at 1/1, 1/2, 1/4 or 1/8 */
    int64_t bytes;        /* of memory, 64-byte aligned; of these: */
    int64_t library_bytes; /* what the library may take: a bound */
    int64_t window_bytes;  /* JPEG of several scans: coefficients of one row of MCUs */
    int64_t line_bytes;    /* decoded lines */
} mnv2_photo_plan;

enum {
    MNV2_PHOTO_ELSEWHERE = 3,  /* sound, perhaps, but not decoded here */
    MNV2_PHOTO_BOMB = 4,       /* more scans than MNV2_MAX_SCANS */
    MNV2_PHOTO_NO_ROOM = 5     /* the library wanted more than plan->library_bytes */
};

/* Which formats this build decodes: bits 1 << MNV2_JPEG and 1 << MNV2_PNG. */
int32_t mnv2_photo_formats(void);
/* The versions of libjpeg-turbo and libpng that were built against; "" where one is absent. */
const char *mnv2_photo_library(int32_t format);
/* MNV2_IMAGE_OK; MNV2_PHOTO_ELSEWHERE, and what is known of it: format, width and height, or 0; or
 * MNV2_PHOTO_BOMB. */
int32_t mnv2_photo_look(const uint8_t *file, int64_t size, mnv2_photo *photo);
/* `wanted` says the frame, filter and crop fraction; the rest is the photograph's. Where `may_reduce`
 * JPEGs are decoded at the least of 1/2, 1/4 and 1/8 that is twice what is needed. MNV2_IMAGE_OK, or
 * what mnv2_resize_plan_for says. */
int32_t mnv2_photo_plan_for(const mnv2_photo *photo, const mnv2_framing *wanted, int32_t may_reduce,
                            mnv2_photo_plan *plan);
/* Decodes and resizes into `out`, [out_height][out_width][3]. `memory` holds plan->bytes, 64-byte
 * aligned. `used` is what the library took of its bound. libjpeg takes some 3 KiB more for each scan
 * from malloc, before its memory manager can be replaced, and gives them back.
 * MNV2_IMAGE_OK, MNV2_PHOTO_ELSEWHERE where the file is damaged, or MNV2_PHOTO_NO_ROOM. */
int32_t mnv2_photo_decode(const uint8_t *file, int64_t size, const mnv2_photo *photo,
                          const mnv2_photo_plan *plan, const mnv2_isa *isa, void *memory,
                          uint8_t *out, int64_t *used);

#ifdef __cplusplus
}
#endif
#endif
