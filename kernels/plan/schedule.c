#include "schedule.h"

#include "cost.h"
#include "heads.h"

enum { EXPANDED_PANELS = 2, LEAST_TILES = 3, MOST_BANDS = 4, FIRST_CACHE_BYTES = 32 << 10 };
enum { STEM_KERNEL = 3, STEM_STRIDE = 2 };

static int32_t over(int32_t count, int32_t unit) { return (count + unit - 1) / unit; }
static int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }
static int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }
static int64_t larger64(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t smaller64(int64_t a, int64_t b) { return a < b ? a : b; }

static bool is_int8(const planned *plan) { return plan->net->precision == MNV2_INT8; }

planned mnv2_planned_of(const mnv2_plan *net, mnv2_block *blocks, const char *cpu) {
    static const value_sizes single = {4, 4, 4, 4, 1}, half = {2, 4, 2, 4, 2}, byte = {1, 1, 1, 4, 4};
    const value_sizes sizes = net->precision == MNV2_INT8       ? byte
                              : net->precision == MNV2_BFLOAT16 ? half
                                                                : single;
    planned made = {.net = net,
                    .blocks = blocks,
                    .threads = net->threads,
                    .sizes = sizes,
                    .costs = mnv2_costs_of(cpu, net->precision)};
    mnv2_place_heads(&made);
    return made;
}

/* Of an array in the arena. Int8 kernels may read, and ignore, a little behind it: a lone thread
 * needs that at the arena's end; where another one may be writing, every array needs its own. */
static int64_t array_bytes(const planned *plan, int64_t bytes) {
    const int64_t behind = is_int8(plan) && plan->threads > 1 ? MNV2_OVERREAD : 0;
    return (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT + behind;
}

/* Gives an array `bytes` of the arena: its offset; `at` moves on. */
static int64_t take(const planned *plan, int64_t *at, int64_t bytes) {
    const int64_t offset = *at;
    *at += array_bytes(plan, bytes);
    return offset;
}

int64_t mnv2_tensor_bytes(const planned *plan, int64_t height, int64_t width, int64_t channels) {
    return array_bytes(plan, height * width * channels * plan->sizes.thin);
}

/* --- rows ---------------------------------------------------------------------------------- */

/* What the blocks of a cascade use in turn: the most that one asks for, in values. */
typedef struct {
    int64_t expanded, halo, filtered;
} common_rows;

static void widen(const planned *plan, const schedule *s, int32_t index, common_rows *common) {
    const mnv2_block *block = &plan->blocks[index];
    const int32_t panels = over(block->hidden, PANEL);
    const int32_t columns =
        (smaller(s->strip, block->out_width) - 1) * block->stride + block->kernel;
    const int32_t lines = is_int8(plan) ? block->stride : 1; /* expanded before they are filtered */
    int64_t filtered = panels;
    if (index == 0) { /* the stem's pixels lie behind; int8 reads fours, past the last column */
        const int64_t pixels = (columns - 1) * STEM_STRIDE + STEM_KERNEL;
        const int64_t row = pixels * IMAGE_CHANNELS + (is_int8(plan) ? 3 : 0);
        filtered += (STEM_KERNEL * row + s->strip * PANEL - 1) / (s->strip * PANEL);
    }
    common->expanded = larger64(common->expanded, (int64_t)lines * columns);
    const int64_t halo = (int64_t)panels * lines * (block->kernel - block->stride);
    common->halo = larger64(common->halo, halo);
    common->filtered = larger64(common->filtered, filtered);
}

/* What a block keeps between rows. */
static void place_block(const planned *plan, const schedule *s, int32_t index, int64_t *at) {
    mnv2_block *block = &plan->blocks[index];
    const int64_t panels = over(block->hidden, PANEL), k = block->kernel, stride = block->stride;
    const int64_t columns = (block->out_width - 1) * stride + k;
    int32_t rows = is_int8(plan) ? block->stride : 1;
    if (is_int8(plan)) /* the rows that the next output needs */
        block->ring =
            take(plan, at, (k - stride) * panels * columns * PANEL * plan->sizes.expanded);
    else /* the sums of output rows in progress */
        block->partial = take(plan, at, (k - 1) / stride * panels * block->out_width * PANEL *
                                            plan->sizes.sums);
    /* A shortcut waits for as many input rows as the kernel reaches below its padding. */
    if (block->residual) rows = larger(rows, block->kernel - block->pad_top);
    int64_t row = (int64_t)block->in_width * block->in_channels;
    const bool is_behind_stem = index == 0 && block->expand_weight < 0;
    if (is_behind_stem && !block->residual) return; /* the stem's rows are not kept */
    if (is_behind_stem) row = block->in_width * panels * PANEL;
    if (index > 0 && index == s->first) return; /* they lie in a tensor */
    block->thin_rows = rows;
    block->thin = take(plan, at, rows * row * plan->sizes.thin);
}

static int64_t place_rows(const planned *plan, const schedule *s, int64_t at, mnv2_step *step) {
    const value_sizes *of = &plan->sizes;
    const int64_t start = at;
    common_rows common = {0, 0, 0};
    for (int32_t i = 0; i < s->count; i++) widen(plan, s, s->first + i, &common);
    step->expanded = take(plan, &at, EXPANDED_PANELS * common.expanded * PANEL * of->expanded);
    step->halo = take(plan, &at, common.halo * PANEL * of->expanded);
    step->filtered = take(plan, &at, common.filtered * s->strip * PANEL * of->filtered);
    for (int32_t i = 0; i < s->count; i++) place_block(plan, s, s->first + i, &at);
    step->thread_bytes = at - start;
    return start + plan->threads * step->thread_bytes;
}

/* The longest strip when every row is cut evenly into strips of at most `most` pixels. */
static int32_t strip_of(const planned *plan, int32_t first, int32_t count, int32_t most) {
    int32_t strip = 0;
    for (int32_t i = first; i < first + count; i++) {
        const int32_t width = plan->blocks[i].out_width;
        strip = larger(strip, over(width, over(width, most)));
    }
    return strip;
}

/* Whether an output row never reaches the input row that is read while it is written. How far
 * reading is ahead of writing is a concave function of the row, so the ends decide. */
static bool runs_in_place(const planned *plan, int32_t first, int32_t count) {
    const mnv2_block *begin = &plan->blocks[first], *end = begin + count - 1;
    const int32_t at_once = is_int8(plan) ? end->stride : 1;
    for (int32_t r = 0; r < end->out_height; r += larger(1, end->out_height - 1)) {
        int32_t reading = r;
        for (const mnv2_block *block = end; block >= begin; block--) {
            reading = reading * block->stride - block->pad_top + block->kernel - at_once;
            reading = smaller(reading, block->in_height);
        }
        const int64_t written = (int64_t)(r + 1) * end->out_width * end->out_channels;
        if (written > (int64_t)reading * begin->in_width * begin->in_channels) return false;
    }
    return true;
}

/* --- tiles --------------------------------------------------------------------------------- */

/* What filters and projects an expanded tensor: the block itself, 0, and the heads within its step. */
static const mnv2_block *branch_of(const planned *plan, const mnv2_block *block, int32_t number) {
    return number == 0 ? block : &plan->blocks[block->within + number - 1];
}

void mnv2_band_lines(const planned *plan, const schedule *s, int32_t band, int32_t *first,
                     int32_t *end) {
    const mnv2_block *block = &plan->blocks[s->first];
    for (int32_t i = 0; i <= block->within_count; i++) {
        const mnv2_block *reader = branch_of(plan, block, i);
        const int32_t rows = reader->out_height;
        const int32_t begins = rows * band / s->bands, ends = rows * (band + 1) / s->bands;
        const int32_t line = begins * reader->stride - reader->pad_top;
        const int32_t last = (ends - 1) * reader->stride - reader->pad_top + reader->kernel;
        *first = i > 0 ? smaller(*first, line) : line;
        *end = i > 0 ? larger(*end, last) : last;
    }
}

/* Height and width of what a step holds of the expanded tensor: with its zero padding, as much as its
 * own depthwise layer and those of the heads that read it ask for; of several bands the highest. */
static void pad_expanded(const planned *plan, const schedule *s, mnv2_step *step) {
    const mnv2_block *block = &plan->blocks[s->first];
    int32_t top = block->pad_top, left = block->pad_left;
    int32_t bottom = block->in_height, right = block->in_width;
    for (int32_t i = 0; i <= block->within_count; i++) {
        const mnv2_block *reader = branch_of(plan, block, i);
        const int32_t height = (reader->out_height - 1) * reader->stride + reader->kernel;
        const int32_t width = (reader->out_width - 1) * reader->stride + reader->kernel;
        top = larger(top, reader->pad_top);
        left = larger(left, reader->pad_left);
        bottom = larger(bottom, height - reader->pad_top);
        right = larger(right, width - reader->pad_left);
    }
    step->lines = top + bottom;
    step->columns = left + right;
    if (s->bands == 1) return;
    step->lines = 0;
    for (int32_t band = 0; band < s->bands; band++) {
        int32_t first, end;
        mnv2_band_lines(plan, s, band, &first, &end);
        step->lines = larger(step->lines, end - first);
    }
}

/* What a block, or a head within its step, makes of a tile, or of a band of it; and its sums, where
 * the thin output is too small a type to hold them and there are several tiles. */
static void place_branch(const planned *plan, const schedule *s, const mnv2_block *block,
                         int64_t *at, int64_t *filtered, int64_t *sums) {
    const value_sizes *of = &plan->sizes;
    const int64_t panels = over(s->tile, PANEL), threads = s->is_apart ? 1 : plan->threads;
    const int64_t pixels = (int64_t)over(block->out_height, s->bands) * block->out_width;
    const int64_t turns = threads > 1 ? 2 : 1; /* one is projected, the next one filtered */
    *filtered = take(plan, at, turns * threads * panels * pixels * PANEL * of->filtered);
    *sums = 0;
    if (of->thin < of->sums && s->tile * threads < block->hidden) { /* no room for sums */
        const int64_t channels =
            is_int8(plan) ? over(block->out_channels, PANEL) * PANEL : block->out_channels;
        *sums = take(plan, at, channels * pixels * of->sums);
    }
}

static int64_t place_tiles(const planned *plan, const schedule *s, int64_t at, mnv2_step *step) {
    const mnv2_block *block = &plan->blocks[s->first];
    const value_sizes *of = &plan->sizes;
    const int64_t panels = over(s->tile, PANEL), begin = at;
    pad_expanded(plan, s, step);
    place_branch(plan, s, block, &at, &step->filtered, &step->sums);
    for (int32_t i = 0; i < block->within_count; i++) {
        mnv2_block *head = &plan->blocks[block->within + i];
        place_branch(plan, s, head, &at, &head->filtered, &head->sums);
    }
    const int64_t start = s->is_apart ? begin : at;
    const int64_t expanded = smaller(EXPANDED_PANELS, (int32_t)panels);
    step->expanded =
        take(plan, &at, expanded * step->lines * step->columns * PANEL * of->expanded);
    step->thread_bytes = at - start;
    return start + plan->threads * step->thread_bytes;
}

/* Whether the expanded panels are less than a third of the expanded tensor, the paper's point; or
 * fit into the first cache anyway. */
static bool is_cut(const planned *plan, const schedule *tiles) {
    const mnv2_block *block = &plan->blocks[tiles->first];
    const int64_t tensor = array_bytes(plan, (int64_t)block->in_height * block->in_width *
                                                 block->hidden * plan->sizes.expanded);
    mnv2_step step;
    mnv2_place_scratch(plan, tiles, 0, &step);
    return tensor <= FIRST_CACHE_BYTES || step.thread_bytes * 3 < tensor;
}

/* Into how many bands of output rows a step of tiles may be cut, at most. */
static int32_t most_bands(const planned *plan, int32_t index) {
    int32_t rows = MOST_BANDS;
    if (!is_int8(plan) || plan->net->map_count == 0) return 1;
    for (int32_t i = 0; i <= plan->blocks[index].within_count; i++)
        rows = smaller(rows, branch_of(plan, &plan->blocks[index], i)->out_height);
    return rows;
}

/* Whether nothing but tiles runs a block: a head, a block whose expanded tensor heads read, and one
 * without a depthwise layer. */
static bool runs_by_tiles_alone(const planned *plan, int32_t index) {
    const mnv2_block *block = &plan->blocks[index];
    return index >= plan->chain || block->within_count > 0 || block->kernel == 1;
}

/* Whether threads may make bands of a block apart: on a family of CPUs of which it is known what
 * that saves, where a band's expanded panels stay in the first cache. */
static bool may_be_apart(const planned *plan, int32_t index) {
    const schedule bands = {.first = index, .bands = plan->threads};
    mnv2_step step;
    if (plan->costs->shared == 0 || runs_by_tiles_alone(plan, index) || plan->threads == 1 ||
        plan->threads > plan->blocks[index].out_height)
        return false;
    pad_expanded(plan, &bands, &step);
    return EXPANDED_PANELS * step.lines * step.columns * PANEL * plan->sizes.expanded <=
           FIRST_CACHE_BYTES;
}

/* --- all of them --------------------------------------------------------------------------- */

/* The features as 8 bits; floats are used as they are, and so by later dense layers. */
static int64_t place_dense(const planned *plan, const schedule *s, int64_t at, mnv2_step *step) {
    const int64_t start = at;
    if (!is_int8(plan) || s->first > 0) return at;
    step->filtered = take(plan, &at, over(plan->net->dense[0].inputs, PANEL) * PANEL);
    step->thread_bytes = at - start;
    return start + plan->threads * step->thread_bytes;
}

int64_t mnv2_place_scratch(const planned *plan, const schedule *chosen, int64_t at,
                           mnv2_step *step) {
    *step = (mnv2_step){
        .kind = (int32_t)chosen->kind,
        .first = chosen->first,
        .count = chosen->count,
        .strip = chosen->strip,
        .tile = chosen->tile,
        .bands = chosen->kind == MNV2_TILES ? chosen->bands : 0,
        .apart = chosen->is_apart,
        .layers = MNV2_EXPAND | MNV2_DEPTHWISE | MNV2_PROJECT,
    };
    switch (chosen->kind) {
        case MNV2_ROWS:
            return place_rows(plan, chosen, at, step);
        case MNV2_TILES:
            return place_tiles(plan, chosen, at, step);
        case MNV2_DENSE:
            return place_dense(plan, chosen, at, step);
        case MNV2_HEAD:
        case MNV2_CONV:
        case MNV2_LAYERS: /* never chosen */
        case MNV2_TAP:
        case MNV2_BOXES: /* without scratch */
            break;
    }
    return at;
}

/* Adds a schedule of blocks with its bytes and its time. */
static void add(const planned *plan, schedule s, schedule *found, int *count) {
    const mnv2_block *begin = &plan->blocks[s.first], *end = begin + s.count - 1;
    const bool is_head = s.first >= plan->chain;
    mnv2_step step;
    if (s.first > 0)
        s.input_bytes =
            mnv2_tensor_bytes(plan, begin->in_height, begin->in_width, begin->in_channels);
    s.output_bytes = mnv2_tensor_bytes(plan, end->out_height, end->out_width, end->out_channels);
    if (is_head) { /* which leaves its input, and whose output has a place of its own */
        s.is_in_place = true;
        s.output_bytes = s.input_bytes;
    }
    s.bytes = mnv2_place_scratch(plan, &s, s.input_bytes + s.output_bytes, &step);
    if (s.first >= plan->outputs_from) s.above_input = plan->output_bytes;
    if (s.first + s.count >= plan->outputs_from) s.above_output = plan->output_bytes;
    s.bytes += larger64(s.above_input, s.above_output);
    if (s.is_in_place) s.bytes -= smaller64(s.input_bytes, s.output_bytes);
    s.time = mnv2_time_of(plan, &s);
    found[(*count)++] = s;
}

/* Of features: whole panels of sums, or of float32, which are as large. */
static int64_t vector_bytes(const planned *plan, int32_t channels) {
    return array_bytes(plan, (int64_t)over(channels, PANEL) * PANEL * plan->sizes.sums);
}

/* The one way to run step `number` behind the blocks: convolutions, the head, dense layers. */
static int tail_schedule(const planned *plan, int32_t number, schedule *found) {
    const mnv2_plan *net = plan->net;
    const int32_t dense = number - net->conv_count - 1;
    mnv2_step step;
    if (number < net->conv_count) {
        const mnv2_conv *conv = &net->convs[number];
        *found = (schedule){.kind = MNV2_CONV, .first = number, .bands = 1};
        found->input_bytes =
            mnv2_tensor_bytes(plan, conv->in_height, conv->in_width, conv->in_channels);
        found->output_bytes =
            mnv2_tensor_bytes(plan, conv->out_height, conv->out_width, conv->out_channels);
    } else if (dense < 0) {
        *found = (schedule){.kind = MNV2_HEAD, .bands = 1};
        found->input_bytes =
            mnv2_tensor_bytes(plan, net->head.height, net->head.width, net->head.channels);
        found->output_bytes = vector_bytes(plan, net->head.features);
    } else { /* the last one writes the caller's logits */
        *found = (schedule){.kind = MNV2_DENSE, .first = dense, .bands = 1};
        found->input_bytes = vector_bytes(plan, net->dense[dense].inputs);
        if (dense + 1 < net->dense_count)
            found->output_bytes = vector_bytes(plan, net->dense[dense].outputs);
    }
    found->bytes = mnv2_place_scratch(plan, found, found->input_bytes + found->output_bytes, &step);
    return 1;
}

int32_t mnv2_tail_count(const mnv2_plan *net) {
    return net->predictor_count > 0 ? 0 : net->conv_count + 1 + net->dense_count;
}

int mnv2_schedules_from(const planned *plan, int32_t at, schedule found[MOST_SCHEDULES]) {
    static const int32_t single[] = {14, 28, 0}, half[] = {56, 0}, byte[] = {28, 56, 0};
    const int32_t *strips = is_int8(plan)                                ? byte
                            : plan->net->precision == MNV2_BFLOAT16 ? half
                                                                         : single;
    static const int32_t tiles[] = {32, 64, 128, 192};
    const int32_t threads = plan->threads;
    if (at >= plan->positions) return tail_schedule(plan, at - plan->positions, found);

    const int32_t first = plan->order[at];
    int count = 0;
    int32_t widest = 0;
    for (int32_t n = 1; n <= LONGEST_CASCADE && first + n <= plan->chain; n++) {
        if (runs_by_tiles_alone(plan, first + n - 1)) break;
        const bool may_be_in_place = first > 0 && threads == 1 && runs_in_place(plan, first, n);
        widest = larger(widest, plan->blocks[first + n - 1].out_width);
        for (const int32_t *most = strips; *most; most++) {
            schedule rows = {.kind = MNV2_ROWS, .first = first, .count = n, .bands = 1};
            rows.strip = strip_of(plan, first, n, *most);
            add(plan, rows, found, &count);
            rows.is_in_place = may_be_in_place;
            if (may_be_in_place) add(plan, rows, found, &count);
            if (*most >= widest) break;
        }
        if (plan->blocks[first + n - 1].behind_count > 0) break; /* its output has to be a tensor */
    }
    const int32_t hidden = plan->blocks[first].hidden;
    for (int i = 0; i < 4 && first > 0; i++) {
        schedule made = {.kind = MNV2_TILES, .first = first, .count = 1, .bands = 1};
        made.tile = smaller(tiles[i], over(hidden, threads));
        const bool is_only_way = i == 0 && runs_by_tiles_alone(plan, first);
        if (!is_only_way && !is_cut(plan, &made)) continue;
        const bool is_fine = i == 0 || tiles[i] * threads * LEAST_TILES <= hidden;
        const int32_t most = is_fine ? most_bands(plan, first) : 0;
        for (; made.bands <= most; made.bands++) add(plan, made, found, &count);
        if (!may_be_apart(plan, first) || (i > 0 && tiles[i] * LEAST_TILES > hidden)) continue;
        made.tile = smaller(tiles[i], hidden);
        made.bands = threads;
        made.is_apart = true;
        add(plan, made, found, &count);
    }
    return count;
}
