/* Which source decodes a file, and what that takes. */
#include "photo.h"

#include <string.h>

#ifdef MNV2_HAS_JPEG
#include <stdio.h>

#include <jpeglib.h>
#endif
#ifdef MNV2_HAS_PNG
#include <png.h>
#endif

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)

enum { MOST_SIDE = 65500 }; /* libjpeg's; of PNGs, too */

int32_t mnv2_photo_formats(void) {
    int32_t formats = 0;
#ifdef MNV2_HAS_JPEG
    formats |= 1 << MNV2_JPEG;
#endif
#ifdef MNV2_HAS_PNG
    formats |= 1 << MNV2_PNG;
#endif
    return formats;
}

const char *mnv2_photo_library(int32_t format) {
#ifdef MNV2_HAS_JPEG
    if (format == MNV2_JPEG) return "libjpeg-turbo " TEXT(LIBJPEG_TURBO_VERSION);
#endif
#ifdef MNV2_HAS_PNG
    if (format == MNV2_PNG) return "libpng " PNG_LIBPNG_VER_STRING;
#endif
    (void)format;
    return "";
}

int32_t mnv2_photo_look(const uint8_t *file, int64_t size, mnv2_photo *photo) {
    static const uint8_t png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
    const bytes_of whole = {file, size};
    memset(photo, 0, sizeof *photo);
    photo->orientation = 1;
    int32_t status = MNV2_PHOTO_ELSEWHERE;
    if (size >= 3 && file[0] == 0xFF && file[1] == 0xD8 && file[2] == 0xFF)
        status = jpeg_look(whole, photo);
    else if (size >= (int64_t)sizeof png && memcmp(file, png, sizeof png) == 0)
        status = png_look(whole, photo);
    if (status == MNV2_IMAGE_OK && (!(mnv2_photo_formats() & 1 << photo->format) ||
                                    photo->width > MOST_SIDE || photo->height > MOST_SIDE))
        status = MNV2_PHOTO_ELSEWHERE;
    return status;
}

static int64_t line_bytes(const mnv2_resize_plan *r) {
    /* Columns that are read beside those that are needed: a margin and whole MCUs, both sides. */
    const int64_t columns = r->columns + 2 * (16 + 32);
    const int64_t width = r->framing.width;
    return (columns < width ? columns : width) * r->framing.pixel_bytes + r->overread;
}

int32_t mnv2_photo_plan_for(const mnv2_photo *photo, const mnv2_framing *wanted, int32_t may_reduce,
                            mnv2_photo_plan *plan) {
    mnv2_framing framing = *wanted;
    memset(plan, 0, sizeof *plan);
    plan->reduced = 1;
    framing.orientation = photo->orientation;
    framing.pixel_bytes = photo->orientation < 5 && photo->format == MNV2_JPEG ? 4 : 3;
    if (may_reduce && photo->format == MNV2_JPEG) {
        const int turned = photo->orientation >= 5;
        const double wide = (turned ? wanted->out_height : wanted->out_width) / wanted->crop_fraction;
        const double high = (turned ? wanted->out_width : wanted->out_height) / wanted->crop_fraction;
        while (plan->reduced < 8 && photo->width >= 4 * plan->reduced * wide &&
               photo->height >= 4 * plan->reduced * high)
            plan->reduced *= 2;
    }
    framing.width = (photo->width + plan->reduced - 1) / plan->reduced;
    framing.height = (photo->height + plan->reduced - 1) / plan->reduced;
    const int32_t status = mnv2_resize_plan_for(&framing, &plan->resize);
    if (status != MNV2_IMAGE_OK) return status;
    plan->line_bytes = line_bytes(&plan->resize);
    if (photo->format == MNV2_JPEG) {
        plan->library_bytes = region_round(jpeg_library_bytes(photo));
        plan->window_bytes = region_round(jpeg_window_bytes(photo));
    } else {
        plan->line_bytes = (int64_t)photo->width * 4 + 64;
        plan->library_bytes = region_round(png_library_bytes(photo));
    }
    plan->bytes = region_round(plan->resize.bytes) + region_round(plan->line_bytes) +
                  plan->window_bytes + plan->library_bytes;
    return MNV2_IMAGE_OK;
}

int32_t mnv2_photo_decode(const uint8_t *file, int64_t size, const mnv2_photo *photo,
                          const mnv2_photo_plan *plan, const mnv2_isa *isa, void *memory,
                          uint8_t *out, int64_t *used) {
    decoding d = {.file = {file, size}, .photo = photo, .plan = plan};
    region whole = {memory, 0, plan->bytes};
    void *resize = region_take(&whole, plan->resize.bytes);
    d.line = region_take(&whole, plan->line_bytes);
    d.window = (region){region_take(&whole, plan->window_bytes), 0, plan->window_bytes};
    d.library = (region){region_take(&whole, plan->library_bytes), 0, plan->library_bytes};
    d.resize = mnv2_resize_begin(&plan->resize, isa, resize, out);
    int32_t status = MNV2_PHOTO_ELSEWHERE;
#ifdef MNV2_HAS_JPEG
    if (photo->format == MNV2_JPEG) status = jpeg_decode(&d);
#endif
#ifdef MNV2_HAS_PNG
    if (photo->format == MNV2_PNG) status = png_decode(&d);
#endif
    *used = d.library.used;
    return status;
}
