/* A resize that keeps no picture: lines come once, in order, and each one goes where it counts.
 *
 * Upright pictures: a line is resampled along, rounded to 8 bits, and added to the sums of every
 * output row that it lies under. Turned ones (orientations 5 to 8), whose stored lines are upright
 * columns: lines are added up across first, a finished sum is rounded and resampled along, and
 * becomes a column of the output. Mirroring is a matter of the axes' order alone. Integer sums have
 * no order, so the bits are those of two passes over a whole picture.
 *
 * Lines that many output rows need, as when a picture is enlarged, are held in a ring instead, and
 * an output row is summed up when its last line has come; whichever takes less memory is done. */
#include <math.h>
#include <string.h>

#include "../isa.h"
#include "lines.h"
#include "region.h"
#include "taps.h"

struct mnv2_resize {
    mnv2_resize_plan plan;
    const mnv2_lines *lines;
    uint8_t *out;
    axis along, across;
    int is_turned;
    int is_wide;      /* lines are RGBX where they are resampled along */
    int32_t elements; /* bytes of a line where lines are added up */
    int32_t most;     /* taps across */
    int32_t slots;    /* sums in progress at a time; 0: lines are held in the ring */
    along_taps taps;
    int32_t *starts;
    int16_t *weights;
    int32_t *sums;           /* [slots or 1][elements] */
    uint8_t *ring;           /* [most][elements] */
    int32_t *across_weights; /* [slots or 1][most]; while it begins, of a window along */
    uint8_t *narrow;         /* a line resampled along, or one finished across */
    uint8_t *wide;           /* the same as RGBX */
    int32_t row;             /* the next, from first_row on */
    int32_t begun, finished; /* output rows, or columns where it is turned */
};

enum {
    MOST_COVERING = 1 << 28,
    MOST_STORED = 1 << 28, /* pixels of a picture's side: a line's bytes fit 32 bits */
    MOST_SIDE = 1 << 20,   /* of a frame */
    OVERREAD = (GROUP_TAPS - 1) * 4
};

/* How large the whole picture becomes, upright; 0: it is a sliver. */
static int covering_of(const mnv2_framing *f, int32_t width, int32_t height, int32_t *columns,
                       int32_t *rows) {
    if (width == f->out_width && height == f->out_height) {
        *columns = width, *rows = height;
        return 1;
    }
    int64_t down = (int64_t)nearbyint(f->out_height / f->crop_fraction);
    int64_t right = (int64_t)nearbyint(f->out_width / f->crop_fraction);
    if (f->fit == MNV2_CROP) {
        if (down * width >= right * height) /* wider than the frame: the height decides */
            right = down * width / height;
        else
            down = right * height / width;
    }
    *columns = (int32_t)right, *rows = (int32_t)down;
    return right < MOST_COVERING && down < MOST_COVERING;
}

/* How many windows lie over one pixel at most, and the most that a window counts. */
static void measure(const axis *a, int32_t *overlap, int32_t *most) {
    int32_t oldest = 0;
    *overlap = *most = 0;
    for (int32_t i = 0; i < a->count; i++) {
        const window w = axis_window(a, i);
        if (w.count > *most) *most = w.count;
        for (;; oldest++) {
            const window o = axis_window(a, oldest);
            if (o.start + o.count > w.start) break;
        }
        if (i - oldest + 1 > *overlap) *overlap = i - oldest + 1;
    }
}

