/* JPEG by lines, over libjpeg-turbo's public interface.
 *
 * A file of one scan is decoded as its lines are read; rows above the crop are skipped, columns
 * beside it left out but for MARGIN, which smooth upsampling looks at.
 *
 * A file of several scans (progressive ones above all) has one decoder for each scan, all in step:
 * their source shows each of them the headers before its scan and that scan alone. What libjpeg
 * takes for an array of all coefficients is a window of one row of MCUs, which the memory manager's
 * hooks hand out. When the last decoder, which also makes the pixels, comes to a row, the window is
 * cleared and every other decoder adds its scan's part of that row first.
 *
 * All that libjpeg allocates once a decoder is made comes from the caller's region. Errors and
 * warnings alike end the decoding: what is not wholly sound is left to others. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include "photo.h"

enum {
    MARGIN = 16 /* columns */
};
_Static_assert(sizeof(JBLOCK) == BLOCK_BYTES, "64 coefficients of 16 bits");

/* libjpeg leaves it to its memory manager what this is. */
struct jvirt_barray_control {
    int32_t component;
};

typedef struct session session;

typedef struct {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    session *owner;
    int32_t scan, part; /* the scan that its source shows; the next part of the file */
    int32_t arrays;     /* that were asked for */
    int is_made, is_strict; /* strict: warnings count */
} decoder;

struct session {
    decoding *d;
    decoder *decoders; /* one for each scan */
    int32_t count;
    int32_t status;
    int32_t row; /* of MCUs, in the window */
    struct jvirt_barray_control arrays[4];
    JBLOCKROW rows[4][4]; /* of each component in the window */
    char *window;
    int64_t window_bytes;
    jmp_buf failed;
};

static _Noreturn void fail(session *s, int32_t status) {
    s->status = status;
    longjmp(s->failed, 1);
}

static decoder *decoder_of(void *info) { return ((struct jpeg_decompress_struct *)info)->client_data; }

/* Errors */

static void on_error(j_common_ptr info) {
    fail(decoder_of(info)->owner, MNV2_PHOTO_ELSEWHERE);
}

static void on_message(j_common_ptr info, int level) {
    if (level < 0 && decoder_of(info)->is_strict)
        fail(decoder_of(info)->owner, MNV2_PHOTO_ELSEWHERE);
}

static void say_nothing(j_common_ptr info) { (void)info; }

/* The source: the headers up to the scan, without the scans before it; then the scan. */

static int find_part(const decoder *e, int64_t *start, int64_t *end) {
    const mnv2_photo *p = e->owner->d->photo;
    const int32_t part = e->part;
    if (part > e->scan + 1) return 0;
    *start = part == 0 ? 0 : part > e->scan ? p->scan[e->scan] : p->scan_end[part - 1];
    *end = part > e->scan ? p->scan_end[e->scan] + 2 : p->scan[part]; /* 2: the marker behind it */
    return 1;
}

static boolean fill(j_decompress_ptr info) {
    decoder *e = decoder_of(info);
    int64_t start, end;
    do {
        if (!find_part(e, &start, &end)) fail(e->owner, MNV2_PHOTO_ELSEWHERE);
        e->part++;
    } while (start == end);
    e->source.next_input_byte = e->owner->d->file.data + start;
    e->source.bytes_in_buffer = (size_t)(end - start);
    return TRUE;
}

static void skip(j_decompress_ptr info, long count) {
    decoder *e = decoder_of(info);
    while (count > 0) {
        if (e->source.bytes_in_buffer == 0) fill(info);
        const size_t here = (size_t)count < e->source.bytes_in_buffer ? (size_t)count
                                                                      : e->source.bytes_in_buffer;
        e->source.next_input_byte += here;
        e->source.bytes_in_buffer -= here;
        count -= (long)here;
    }
}

static void nothing(j_decompress_ptr info) { (void)info; }

/* Memory */

static void *take(j_common_ptr info, int64_t bytes) {
    session *s = decoder_of(info)->owner;
    void *taken = region_take(&s->d->library, bytes);
    if (!taken) fail(s, MNV2_PHOTO_NO_ROOM);
    return taken;
}

static void *alloc(j_common_ptr info, int pool, size_t size) {
    (void)pool;
    return take(info, size < INT32_MAX ? (int64_t)size : INT64_MAX / 8);
}

