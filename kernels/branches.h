/* What a step of tiles has several of, whatever its numbers: branches and bands.
 *
 * A detector's heads that read a block's expanded tensor are branches of that block's step: each tile
 * is expanded once, and every branch filters and projects it on its own. A head of a thin tensor is
 * a step of its own, a block without an expand layer, whose output does not take its input's place.
 *
 * Bands are ranges of output rows, each branch's in like parts. A step runs through all its tiles
 * for one band and then for the next, so `filtered` and `sums` have room for one. Of the expanded
 * tensor a band has the lines that lie under its output rows; those of a step of one band are all.
 * Or each part makes one of as many bands alone: apart, which steps of several branches do not. */
#ifndef MNV2_BRANCHES_H
#define MNV2_BRANCHES_H

#include "isa.h"
#include "kernel.h"
#include "parts.h"

/* The step's own block, or a head that runs within its step, and where its arrays lie. */
typedef struct {
    const mnv2_block *block;
    int64_t filtered, sums, output;
} branch;

static inline int is_head(const mnv2_plan *plan, int index) {
    return index >= plan->block_count - plan->predictor_count;
}

/* Branch 0 is the block's own. */
static inline branch branch_of(const mnv2_plan *plan, const mnv2_step *step, int index) {
    const mnv2_block *own = &plan->blocks[step->first];
    if (index > 0) {
        const mnv2_block *head = &plan->blocks[own->within + index - 1];
        return (branch){head, head->filtered, head->sums, head->output};
    }
    return (branch){own, step->filtered, step->sums,
                    is_head(plan, step->first) ? own->output : step->output};
}

/* Where the expanded tensor begins in its padding, which all branches share. */
typedef struct {
    int top, left;
} padding;

static inline padding padding_of(const mnv2_plan *plan, const mnv2_block *block) {
    padding most = {block->pad_top, block->pad_left};
    for (int i = 0; i < block->within_count; i++) {
        const mnv2_block *head = &plan->blocks[block->within + i];
        if (head->pad_top > most.top) most.top = head->pad_top;
        if (head->pad_left > most.left) most.left = head->pad_left;
    }
    return most;
}

static inline int bands_of(const mnv2_step *step) { return step->bands > 1 ? step->bands : 1; }

/* Output rows of a band. */
static inline range band_rows(const mnv2_block *block, int bands, int band) {
    return (range){block->out_height * band / bands, block->out_height * (band + 1) / bands};
}

/* Output pixels of the largest band. */
static inline ptrdiff_t band_pixels(const mnv2_block *block, int bands) {
    return (ptrdiff_t)((block->out_height + bands - 1) / bands) * block->out_width;
}

/* The lines of the expanded tensor that a band has, from those of its padding, below 0, on. */
static inline range band_lines(const mnv2_plan *plan, const mnv2_block *block, int bands, int band) {
    range lines = {block->in_height, -padding_of(plan, block).top};
    if (bands == 1) return (range){lines.end, lines.first};
    for (int i = 0; i <= block->within_count; i++) {
        const mnv2_block *to = i > 0 ? &plan->blocks[block->within + i - 1] : block;
        const range rows = band_rows(to, bands, band);
        const int first = rows.first * to->stride - to->pad_top;
        const int end = (rows.end - 1) * to->stride - to->pad_top + to->kernel;
        if (first < lines.first) lines.first = first;
        if (end > lines.end) lines.end = end;
    }
    return lines;
}

#endif
