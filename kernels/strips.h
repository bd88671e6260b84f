/* How a step of rows goes through the maps of its blocks, in any precision: the band of rows that a
 * part makes, the strips of a row, and where thin rows lie. rows.h and int8/rows.h compute them. */
#ifndef MNV2_STRIPS_H
#define MNV2_STRIPS_H

#include "kernel.h"
#include "parts.h"

struct channel_pattern; /* of stem.h */

typedef struct {
    const mnv2_context *context;
    const mnv2_step *step;
    const struct channel_pattern *pattern; /* NULL in 8 bits, where pixels are used as they are */
    int part;
    range band[MNV2_MAX_BLOCKS]; /* output rows that this part makes */
    int next[MNV2_MAX_BLOCKS];   /* the input row that a block takes next; may be padding */
} row_stream;

static const mnv2_block *block_of(const row_stream *stream, int index) {
    return &stream->context->plan->blocks[index];
}

/* What the part has at `offset` of its own scratch. */
static void *own(const row_stream *stream, int64_t offset) {
    return scratch_of(stream->context, stream->step, stream->part, offset);
}

static int final_block(const mnv2_step *step) { return step->first + step->count - 1; }

/* Whether the block's input comes from the stem. */
static int follows_stem(const row_stream *stream, int index) {
    return index == 0 && stream->step->first == 0;
}

/* Whether the stem makes the block's hidden channels, there being no expand layer. */
static int behind_stem(const row_stream *stream, int index) {
    return follows_stem(stream, index) && block_of(stream, index)->expand_weight < 0;
}

/* Pixels under a strip of the stem, values of `item` bytes: behind what block 0 needs of
 * `filtered`. */
static void *stem_pixels(const row_stream *stream, size_t item) {
    const int values = panels_of(block_of(stream, 0)->hidden) * stream->step->strip * PANEL;
    return own(stream, stream->step->filtered + (int64_t)item * values);
}

/* Thin input row j of a block, values of `item` bytes: in the tensor of the step, or among the last
 * rows kept. */
static void *thin_row(const row_stream *stream, int index, int j, size_t item) {
    const mnv2_block *block = block_of(stream, index);
    const int stored = behind_stem(stream, index) ? panels_of(block->hidden) * PANEL
                                                  : block->in_channels;
    const int64_t row = (int64_t)item * block->in_width * stored;
    if (index == stream->step->first && index > 0)
        return stream->context->arena + stream->step->input + j * row;
    return own(stream, block->thin + j % block->thin_rows * row);
}

/* Output columns [first, last) and the columns of the padded input row under them. */
typedef struct {
    int first, last;
    int start;    /* padded column at the left edge of the expanded strip */
    int from, to; /* real columns that are new in this strip */
    int end;      /* padded column past the strip */
} strip;

static int strips_of(const row_stream *stream, const mnv2_block *block) {
    return (block->out_width + stream->step->strip - 1) / stream->step->strip;
}

/* The strip that begins at output column `first`: `left` more, with it, share the row evenly. */
static strip strip_of(const mnv2_block *block, int first, int left) {
    const int k = block->kernel, s = block->stride;
    const int last = first + (block->out_width - first + left - 1) / left;
    strip made = {.first = first, .last = last, .start = first * s, .end = (last - 1) * s + k};
    const int seen = first ? (first - 1) * s + k : 0; /* padded columns of the strips before */
    made.from = seen > block->pad_left ? seen - block->pad_left : 0;
    made.to = least(made.end - block->pad_left, block->in_width);
    return made;
}

/* Pixels of the stem's output that are made at a time: as many as a strip of block 0 needs. */
static int stem_strip(const row_stream *stream) {
    const mnv2_block *block = block_of(stream, 0);
    return (least(stream->step->strip, block->out_width) - 1) * block->stride + block->kernel;
}

/* The rows of every block that a band of the last one's output needs. */
static void find_bands(row_stream *stream, range band) {
    for (int index = final_block(stream->step); index >= stream->step->first; index--) {
        const mnv2_block *block = block_of(stream, index);
        stream->band[index] = band;
        const int first = band.first * block->stride - block->pad_top;
        const int end = (band.end - 1) * block->stride - block->pad_top + block->kernel;
        stream->next[index] = first;
        band.first = first > 0 ? first : 0;
        band.end = least(end, block->in_height);
    }
}

/* The output rows of the last block that this thread makes next; 0 when there are none left. */
static int next_band(row_stream *stream, range *rows) {
    const mnv2_block *block = block_of(stream, final_block(stream->step));
    while ((stream->part = next_part(stream->context)) >= 0) {
        *rows = share_of(stream->context, stream->part, block->out_height, 1);
        if (rows->first == rows->end) continue;
        find_bands(stream, *rows);
        return 1;
    }
    return 0;
}

#endif
