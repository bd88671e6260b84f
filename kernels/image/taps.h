/* One axis of a resize: which pixels a resampled one is made of, and their weights.
 *
 * The arithmetic is Pillow's (up to version 12): weights in double, normalised, rounded to
 * WEIGHT_BITS fractional bits. Only what the crop keeps is computed. */
#ifndef MNV2_TAPS_H
#define MNV2_TAPS_H

#include "lines.h"
#include "mnv2_image.h"

/* `count` resampled pixels, from number `first` on of `covering`, out of `extent` ones. They are
 * numbered as they come when the stored pixels are read in order. */
typedef struct {
    int32_t extent, covering, first, count, filter;
    int32_t is_mirrored; /* the stored order is not the upright one */
    double scale, stretch, support; /* a filter widens by `stretch` where a picture shrinks */
    double nearest; /* of MNV2_NEAREST: where pixel `first` is taken */
} axis;

/* The stored pixels [start, start + count). */
typedef struct {
    int32_t start, count;
} window;

axis axis_of(int32_t extent, int32_t covering, int32_t count, int32_t filter, int is_mirrored);
/* Of the i-th, in stored order. Neither starts nor ends ever go back from one to the next. */
window axis_window(const axis *a, int32_t i);
/* Its weights, as many as its window counts. */
void axis_weights(const axis *a, int32_t i, window w, int32_t *weights);
/* Where it belongs in the upright frame. */
int32_t axis_upright(const axis *a, int32_t i);

#endif
