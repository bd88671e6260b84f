#include "cost.h"

#include <string.h>

enum { TILE_PIXELS = 14, LEAST_AT_ONCE = 4, MOVED_BYTES = 32, REREAD_BYTES = 16, STEM_TAPS = 27 };

static const struct {
    const char *family, *precision;
    cpu_costs costs;
} known[] = {
#define CPU_COSTS(family, precision, ...) {#family, #precision, {__VA_ARGS__}},
#include "cpu_costs.def"
#undef CPU_COSTS
};

enum { KNOWN = sizeof known / sizeof *known };

const cpu_costs *mnv2_costs_of(const char *family, int32_t precision) {
    const char *name = precision == MNV2_INT8       ? "int8"
                       : precision == MNV2_BFLOAT16 ? "bfloat16"
                                                    : "float32";
    for (int i = 0; i < KNOWN; i++)
        if (!strcmp(known[i].family, family) && !strcmp(known[i].precision, name))
            return &known[i].costs;
    return &known[0].costs;
}

static int64_t over(int64_t count, int64_t unit) { return (count + unit - 1) / unit; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Of a 1x1 convolution, of which a multiply-add takes one or several terms at once. */
static int64_t pointwise_time(const planned *plan, int64_t pixels, int64_t depth,
                                int64_t panels) {
    const int64_t tiles = over(pixels, TILE_PIXELS) * over(panels, 2);
    depth = over(depth, plan->sizes.terms);
    return tiles * plan->costs->tile +
           depth * larger(pixels * panels / 2, tiles * LEAST_AT_ONCE) * plan->costs->term;
}

static int64_t depthwise_time(const planned *plan, int64_t pixels, int64_t kernel, int64_t panels,
                              int64_t calls) {
    const cpu_costs *of = plan->costs;
    return panels * (pixels * kernel * kernel / 2 * of->tap + calls * of->call);
}

static int64_t weight_bytes(const planned *plan, const mnv2_block *block) {
    static const int64_t item[MNV2_PRECISIONS] = {4, 2, 2, 2, 1};
    const int64_t inputs = block->expand_weight < 0 ? 0 : block->in_channels;
    const int64_t per_hidden = inputs + block->kernel * block->kernel + block->out_channels;
    return block->hidden * per_hidden * item[plan->net->precision];
}

/* Of the projections of all tiles, `group` hidden channels each: a thread's pixels. */
static int64_t projected_time(const planned *plan, int64_t pixels, int64_t hidden, int64_t group,
                              int64_t panels) {
    const int64_t tiles = over(hidden, group), last = (hidden - 1) % group + 1;
    const int64_t whole = pointwise_time(plan, pixels, group, panels);
    if (plan->costs->first == 0) return tiles * whole;
    /* Two panels of outputs after two read what is filtered, from beyond the first cache. */
    const int64_t beyond = larger(0, pixels * group * plan->sizes.filtered - plan->costs->first);
    const int64_t moved = plan->costs->moved;
    const int64_t time = (tiles - 1) * whole + pointwise_time(plan, pixels, last, panels) +
                         tiles * over(panels, 2) * (beyond / MOVED_BYTES) * moved;
    if (plan->threads == 1) return time;
    /* Of several threads' sums it was measured that they go there and back between two tiles. */
    const int64_t sums = pixels * panels * PANEL * plan->sizes.sums;
    return time + (tiles - 1) * 2 * (sums / MOVED_BYTES) * moved;
}

/* Threads that share a tile's channels, and then its pixels. */
static int64_t sharing(const planned *plan, const schedule *s) {
    return s->is_apart ? 1 : plan->threads;
}

/* Of what filters and projects an expanded tensor, for one band of its output rows. */
static int64_t branch_time(const planned *plan, const schedule *s, const mnv2_block *branch,
                           int64_t hidden, int32_t band) {
    const int64_t threads = sharing(plan, s);
    const int64_t panels = over(over(hidden, PANEL), threads); /* a thread's */
    const int64_t group = smaller(threads * s->tile, hidden);
    const int64_t rows = branch->out_height;
    const int64_t pixels =
        (rows * (band + 1) / s->bands - rows * band / s->bands) * branch->out_width;
    const int64_t own = over(pixels, threads);
    /* What other threads have filtered comes from their caches. */
    const int64_t others = own * hidden * plan->sizes.filtered * (threads - 1) / threads;
    return depthwise_time(plan, pixels, branch->kernel, panels, 1) +
           projected_time(plan, own, hidden, group, over(branch->out_channels, PANEL)) +
           others / MOVED_BYTES * plan->costs->shared;
}

/* Of all tiles for one band. */
static int64_t tiled_time(const planned *plan, const schedule *s, int32_t band) {
    const mnv2_block *block = &plan->blocks[s->first];
    const mnv2_block *heads = &plan->blocks[block->within];
    const int64_t panels = over(over(block->hidden, PANEL), sharing(plan, s));
    const int64_t depth = block->expand_weight < 0 ? 0 : block->in_channels;
    int32_t first = 0, end = block->in_height;
    if (s->bands > 1) mnv2_band_lines(plan, s, band, &first, &end);
    const int64_t lines = smaller(end, block->in_height) - larger(first, 0);
    int64_t time = larger(lines, 0) * pointwise_time(plan, block->in_width, depth, panels);
    time += branch_time(plan, s, block, block->hidden, band);
    for (int32_t i = 0; i < block->within_count; i++)
        time += branch_time(plan, s, &heads[i], block->hidden, band);
    return time;
}

/* Bands that are apart end with the slowest thread; others add up, and read the weights again. */
static int64_t tiles_time(const planned *plan, const schedule *s) {
    const mnv2_block *block = &plan->blocks[s->first];
    int64_t time = 0, weights = weight_bytes(plan, block);
    for (int32_t i = 0; i < block->within_count; i++)
        weights += weight_bytes(plan, &plan->blocks[block->within + i]);
    for (int32_t band = 0; band < s->bands; band++) {
        const int64_t one = tiled_time(plan, s, band);
        time = s->is_apart ? larger(time, one) : time + one;
    }
    if (weights > plan->costs->cached && !s->is_apart)
        time += weights * (s->bands - 1) / REREAD_BYTES * plan->costs->reread;
    return time;
}

static int64_t block_time(const planned *plan, int32_t index, int64_t strip, int64_t rows_in,
                            int64_t rows_out) {
    const mnv2_block *block = &plan->blocks[index];
    const int64_t panels = over(block->hidden, PANEL), strips = over(block->out_width, strip);
    const bool expands = block->expand_weight >= 0;
    const int64_t columns = over(block->in_width, strips);
    /* Without an expand layer the stem makes the hidden channels, or they are copied. */
    const int64_t depth = expands ? block->in_channels : index == 0 ? STEM_TAPS : 0;
    int64_t made = strips * pointwise_time(plan, columns, depth, panels);
    if (index == 0 && expands)
        made += strips * pointwise_time(plan, columns, STEM_TAPS, over(block->in_channels, PANEL));
    const int64_t projected =
        strips * pointwise_time(plan, over(block->out_width, strips), block->hidden,
                                  over(block->out_channels, PANEL));
    const int64_t filtered =
        depthwise_time(plan, rows_out * block->out_width, block->kernel, panels, rows_in * strips);
    return rows_in * made + filtered + rows_out * projected;
}

/* Of a thread's band of output rows, with the rows that it needs. */
static int64_t band_time(const planned *plan, const schedule *s, int32_t thread) {
    const int64_t height = plan->blocks[s->first + s->count - 1].out_height;
    int64_t first = height * thread / plan->threads, end = height * (thread + 1) / plan->threads;
    int64_t weights = 0, time = 0;
    if (first == end) return 0;
    for (int32_t i = 0; i < s->count; i++)
        weights += weight_bytes(plan, &plan->blocks[s->first + i]);
    if (weights > plan->costs->cached)
        time = weights * (end - first - 1) / REREAD_BYTES * plan->costs->reread;
    for (int32_t i = s->first + s->count - 1; i >= s->first; i--) {
        const mnv2_block *block = &plan->blocks[i];
        const int64_t rows_out = end - first;
        end = smaller((end - 1) * block->stride - block->pad_top + block->kernel,
                      block->in_height);
        first = larger(first * block->stride - block->pad_top, 0);
        time += block_time(plan, i, s->strip, end - first, rows_out);
    }
    return time;
}

/* A step ends with its slowest thread: those in the middle make rows at both ends of their band
 * that a neighbour makes, too. */
static int64_t rows_time(const planned *plan, const schedule *s) {
    int64_t most = 0;
    for (int32_t thread = 0; thread < plan->threads; thread++)
        most = larger(most, band_time(plan, s, thread));
    return most;
}

/* How often threads wait for each other: after a step of rows, or of bands apart; else after each
 * tile, and once more for the projection of the last. */
static int64_t phases(const planned *plan, const schedule *s) {
    if (s->kind != MNV2_TILES || s->is_apart) return 1;
    const int64_t hidden = plan->blocks[s->first].hidden;
    return (over(hidden, smaller((int64_t)plan->threads * s->tile, hidden)) + 1) * s->bands;
}

int64_t mnv2_time_of(const planned *plan, const schedule *s) {
    int64_t moved = s->bytes / MOVED_BYTES * plan->costs->moved;
    if (plan->threads > 1) moved += phases(plan, s) * plan->costs->phase;
    return moved + (s->kind == MNV2_TILES ? tiles_time(plan, s) : rows_time(plan, s));
}
