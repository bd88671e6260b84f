/* Inverted residuals by rows: the paper's section 5.1 with the map cut into rows, so that the
 * weights stay and the activations stream. For early blocks: large maps, few weights.
 *
 * An input row is expanded once, strip by strip, two panels at a time, and at once scattered:
 * each kernel row ky adds its taps to the output row that it belongs to. So no expanded row is
 * ever stored, only the sums of the (k - 1) / stride output rows that are not complete,
 *
 *     partial   [(k - 1) / stride][hidden/16][out_width][16]
 *
 * two thirds of what a ring of expanded rows would hold at k = 3 and stride 1, a sixth at stride
 * 2. The sums are of the same terms in the same order as if the whole kernel lay under the
 * output at once.
 * The strip that an input row completes is projected to the thin output while it is in L1, to few
 * channels from pixels in pairs (paired.h).
 *
 * A block asks for an input row when an output row needs it, so blocks chain (a cascade): a thin
 * row comes from the tensor in the arena, from the block before, or strip by strip from the stem;
 * nothing but partial sums and a few thin rows exists in between, and nothing is computed twice.
 *
 * Output row r is written while input row j = r * stride - pad + k - 1 is read, so a block whose
 * output rows never reach row j runs in place; its shortcut reads the thin row r just before the
 * same bytes are written.
 *
 * A part of the step makes a band of the last block's output rows, from the rows of every block
 * that those need; the few that two bands need are made by both. Parts never run in place. */
#ifndef MNV2_ROWS_H
#define MNV2_ROWS_H

#include "block.h"
#include "stem.h"
#include "strips.h"

/* An output row under which the input row lies, for panel 0 and column 0. */
typedef struct {
    const float *w; /* its kernel row */
    float *sums;
    int begins; /* no real input row lies above: the sums start at the bias */
} output_row;

/* One input row on its way through a block. Rows at or past in_height are padding: nothing to
 * expand, but the output row that they complete is. */
typedef struct {
    const mnv2_block *block;
    int index, j;      /* block, input row */
    const activation *thin; /* [in_width][in_channels]; NULL behind the stem */
    output_row out[MNV2_MAX_KERNEL]; /* ascending */
    int count;
    int completes; /* the output row that it completes, which is out[0]; or -1 */
} input_row;

static void rows_block(row_stream *stream, int index, int r, activation *y);

/* Expands the strip of panels [panel, panel + panels): y is [panels][end - start][16]. */
static void fill_strip(const row_stream *stream, const input_row *row, const strip *at, int panel,
                       int panels, float *y) {
    const mnv2_context *context = stream->context;
    const mnv2_block *block = row->block;
    const int columns = at->end - at->start, overlap = block->kernel - block->stride;
    const ptrdiff_t panel_step = (ptrdiff_t)columns * PANEL;
    const int pixels = at->to - at->from;
    float *fresh = y + (at->from + block->pad_left - at->start) * PANEL;
    if (pixels > 0 && row->thin)
        expand(context, block, panel * PANEL, panels * PANEL,
               row->thin + (ptrdiff_t)at->from * block->in_channels, pixels, fresh, panel_step);
    else if (pixels > 0)
        stem(context, stem_pixels(stream, sizeof(activation)), pixels, panel, panels, fresh,
             panel_step);

    float *halo = (float *)own(stream, stream->step->halo) + panel * overlap * PANEL;
    const size_t halo_bytes = (size_t)(overlap * PANEL) * sizeof *halo;
    const int before = at->first ? 0 : block->pad_left; /* zero columns on the left */
    const int after = least(at->end - at->to - block->pad_left, columns);
    for (int i = 0; i < panels; i++, y += panel_step, halo += overlap * PANEL) {
        if (at->first) memcpy(y, halo, halo_bytes);
        memset(y, 0, (size_t)(before * PANEL) * sizeof *y);
        if (after > 0)
            memset(y + (columns - after) * PANEL, 0, (size_t)(after * PANEL) * sizeof *y);
        if (at->last < block->out_width)
            memcpy(halo, y + (columns - overlap) * PANEL, halo_bytes);
    }
}