static int32_t lay_out(mnv2_resize *r, const mnv2_framing *f, region *from) {
    mnv2_resize_plan *plan = &r->plan;
    const int turned = f->orientation >= 5;
    const int32_t width = turned ? f->height : f->width, height = turned ? f->width : f->height;
    int32_t columns, rows;
    if (!covering_of(f, width, height, &columns, &rows)) return MNV2_SLIVER;
    const axis horizontal = axis_of(width, columns, f->out_width, f->filter,
                                    turned ? f->orientation == 6 || f->orientation == 7
                                           : f->orientation == 2 || f->orientation == 3);
    const axis vertical = axis_of(height, rows, f->out_height, f->filter,
                                  turned ? f->orientation == 7 || f->orientation == 8
                                         : f->orientation == 3 || f->orientation == 4);
    r->is_turned = turned;
    r->along = turned ? vertical : horizontal;
    r->across = turned ? horizontal : vertical;

    const window left = axis_window(&r->along, 0), top = axis_window(&r->across, 0);
    const window right = axis_window(&r->along, r->along.count - 1);
    const window bottom = axis_window(&r->across, r->across.count - 1);
    plan->framing = *f;
    plan->first_column = left.start, plan->columns = right.start + right.count - left.start;
    plan->first_row = top.start, plan->rows = bottom.start + bottom.count - top.start;

    int32_t overlap, most;
    measure(&r->along, &overlap, &most);
    r->taps.groups = (most + GROUP_TAPS - 1) / GROUP_TAPS;
    r->taps.count = r->along.count;
    measure(&r->across, &r->slots, &r->most);
    r->elements = turned ? plan->columns * f->pixel_bytes : r->along.count * 3;
    if (r->most + 4 < 4 * (int64_t)r->slots) r->slots = 0;
    r->is_wide = f->pixel_bytes == 4;
    plan->overread = r->is_wide && !turned ? OVERREAD : 0;

    const int64_t before = from->used;
    r->starts = region_take(from, r->taps.count * (int64_t)sizeof *r->starts);
    r->weights = region_take(from, (int64_t)r->taps.count * r->taps.groups * 2 * GROUP_TAPS *
                                       (int64_t)sizeof *r->weights);
    const int32_t sums = r->slots ? r->slots : 1;
    const int64_t across_weights = (int64_t)sums * r->most;
    r->across_weights = region_take(
        from, (across_weights > most ? across_weights : most) * (int64_t)sizeof(int32_t));
    plan->taps_bytes = from->used - before;
    r->narrow = region_take(from, r->elements + OVERREAD);
    r->wide = region_take(from, r->is_wide ? 0 : plan->columns * INT64_C(4) + OVERREAD);
    plan->line_bytes = from->used - before - plan->taps_bytes;
    r->sums = region_take(from, (int64_t)sums * r->elements * (int64_t)sizeof *r->sums);
    r->ring = region_take(from, r->slots ? 0 : (int64_t)r->most * r->elements);
    plan->sum_bytes = from->used - before - plan->taps_bytes - plan->line_bytes;
    plan->bytes = from->used;
    return MNV2_IMAGE_OK;
}

int32_t mnv2_resize_plan_for(const mnv2_framing *f, mnv2_resize_plan *plan) {
    mnv2_resize r = {.row = 0};
    region counted = {NULL, 0, 0};
    if (f->width < 1 || f->height < 1 || f->width > MOST_STORED || f->height > MOST_STORED ||
        f->orientation < 1 || f->orientation > 8 ||
        f->out_width < 1 || f->out_height < 1 || f->out_width > MOST_SIDE ||
        f->out_height > MOST_SIDE || f->filter < 0 || f->filter >= MNV2_FILTERS ||
        f->fit < 0 || f->fit >= MNV2_FITS ||
        !(f->crop_fraction >= 0.01 && f->crop_fraction <= 1.0) ||
        (f->pixel_bytes != 3 && f->pixel_bytes != 4))
        return MNV2_BAD_FRAMING;
    region_take(&counted, sizeof r);
    const int32_t status = lay_out(&r, f, &counted);
    *plan = r.plan;
    return status;
}

/* A window that would reach beyond the line's end begins earlier, with weights of zero. */
static void compute_taps(mnv2_resize *r) {
    const int32_t taps = r->taps.groups * GROUP_TAPS, latest = r->plan.columns - taps;
    int16_t *groups = r->weights;
    memset(groups, 0, (size_t)r->taps.count * (size_t)taps * 2 * sizeof *groups);
    for (int32_t i = 0; i < r->taps.count; i++, groups += taps * 2) {
        const window w = axis_window(&r->along, i);
        const int32_t at = w.start - r->plan.first_column;
        const int32_t start = at < latest ? at : latest > 0 ? latest : 0;
        r->starts[i] = start;
        axis_weights(&r->along, i, w, r->across_weights);
        for (int32_t t = 0; t < w.count; t++) {
            const int32_t place = at - start + t, weight = r->across_weights[t];
            int16_t *group = groups + place / GROUP_TAPS * 2 * GROUP_TAPS + place % GROUP_TAPS;
            group[0] = (int16_t)(weight >> LOW_BITS);
            group[GROUP_TAPS] = (int16_t)(weight & ((1 << LOW_BITS) - 1));
        }
    }
    r->taps.starts = r->starts;
    r->taps.weights = r->weights;
}