static JSAMPARRAY alloc_samples(j_common_ptr info, int pool, JDIMENSION width, JDIMENSION count) {
    (void)pool;
    const int64_t step = region_round(width);
    JSAMPARRAY rows = take(info, (int64_t)count * (int64_t)sizeof *rows);
    JSAMPROW memory = take(info, (int64_t)count * step + REGION_ALIGNMENT);
    for (JDIMENSION i = 0; i < count; i++) rows[i] = memory + i * step;
    return rows;
}

static JBLOCKARRAY alloc_blocks(j_common_ptr info, int pool, JDIMENSION width, JDIMENSION count) {
    (void)pool;
    JBLOCKARRAY rows = take(info, (int64_t)count * (int64_t)sizeof *rows);
    JBLOCKROW memory = take(info, (int64_t)count * width * BLOCK_BYTES);
    for (JDIMENSION i = 0; i < count; i++) rows[i] = memory + (int64_t)i * width;
    return rows;
}

static jvirt_sarray_ptr no_samples(j_common_ptr info, int pool, boolean zero, JDIMENSION width,
                                   JDIMENSION count, JDIMENSION access) {
    (void)pool, (void)zero, (void)width, (void)count, (void)access;
    fail(decoder_of(info)->owner, MNV2_PHOTO_ELSEWHERE);
}

static jvirt_barray_ptr window_array(j_common_ptr info, int pool, boolean zero, JDIMENSION width,
                                     JDIMENSION count, JDIMENSION access) {
    (void)pool, (void)zero, (void)width, (void)count, (void)access;
    decoder *e = decoder_of(info);
    if (e->owner->count == 1 || e->arrays >= e->owner->d->photo->components)
        fail(e->owner, MNV2_PHOTO_ELSEWHERE);
    return &e->owner->arrays[e->arrays++];
}

static void no_arrays(j_common_ptr info) { (void)info; }

/* The window moves on to its next row: every scan but the last adds its part. */
static void next_row(session *s) {
    s->row++;
    memset(s->window, 0, (size_t)s->window_bytes);
    for (int32_t i = 0; i < s->count - 1; i++) {
        int done;
        do {
            done = jpeg_consume_input(&s->decoders[i].info);
            if (done == JPEG_SUSPENDED || done == JPEG_REACHED_EOI || done == JPEG_REACHED_SOS)
                fail(s, MNV2_PHOTO_ELSEWHERE);
        } while (done != JPEG_ROW_COMPLETED && done != JPEG_SCAN_COMPLETED);
    }
}

static JBLOCKARRAY access_window(j_common_ptr info, jvirt_barray_ptr array, JDIMENSION start,
                                 JDIMENSION count, boolean is_written) {
    decoder *e = decoder_of(info);
    session *s = e->owner;
    const int32_t factor = s->d->photo->vertical[array->component];
    const int64_t row = start / (JDIMENSION)factor;
    if (is_written && e->scan == s->count - 1 && row == s->row + 1) next_row(s);
    if (row != s->row || count > (JDIMENSION)factor) fail(s, MNV2_PHOTO_ELSEWHERE);
    return s->rows[array->component];
}

static void lay_out_window(session *s) {
    const mnv2_photo *p = s->d->photo;
    s->window_bytes = jpeg_window_bytes(p);
    s->window = region_take(&s->d->window, s->window_bytes);
    if (s->window_bytes && !s->window) fail(s, MNV2_PHOTO_NO_ROOM);
    JBLOCKROW at = (JBLOCKROW)(void *)s->window;
    for (int32_t c = 0; c < p->components && s->window_bytes; c++) {
        s->arrays[c].component = c;
        for (int32_t i = 0; i < p->vertical[c]; i++, at += jpeg_row_blocks(p, c)) s->rows[c][i] = at;
    }
}