/* The output rows of the band under which input row j lies. */
static void find_outputs(const row_stream *stream, input_row *row) {
    const mnv2_context *context = stream->context;
    const mnv2_block *block = row->block;
    const int k = block->kernel, s = block->stride, pending = (k - 1) / s;
    const ptrdiff_t row_floats = (ptrdiff_t)panels_of(block->hidden) * block->out_width * PANEL;
    const range band = stream->band[row->index];
    const int above = row->j + block->pad_top - k + 1; /* top of the kernel that ends at j */
    row->completes = above >= 0 && above % s == 0 ? above / s : -1;
    if (row->completes < band.first || row->completes >= band.end) row->completes = -1;
    int first = above > 0 ? (above + s - 1) / s : 0;
    if (first < band.first) first = band.first;
    const int last = row->j < block->in_height
                         ? least((row->j + block->pad_top) / s, band.end - 1)
                         : row->completes;
    /* Ascending: the row that becomes complete frees the place that the newest one takes. */
    for (int r = first; r <= last; r++) {
        const int top = r * s - block->pad_top;
        row->out[row->count++] = (output_row){
            .w = depthwise_weight(context, block, 0, row->j - top),
            .sums = (float *)own(stream, block->partial) + r % pending * row_floats,
            .begins = row->j == (top > 0 ? top : 0),
        };
    }
}

/* Adds the taps of the input row to the sums of every output row that it lies under: x is the
 * expanded strip of one panel, or NULL for a row of padding. */
static void scatter_strip(const row_stream *stream, const input_row *row, const strip *at,
                          int panel, const float *x) {
    const mnv2_block *block = row->block;
    const int k = block->kernel, pixels = at->last - at->first;
    const ptrdiff_t column = ((ptrdiff_t)panel * block->out_width + at->first) * PANEL;
    scatter_row rows[MNV2_MAX_KERNEL];
    for (int i = 0; i < row->count; i++) {
        const output_row *out = &row->out[i];
        rows[i] = (scatter_row){
            .w = out->w + panel * k * k * PANEL,
            .bias = out->begins ? depthwise_bias(stream->context, block, panel) : NULL,
            .sums = out->sums + column,
            .done_step = filtered_pixel(panel, panels_of(block->hidden)),
        };
    }
    scatter_done done = {
        .clip = limits_of(block->depthwise_activation),
#if PAIRED
        .in_pairs = takes_pairs(stream->context, block->out_channels),
#endif
    };
    if (row->completes >= 0)
        done.y = (activation *)own(stream, stream->step->filtered) +
                 filtered_at(panel, (ptrdiff_t)stream->step->strip * PANEL);
    if (x)
        scatter(k, block->stride, x, rows, row->count, &done, pixels);
    else if (done.y)
        finish_row(rows, &done, pixels);
}

/* Projects the filtered strip to output row r: y is [out_width][out_channels]. */
static void project_strip(const row_stream *stream, int index, const strip *at, int r,
                          activation *y) {
    const mnv2_context *context = stream->context;
    const mnv2_block *block = &context->plan->blocks[index];
    pointwise_output out = {
        .activation = block->project_activation,
        .thin = y + (ptrdiff_t)at->first * block->out_channels,
        .channels = block->out_channels,
    };
    if (block->residual) {
        const int stem = behind_stem(stream, index); /* then thin rows are panels */
        out.residual_pixel_step = stem ? PANEL : block->in_channels;
        out.residual_panel_step = stem ? (ptrdiff_t)block->in_width * PANEL : PANEL;
        out.residual = thin_row(stream, index, r, sizeof *out.residual);
        out.residual += at->first * out.residual_pixel_step;
    }
    const activation *filtered = own(stream, stream->step->filtered);
    const ptrdiff_t panel_step = (ptrdiff_t)stream->step->strip * PANEL;
    const int pixels = at->last - at->first;
#if PAIRED
    if (takes_pairs(context, block->out_channels)) {
        project_pairs(context, block, filtered, panel_step, pixels, &out);
        return;
    }
#endif
    project(context, block, 0, block->hidden, filtered, panel_step, 0, pixels, &out);
}

/* Keeps the stem's output for the shortcut of a first block that has one (narrow networks). */
static void keep_stem(const row_stream *stream, const input_row *row, const strip *at, int panel,
                      int panels, const float *x) {
    const mnv2_block *block = row->block;
    const int columns = at->end - at->start;
    activation *kept = thin_row(stream, row->index, row->j, sizeof *kept);
    kept += ((ptrdiff_t)panel * block->in_width + at->from) * PANEL;
    x += (at->from + block->pad_left - at->start) * PANEL;
    for (int n = 0; n < panels; n++, kept += block->in_width * PANEL, x += columns * PANEL)
        for (int i = 0; i < (at->to - at->from) * PANEL; i += LANES)
            vf_to_values(kept + i, vf_load(x + i));
}

