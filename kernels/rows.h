/* Inverted residuals by rows: the paper's section 5.1 with the map cut into rows, so that the
 * weights stay and the activations stream. For early blocks: large maps, few weights.
 *
 * Each block keeps a ring of its last k expanded rows,
 *
 *     [hidden/16][k slots][columns][16]      columns include the zero padding left and right
 *
 * and makes an output row by filtering the ring (depthwise) into one row of hidden channels and
 * projecting that. Every input row is expanded once. The block asks for an input row only when
 * the ring needs it, so blocks chain: a row comes from the tensor in the arena, from the block
 * before, or from the stem, and nothing but rings exists in between.
 *
 * Output row r may overwrite input rows whose expansion is in the ring, so a block whose output
 * rows do not overtake its input rows runs in place; its shortcut reads the thin input row r
 * just before the same bytes are written. */
#ifndef MNV2_ROWS_H
#define MNV2_ROWS_H

#include "block.h"
#include "stem.h"

typedef struct {
    const mnv2_context *context;
    const mnv2_step *step;
    int expanded[MNV2_MAX_BLOCKS]; /* input rows of each block that its ring has seen */
} row_stream;

static void rows_block(row_stream *stream, int index, int r, float *y);

static int first_of_network(const row_stream *stream, int index) {
    return index == 0 && stream->step->first == 0;
}

/* The thin input row j of a block: in the tensor of the step, or in the ring between blocks. */
static float *thin_row(const row_stream *stream, int index, int j) {
    const mnv2_block *block = &stream->context->plan->blocks[index];
    const ptrdiff_t row_floats = (ptrdiff_t)block->in_width * block->in_channels;
    if (index == stream->step->first)
        return (float *)(stream->context->arena + stream->step->input) + j * row_floats;
    return (float *)(stream->context->arena + block->thin) + j % block->thin_rows * row_floats;
}

/* Brings input row j of a block into its ring, expanded. */
static void rows_fill(row_stream *stream, int index, int j) {
    const mnv2_block *block = &stream->context->plan->blocks[index];
    const ptrdiff_t row_floats = (ptrdiff_t)block->columns * PANEL;
    const ptrdiff_t panel_step = block->kernel * row_floats;
    float *slot = (float *)(stream->context->arena + block->expanded) +
                  j % block->kernel * row_floats + block->pad_left * PANEL;
    if (first_of_network(stream, index)) {
        stem_row(stream->context, j, slot, panel_step);
        return;
    }
    float *thin = thin_row(stream, index, j);
    if (index != stream->step->first) rows_block(stream, index - 1, j, thin);
    expand(stream->context, block, 0, block->hidden, thin, block->in_width, slot, panel_step);
}

/* Output row r of a block: y is [out_width][out_channels]. Rows are asked for in order. */
static void rows_block(row_stream *stream, int index, int r, float *y) {
    const mnv2_context *context = stream->context;
    const mnv2_block *block = &context->plan->blocks[index];
    const int top = r * block->stride - block->pad_top;
    const int first = top > 0 ? top : 0, last = least(top + block->kernel, block->in_height);
    while (stream->expanded[index] < last) {
        rows_fill(stream, index, stream->expanded[index]);
        stream->expanded[index]++;
    }

    const ptrdiff_t row_floats = (ptrdiff_t)block->columns * PANEL;
    const float *ring = (const float *)(context->arena + block->expanded);
    float *filtered = (float *)(context->arena + block->filtered);
    const ptrdiff_t filtered_step = (ptrdiff_t)block->out_width * PANEL;
    for (int panel = 0; panel < panels_of(block->hidden); panel++) {
        const float *x[MNV2_MAX_KERNEL];
        for (int j = first; j < last; j++)
            x[j - first] = ring + (panel * block->kernel + j % block->kernel) * row_floats;
        depthwise(context, block, panel, x, first - top, last - first,
                  filtered + panel * filtered_step);
    }

    pointwise_output out = {.y = y, .channels = block->out_channels};
    if (block->residual && first_of_network(stream, index)) { /* t = 1: the ring is the input */
        out.residual = ring + r % block->kernel * row_floats + block->pad_left * PANEL;
        out.residual_pixel_step = PANEL;
        out.residual_panel_step = block->kernel * row_floats;
    } else if (block->residual) {
        out.residual = thin_row(stream, index, r);
        out.residual_pixel_step = block->in_channels;
        out.residual_panel_step = PANEL;
    }
    project(context, block, 0, block->hidden, filtered, filtered_step, block->out_width, &out);
}

static void rows_step(const mnv2_context *context, const mnv2_step *step) {
    row_stream stream = {.context = context, .step = step};
    const int final = step->first + step->count - 1;
    for (int i = step->first; i <= final; i++) {
        const mnv2_block *block = &context->plan->blocks[i];
        clear_padding(block, (float *)(context->arena + block->expanded),
                      panels_of(block->hidden) * block->kernel);
    }
    const mnv2_block *block = &context->plan->blocks[final];
    const ptrdiff_t row_floats = (ptrdiff_t)block->out_width * block->out_channels;
    float *y = (float *)(context->arena + step->output);
    for (int r = 0; r < block->out_height; r++) rows_block(&stream, final, r, y + r * row_floats);
}

#endif