static void open_decoder(session *s, int32_t scan) {
    decoder *e = &s->decoders[scan];
    e->owner = s;
    e->scan = scan;
    e->info.err = jpeg_std_error(&e->errors);
    e->errors.error_exit = on_error;
    e->errors.emit_message = on_message;
    e->errors.output_message = say_nothing;
    e->info.client_data = e;
    jpeg_create_decompress(&e->info); /* keeps err and client_data */
    e->is_made = 1;
    struct jpeg_memory_mgr *memory = e->info.mem;
    memory->alloc_small = alloc;
    memory->alloc_large = alloc;
    memory->alloc_sarray = alloc_samples;
    memory->alloc_barray = alloc_blocks;
    memory->request_virt_sarray = no_samples;
    memory->request_virt_barray = window_array;
    memory->realize_virt_arrays = no_arrays;
    memory->access_virt_barray = access_window;
    e->source.init_source = nothing;
    e->source.fill_input_buffer = fill;
    e->source.skip_input_data = skip;
    e->source.resync_to_restart = jpeg_resync_to_restart;
    e->source.term_source = nothing;
    e->info.src = &e->source;

    struct jpeg_decompress_struct *info = &e->info;
    e->is_strict = s->count == 1;
    if (jpeg_read_header(info, TRUE) != JPEG_HEADER_OK) fail(s, MNV2_PHOTO_ELSEWHERE);
    const mnv2_photo *p = s->d->photo;
    if (info->num_components != p->components || (int64_t)info->image_width != p->width ||
        (int64_t)info->image_height != p->height)
        fail(s, MNV2_PHOTO_ELSEWHERE);
    info->buffered_image = s->count > 1;
    info->do_block_smoothing = FALSE; /* every bit of every coefficient is there */
    if (scan < s->count - 1) {
        info->out_color_space = info->jpeg_color_space;
        info->do_fancy_upsampling = FALSE;
        /* Small pixels that no one reads. Sequential scans drop all but the mean at 1/8. */
        info->scale_num = 1, info->scale_denom = p->is_progressive ? 8 : 4;
    } else {
        info->out_color_space =
            s->d->plan->resize.framing.pixel_bytes == 4 ? JCS_EXT_RGBX : JCS_RGB;
        info->scale_num = 1, info->scale_denom = (unsigned)s->d->plan->reduced;
    }
    jpeg_start_decompress(info); /* warns of scans that refine what this decoder has not seen */
    e->is_strict = 1;
    if (scan < s->count - 1 || s->count == 1) return;
    for (int32_t c = 0; c < info->num_components; c++) {
        jpeg_component_info *component = &info->comp_info[c];
        if (!component->quant_table)
            component->quant_table = info->quant_tbl_ptrs[component->quant_tbl_no];
        if (!component->quant_table) fail(s, MNV2_PHOTO_ELSEWHERE);
    }
    jpeg_start_output(info, 1);
}

static void read_lines(session *s) {
    struct jpeg_decompress_struct *info = &s->decoders[s->count - 1].info;
    const mnv2_resize_plan *wanted = &s->d->plan->resize;
    const int32_t pixel = wanted->framing.pixel_bytes;
    if ((int64_t)info->output_width != wanted->framing.width ||
        (int64_t)info->output_height != wanted->framing.height || info->output_components != pixel)
        fail(s, MNV2_PHOTO_ELSEWHERE);
    int32_t left = wanted->first_column - MARGIN;
    int32_t right = wanted->first_column + wanted->columns + MARGIN;
    if (left < 0) left = 0;
    if (right > wanted->framing.width) right = wanted->framing.width;
    JDIMENSION first = (JDIMENSION)left, columns = (JDIMENSION)(right - left);
    if (columns < info->output_width) jpeg_crop_scanline(info, &first, &columns);
    if (wanted->first_row > 0 &&
        jpeg_skip_scanlines(info, (JDIMENSION)wanted->first_row) != (JDIMENSION)wanted->first_row)
        fail(s, MNV2_PHOTO_ELSEWHERE);
    if ((int64_t)columns * pixel > s->d->plan->line_bytes - wanted->overread)
        fail(s, MNV2_PHOTO_NO_ROOM);
    JSAMPROW line = s->d->line;
    for (int32_t i = 0; i < wanted->rows; i++) {
        if (jpeg_read_scanlines(info, &line, 1) != 1) fail(s, MNV2_PHOTO_ELSEWHERE);
        mnv2_resize_lines(s->d->resize, line + (wanted->first_column - (int64_t)first) * pixel, 0,
                          1);
    }
}

int32_t jpeg_decode(decoding *d) {
    session s = {.d = d, .row = -1};
    session *volatile kept = &s; /* what changes between setjmp and longjmp lies in memory */
    s.decoders = region_take(&d->library, d->photo->scans * (int64_t)sizeof *s.decoders);
    if (!s.decoders) return MNV2_PHOTO_NO_ROOM;
    s.count = d->photo->scans;
    memset(s.decoders, 0, (size_t)s.count * sizeof *s.decoders);
    if (setjmp(s.failed) == 0) {
        lay_out_window(kept);
        for (int32_t i = 0; i < kept->count; i++) open_decoder(kept, i);
        read_lines(kept);
    }
    for (int32_t i = 0; i < kept->count; i++)
        if (kept->decoders[i].is_made) jpeg_destroy_decompress(&kept->decoders[i].info);
    return kept->status;
}
