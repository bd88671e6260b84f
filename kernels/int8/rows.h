/* Inverted residuals by rows in 8 bits: the paper's section 5.1 with the map cut into rows, so that
 * the weights stay and the activations stream.
 *
 * Output row r needs k rows of the expanded map, of which the row before has left k - s, all hidden
 * channels of them, in a ring:
 *
 *     ring      [kernel - stride][hidden/16][columns][16]      columns include the padding
 *
 * The `stride` new ones are expanded strip by strip, two panels at a time, filtered at once with
 * those in the ring, and then take the places of the rows that no output needs any more. (Sums, as
 * in ../rows.h, would be four times the bytes: 32 bits against 8.) A place is free but for the
 * columns that the next strip still reads, so those follow with that strip.
 *
 * A block asks for input rows when an output row needs them, so blocks chain (a cascade): a thin
 * row comes from the tensor in the arena, from the block before, or strip by strip from the stem;
 * nothing but rings and a few thin rows exists in between, and nothing is computed twice.
 *
 * In place, output row r is written while the new input rows are read, so a block whose output rows
 * never reach those runs in place; its shortcut reads the thin row r just before the same bytes are
 * written.
 *
 * A part of the step makes a band of the last block's output rows, from the rows of every block
 * that those need; the few that two bands need are made by both. Parts never run in place. */
#ifndef MNV2_INT8_ROWS_H
#define MNV2_INT8_ROWS_H

#include "../strips.h"
#include "block.h"
#include "stem.h"

enum { MOST_NEW = 2 }; /* input rows that an output row adds: its stride */

/* New input rows on their way through a block. */
typedef struct {
    const mnv2_block *block;
    int index;                     /* of the block */
    int first, count;              /* input rows; those outside the map are padding */
    const uint8_t *thin[MOST_NEW]; /* [in_width][in_channels]; unused behind the stem */
    /* In the ring, [hidden/16][columns][16]: the rows before, and the places that new ones take;
     * NULL for one that no later output needs. */
    const uint8_t *kept[MNV2_MAX_KERNEL];
    uint8_t *place[MOST_NEW];
} new_rows;

static void rows_block(row_stream *stream, int index, int r, uint8_t *y);

static int columns_of(const mnv2_block *block) {
    return (block->out_width - 1) * block->stride + block->kernel;
}

/* Row j of the ring, padding above the map included: [hidden/16][columns][16]. */
static uint8_t *ring_row(const row_stream *stream, const mnv2_block *block, int j) {
    const int rows = block->kernel - block->stride;
    const ptrdiff_t row_bytes = (ptrdiff_t)panels_of(block->hidden) * columns_of(block) * PANEL;
    return own(stream, block->ring + (j + block->kernel * rows) % rows * row_bytes);
}

/* Keeps the stem's output for the shortcut of a first block that has one (narrow networks). */
static void keep_stem(const row_stream *stream, const mnv2_block *block, int j, const strip *at,
                      int panel, const uint8_t *x) {
    const ptrdiff_t to = ((ptrdiff_t)panel * block->in_width + at->from) * PANEL;
    uint8_t *kept = thin_row(stream, 0, j, 1);
    memcpy(kept + to, x, (size_t)((at->to - at->from) * PANEL));
}

/* Expands the strip of one new row for panels [panel, panel + panels): y is [panels][columns][16],
 * panels panel_step bytes apart. `halo` holds the columns that the strip before has left,
 * [panels][kernel - stride][16], panels halo_step apart. */
static void fill_strip(const row_stream *stream, const new_rows *rows, int i, const strip *at,
                       int panel, int panels, uint8_t *y, ptrdiff_t panel_step, uint8_t *halo,
                       ptrdiff_t halo_step) {
    const mnv2_block *block = rows->block;
    const int j = rows->first + i, columns = at->end - at->start;
    const int overlap = block->kernel - block->stride, pixels = at->to - at->from;
    if (j < 0 || j >= block->in_height) {
        for (int n = 0; n < panels; n++)
            memset(y + n * panel_step, block->pad, (size_t)(columns * PANEL));
        return;
    }
    uint8_t *fresh = y + (at->from + block->pad_left - at->start) * PANEL;
    if (pixels > 0 && behind_stem(stream, rows->index)) {
        stem(stream->context, stem_pixels(stream, 1), pixels, panel, panels, fresh, panel_step);
        for (int n = 0; block->residual && n < panels; n++)
            keep_stem(stream, block, j, at, panel + n, fresh + n * panel_step);
    } else if (pixels > 0) {
        expand(stream->context, block, panel, panels,
               rows->thin[i] + (ptrdiff_t)at->from * block->in_channels, pixels, fresh,
               panel_step);
    }
    const size_t halo_bytes = (size_t)(overlap * PANEL);
    const int before = at->first ? 0 : block->pad_left; /* padding on the left */
    const int after = least(at->end - at->to - block->pad_left, columns);
    for (int n = 0; n < panels; n++, y += panel_step, halo += halo_step) {
        if (at->first) memcpy(y, halo, halo_bytes);
        memset(y, block->pad, (size_t)(before * PANEL));
        if (after > 0) memset(y + (columns - after) * PANEL, block->pad, (size_t)(after * PANEL));
        if (at->last < block->out_width) memcpy(halo, y + (columns - overlap) * PANEL, halo_bytes);
    }
}