mnv2_resize *mnv2_resize_begin(const mnv2_resize_plan *plan, const mnv2_isa *isa, void *memory,
                               uint8_t *out) {
    region from = {memory, 0, plan->bytes};
    mnv2_resize *r = region_take(&from, sizeof *r);
    memset(r, 0, sizeof *r);
    lay_out(r, &plan->framing, &from);
    r->lines = isa->lines;
    r->out = out;
    compute_taps(r);
    return r;
}

static void along(mnv2_resize *r, const uint8_t *line, uint8_t *out, int64_t step) {
    if (!r->is_wide) {
        r->lines->widen(line, r->wide, r->plan.columns);
        line = r->wide;
    }
    if (r->along.is_mirrored) { /* the first one that is stored is the last one upright */
        out += (r->taps.count - 1) * step;
        step = -step;
    }
    r->lines->along(&r->taps, line, out, step);
}

/* The next output row, or column, from its sums. */
static void emit(mnv2_resize *r, const int32_t *sums) {
    const int64_t row = (int64_t)r->plan.framing.out_width * 3;
    const int32_t at = axis_upright(&r->across, r->finished++);
    if (r->is_turned) {
        r->lines->finish(sums, r->narrow, r->elements);
        along(r, r->narrow, r->out + at * 3, row);
    } else {
        r->lines->finish(sums, r->out + at * row, r->elements);
    }
}

/* Adds a line to the sums of all that it lies under. */
static void sum_up(mnv2_resize *r, const uint8_t *line, int32_t stored) {
    for (; r->begun < r->across.count; r->begun++) {
        const window w = axis_window(&r->across, r->begun);
        if (w.start > stored) break;
        axis_weights(&r->across, r->begun, w,
                     r->across_weights + (int64_t)(r->begun % r->slots) * r->most);
    }
    for (int32_t i = r->finished; i < r->begun; i++) {
        const window w = axis_window(&r->across, i);
        const int64_t slot = i % r->slots;
        const int32_t weight = r->across_weights[slot * r->most + stored - w.start];
        int32_t *sums = r->sums + slot * r->elements;
        (stored == w.start ? r->lines->first : r->lines->add)(sums, line, weight, r->elements);
        if (stored == w.start + w.count - 1) emit(r, sums);
    }
}

/* Sums up all whose last line is this one. */
static void sum_ring(mnv2_resize *r, int32_t stored) {
    for (; r->finished < r->across.count;) {
        const window w = axis_window(&r->across, r->finished);
        if (w.start + w.count - 1 > stored) break;
        axis_weights(&r->across, r->finished, w, r->across_weights);
        for (int32_t t = 0; t < w.count; t++)
            (t ? r->lines->add : r->lines->first)(
                r->sums, r->ring + (int64_t)((w.start + t) % r->most) * r->elements,
                r->across_weights[t], r->elements);
        emit(r, r->sums);
    }
}

static void take(mnv2_resize *r, const uint8_t *line) {
    const int32_t stored = r->plan.first_row + r->row++;
    /* Filters that skip pixels leave out whole lines. */
    if (axis_window(&r->across, r->finished).start > stored) return;
    uint8_t *kept = r->slots ? r->narrow : r->ring + (int64_t)(stored % r->most) * r->elements;
    if (!r->is_turned) {
        along(r, line, kept, 3);
        line = kept;
    } else if (!r->slots) {
        memcpy(kept, line, (size_t)r->elements);
    }
    if (r->slots)
        sum_up(r, line, stored);
    else
        sum_ring(r, stored);
}

void mnv2_resize_lines(mnv2_resize *r, const uint8_t *lines, int64_t step, int32_t count) {
    for (; count > 0 && r->row < r->plan.rows; count--, lines += step) take(r, lines);
}