/* Thin row j of a first block with an expand layer: the stem's output, [in_width][in_channels]. */
static void stem_row(const row_stream *stream, int j, activation *thin) {
    const mnv2_block *block = block_of(stream, 0);
    const int channels = block->in_channels, most = stem_strip(stream);
    activation *pixels = stem_pixels(stream, sizeof(activation));
    float *made = own(stream, stream->step->expanded); /* [2][count][16] */
    for (int from = 0; from < block->in_width; from += most) {
        const int count = least(most, block->in_width - from);
        stem_load(stream->context, stream->pattern, j, from, count, pixels);
        for (int first = 0; first < channels; first += EXPANDED_PANELS * PANEL) {
            const int some = least(EXPANDED_PANELS * PANEL, channels - first);
            stem(stream->context, pixels, count, first / PANEL, panels_of(some), made,
                 (ptrdiff_t)count * PANEL);
            for (int c = 0; c < some; c += LANES) {
                const float *x = made + (ptrdiff_t)(c / PANEL) * count * PANEL + c % PANEL;
                activation *y = thin + (ptrdiff_t)from * channels + first + c;
                for (int p = 0; p < count; p++, x += PANEL, y += channels)
                    if (some - c >= LANES)
                        vf_to_values(y, vf_load(x));
                    else
                        vf_to_values_part(y, vf_load(x), some - c);
            }
        }
    }
}

/* Takes input row j into the sums of a block; y is the output row that it completes, or NULL. */
static void take_row(row_stream *stream, int index, int j, activation *y) {
    const mnv2_context *context = stream->context;
    const mnv2_block *block = &context->plan->blocks[index];
    const int stem = behind_stem(stream, index), real = j < block->in_height;
    input_row row = {.block = block, .index = index, .j = j};
    if (real && !stem) {
        activation *thin = thin_row(stream, index, j, sizeof *thin);
        if (index != stream->step->first) rows_block(stream, index - 1, j, thin);
        if (follows_stem(stream, index)) stem_row(stream, j, thin);
        row.thin = thin;
    }
    find_outputs(stream, &row);

    float *expanded = own(stream, stream->step->expanded);
    const int panels = panels_of(block->hidden);
    for (int left = strips_of(stream, block), first = 0; left > 0; left--) {
        const strip at = strip_of(block, first, left);
        const ptrdiff_t panel_step = (ptrdiff_t)(at.end - at.start) * PANEL;
        if (stem && real && at.to > at.from)
            stem_load(context, stream->pattern, j, at.from, at.to - at.from,
                      stem_pixels(stream, sizeof(activation)));
        for (int panel = 0; panel < panels; panel += EXPANDED_PANELS) {
            const int count = least(EXPANDED_PANELS, panels - panel);
            if (real) fill_strip(stream, &row, &at, panel, count, expanded);
            if (real && stem && block->residual && at.to > at.from)
                keep_stem(stream, &row, &at, panel, count, expanded);
            for (int n = 0; n < count; n++)
                scatter_strip(stream, &row, &at, panel + n,
                              real ? expanded + n * panel_step : NULL);
        }
        if (y) project_strip(stream, index, &at, row.completes, y);
        first = at.last;
    }
}

/* Output row r of a block: y is [out_width][out_channels]. Rows are asked for in order. */
static void rows_block(row_stream *stream, int index, int r, activation *y) {
    const mnv2_block *block = &stream->context->plan->blocks[index];
    const int completes = r * block->stride - block->pad_top + block->kernel - 1;
    while (stream->next[index] <= completes) {
        const int j = stream->next[index]++;
        if (j < 0) continue; /* padding above the map adds nothing to a sum */
        take_row(stream, index, j, j == completes ? y : NULL);
    }
}

static void rows_step(const mnv2_context *context, const mnv2_step *step) {
    const channel_pattern pattern = pattern_of(&context->plan->stem);
    const int final = final_block(step);
    const mnv2_block *block = &context->plan->blocks[final];
    const ptrdiff_t row = (ptrdiff_t)block->out_width * block->out_channels;
    activation *y = (activation *)(context->arena + step->output);
    row_stream stream = {.context = context, .step = step, .pattern = &pattern};
    for (range rows; next_band(&stream, &rows);)
        for (int r = rows.first; r < rows.end; r++) rows_block(&stream, final, r, y + r * row);
}

#endif