/* Copies pixels of a panel, [pixels][16]: too few for the library's memcpy to pay. */
static ALWAYS_INLINE void copy_pixels(uint8_t *y, const uint8_t *x, int pixels) {
    int i = 0;
    for (; i + 4 <= pixels; i += 4) memcpy(y + i * PANEL, x + i * PANEL, 4 * PANEL);
    for (; i < pixels; i++) memcpy(y + i * PANEL, x + i * PANEL, PANEL);
}

/* The new rows that later outputs need take their places in the ring: x is [count][columns][16] of
 * one panel, the columns of the strip that no strip of this row needs any more. */
static void keep_rows(const new_rows *rows, const strip *at, int panel, const uint8_t *x) {
    const mnv2_block *block = rows->block;
    const int overlap = block->kernel - block->stride, columns = at->end - at->start;
    const int kept = at->last < block->out_width ? columns - overlap : columns;
    const ptrdiff_t to = ((ptrdiff_t)panel * columns_of(block) + at->start) * PANEL;
    for (int i = 0; i < rows->count; i++)
        if (rows->place[i])
            copy_pixels(rows->place[i] + to, x + (ptrdiff_t)i * columns * PANEL, kept);
}

/* Filters the strip of one panel: x is [stride][columns][16], the new rows. */
static void filter_strip(const row_stream *stream, const new_rows *rows, const strip *at,
                         int panel, const uint8_t *x) {
    const mnv2_block *block = rows->block;
    const int old = block->kernel - block->stride, columns = at->end - at->start;
    depthwise_map made = depthwise_of(stream->context, block, panel);
    const ptrdiff_t from = ((ptrdiff_t)panel * columns_of(block) + at->start) * PANEL;
    for (int ky = 0; ky < old; ky++) made.x[ky] = rows->kept[ky] + from;
    for (int i = 0; i < block->stride; i++)
        made.x[old + i] = x + (ptrdiff_t)i * columns * PANEL;
    made.y = own(stream, stream->step->filtered +
                             filtered_at(panel, (ptrdiff_t)stream->step->strip * PANEL));
    made.y_step = filtered_pixel(panel, panels_of(block->hidden));
    made.rows = 1;
    made.pixels = at->last - at->first;
    depthwise(block->kernel, block->stride, &made);
}

/* Projects the filtered strip to output row r: y is [out_width][out_channels]. */
static void project_strip(const row_stream *stream, int index, const strip *at, int r,
                          uint8_t *y) {
    const mnv2_context *context = stream->context;
    const mnv2_block *block = &context->plan->blocks[index];
    pointwise_output out = {
        .y = y + (ptrdiff_t)at->first * block->out_channels,
        .channels = block->out_channels,
    };
    if (block->residual) {
        const int stem = behind_stem(stream, index); /* then thin rows are panels */
        out.shortcut_pixel_step = stem ? PANEL : block->in_channels;
        out.shortcut_panel_step = stem ? (ptrdiff_t)block->in_width * PANEL : PANEL;
        out.shortcut = thin_row(stream, index, r, 1);
        out.shortcut += at->first * out.shortcut_pixel_step;
        out.shortcut_multiplier = block->residual;
    }
    const pointwise_input in =
        projected(context, block, 0, panels_of(block->hidden), own(stream, stream->step->filtered),
                  (ptrdiff_t)stream->step->strip * PANEL, 0);
    pointwise(TO_CHANNELS, at->last - at->first, panels_of(block->out_channels), &in, &out);
}

