/* PNG by rows, over libpng, whose memory comes from the caller's region. Pixels come as 8-bit RGB;
 * transparency is laid over white by Pillow's arithmetic. Errors and warnings end the decoding. */
#include <setjmp.h>
#include <string.h>

#include <png.h>

#include "photo.h"

typedef struct {
    decoding *d;
    int64_t at; /* of the file */
    int32_t status;
    jmp_buf failed;
} session;

static _Noreturn void fail(session *s, int32_t status) {
    s->status = status;
    longjmp(s->failed, 1);
}

static _Noreturn void on_error(png_structp png, png_const_charp text) {
    (void)text;
    fail(png_get_error_ptr(png), MNV2_PHOTO_ELSEWHERE);
}

static void on_warning(png_structp png, png_const_charp text) { on_error(png, text); }

static png_voidp take(png_structp png, png_alloc_size_t bytes) {
    session *s = png_get_mem_ptr(png);
    void *taken = region_take(&s->d->library, bytes < INT32_MAX ? (int64_t)bytes : INT64_MAX / 8);
    if (!taken) fail(s, MNV2_PHOTO_NO_ROOM);
    return taken;
}

static void keep(png_structp png, png_voidp memory) { (void)png, (void)memory; }

static void read_file(png_structp png, png_bytep out, size_t count) {
    session *s = png_get_io_ptr(png);
    if ((int64_t)count > s->d->file.size - s->at) fail(s, MNV2_PHOTO_ELSEWHERE);
    memcpy(out, s->d->file.data + s->at, count);
    s->at += (int64_t)count;
}

/* One channel over white: Pillow's alpha_composite, whose weights have 7 bits. */
static uint8_t over_white(uint32_t x, uint32_t alpha) {
    if (alpha == 0) return 255;
    const uint32_t own = alpha << 7, rest = (255u << 7) - own;
    const uint32_t sum = x * own + 255u * rest + (0x80u << 7);
    return (uint8_t)((((sum >> 8) + sum) >> 8) >> 7);
}

static void flatten(uint8_t *line, int32_t pixels) {
    for (int32_t i = 0; i < pixels; i++)
        for (int32_t c = 0; c < 3; c++)
            line[i * 3 + c] = over_white(line[i * 4 + c], line[i * 4 + 3]);
}

static void decode(session *s, png_structp png, png_infop info) {
    const mnv2_photo *p = s->d->photo;
    const mnv2_resize_plan *wanted = &s->d->plan->resize;
    const int has_alpha = p->color & PNG_COLOR_MASK_ALPHA || p->has_key;
    png_set_read_fn(png, s, read_file);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1); /* none but those needed */
    png_set_user_limits(png, 65500, 65500);
    png_read_info(png, info);
    if ((int64_t)png_get_image_width(png, info) != p->width ||
        (int64_t)png_get_image_height(png, info) != p->height ||
        png_get_color_type(png, info) != p->color || png_get_bit_depth(png, info) != p->depth)
        fail(s, MNV2_PHOTO_ELSEWHERE);
    png_set_expand(png);
    if (!(p->color & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(png);
    png_read_update_info(png, info);
    const size_t pixel = png_get_rowbytes(png, info) / (size_t)p->width;
    if (pixel != 3 && pixel != 4) fail(s, MNV2_PHOTO_ELSEWHERE);
    if (pixel == 4 && !has_alpha) fail(s, MNV2_PHOTO_ELSEWHERE);
    for (int32_t y = 0; y < p->height; y++) {
        png_read_row(png, s->d->line, NULL);
        if (y < wanted->first_row || y >= wanted->first_row + wanted->rows) continue;
        uint8_t *line = s->d->line + (size_t)wanted->first_column * pixel;
        if (pixel == 4) flatten(line, wanted->columns);
        mnv2_resize_lines(s->d->resize, line, 0, 1);
    }
    png_read_end(png, NULL); /* what is broken below is broken */
}

int32_t png_decode(decoding *d) {
    session s = {.d = d};
    session *volatile kept = &s;
    png_structp volatile png = NULL;
    png_infop volatile info = NULL;
    if (setjmp(s.failed) == 0) {
        png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, kept, on_error, on_warning, kept, take,
                                       keep);
        info = png ? png_create_info_struct(png) : NULL;
        if (!info) fail(kept, MNV2_PHOTO_ELSEWHERE);
        decode(kept, png, info);
    }
    png_structp made = png;
    png_infop described = info;
    if (made) png_destroy_read_struct(&made, &described, NULL);
    return kept->status;
}