/* Thin row j of a first block with an expand layer: the stem's output, [in_width][in_channels]. */
static void stem_row(const row_stream *stream, int j, uint8_t *thin) {
    const mnv2_block *block = block_of(stream, 0);
    const int channels = block->in_channels, most = stem_strip(stream);
    uint8_t *pixels = stem_pixels(stream, 1);
    uint8_t *made = own(stream, stream->step->expanded); /* [2][count][16] */
    for (int from = 0; from < block->in_width; from += most) {
        const int count = least(most, block->in_width - from);
        stem_load(stream->context, j, from, count, pixels);
        for (int first = 0; first < channels; first += EXPANDED_PANELS * PANEL) {
            const int some = least(EXPANDED_PANELS * PANEL, channels - first);
            stem(stream->context, pixels, count, first / PANEL, panels_of(some), made,
                 (ptrdiff_t)count * PANEL);
            for (int c = 0; c < some; c += PANEL) {
                const uint8_t *x = made + (ptrdiff_t)(c / PANEL) * count * PANEL;
                uint8_t *y = thin + (ptrdiff_t)from * channels + first + c;
                for (int p = 0; p < count; p++, x += PANEL, y += channels)
                    memcpy(y, x, (size_t)least(PANEL, some - c));
            }
        }
    }
}

/* Takes the next `count` input rows of a block; y is output row r, which they complete, or NULL. */
static void take_rows(row_stream *stream, int index, int count, int r, uint8_t *y) {
    const mnv2_context *context = stream->context;
    const mnv2_block *block = &context->plan->blocks[index];
    const int is_stem = behind_stem(stream, index);
    new_rows rows = {.block = block, .index = index, .first = stream->next[index], .count = count};
    stream->next[index] += count;
    for (int i = 0; i < count && !is_stem; i++) {
        const int j = rows.first + i;
        if (j < 0 || j >= block->in_height) continue;
        uint8_t *thin = thin_row(stream, index, j, 1);
        if (index != stream->step->first) rows_block(stream, index - 1, j, thin);
        if (follows_stem(stream, index)) stem_row(stream, j, thin);
        rows.thin[i] = thin;
    }
    uint8_t *expanded = own(stream, stream->step->expanded);
    const int panels = panels_of(block->hidden), overlap = block->kernel - block->stride;
    for (int ky = 0; ky < overlap; ky++)
        rows.kept[ky] = ring_row(stream, block, rows.first - overlap + ky);
    for (int i = count > overlap ? count - overlap : 0; i < count; i++)
        rows.place[i] = ring_row(stream, block, rows.first + i);
    for (int left = strips_of(stream, block), first = 0; left > 0; left--) {
        const strip at = strip_of(block, first, left);
        const ptrdiff_t row_step = (ptrdiff_t)(at.end - at.start) * PANEL;
        const ptrdiff_t panel_step = row_step * block->stride;
        const ptrdiff_t halo_step = (ptrdiff_t)block->stride * overlap * PANEL;
        for (int panel = 0; panel < panels; panel += EXPANDED_PANELS) {
            const int some = least(EXPANDED_PANELS, panels - panel);
            uint8_t *halo = own(stream, stream->step->halo + panel * halo_step);
            for (int i = 0; i < count; i++) {
                const int j = rows.first + i, real = j >= 0 && j < block->in_height;
                /* The stem's pixels of one row stay for all panels; of several they alternate. */
                if (is_stem && real && at.to > at.from && (panel == 0 || count > 1))
                    stem_load(context, j, at.from, at.to - at.from, stem_pixels(stream, 1));
                fill_strip(stream, &rows, i, &at, panel, some, expanded + i * row_step,
                           panel_step, halo + i * overlap * PANEL, halo_step);
            }
            for (int i = 0; i < some; i++) {
                const uint8_t *x = expanded + i * panel_step;
                if (y) filter_strip(stream, &rows, &at, panel + i, x);
                keep_rows(&rows, &at, panel + i, x);
            }
        }
        if (y) project_strip(stream, index, &at, r, y);
        first = at.last;
    }
}

/* Output row r of a block: y is [out_width][out_channels]. Rows are asked for in order. */
static void rows_block(row_stream *stream, int index, int r, uint8_t *y) {
    const mnv2_block *block = &stream->context->plan->blocks[index];
    const int fresh = r * block->stride - block->pad_top + block->kernel - block->stride;
    while (stream->next[index] < fresh) take_rows(stream, index, 1, r, NULL);
    take_rows(stream, index, block->stride, r, y);
}

static void rows_step(const mnv2_context *context, const mnv2_step *step) {
    const int final = final_block(step);
    const mnv2_block *block = &context->plan->blocks[final];
    const ptrdiff_t row_bytes = (ptrdiff_t)block->out_width * block->out_channels;
    uint8_t *y = (uint8_t *)context->arena + step->output;
    row_stream stream = {.context = context, .step = step};
    for (range rows; next_band(&stream, &rows);)
        for (int r = rows.first; r < rows.end; r++)
            rows_block(&stream, final, r, y + r * row_bytes);
}

#endif
