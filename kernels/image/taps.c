#include "taps.h"

#include <math.h>
#include <stdbool.h>

static const double pi = 3.14159265358979323846;

/* Half the width of a filter at a scale of one. */
static double support_of(int32_t filter) {
    switch (filter) {
    case MNV2_BOX: return 0.5;
    case MNV2_BILINEAR: return 1.0;
    case MNV2_HAMMING: return 1.0;
    case MNV2_BICUBIC: return 2.0;
    case MNV2_LANCZOS: return 3.0;
    case MNV2_BILINEAR_NO_ANTIALIAS:
    case MNV2_BILINEAR_FROM_CORNER: return 1.0;
    default: return 0.0;
    }
}

static double sinc(double x) {
    if (x == 0.0) return 1.0;
    x *= pi;
    return sin(x) / x;
}

static double filter_at(int32_t filter, double x) {
    const double far = fabs(x);
    switch (filter) {
    case MNV2_BOX: return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
    case MNV2_BILINEAR:
    case MNV2_BILINEAR_NO_ANTIALIAS:
    case MNV2_BILINEAR_FROM_CORNER: return far < 1.0 ? 1.0 - far : 0.0;
    case MNV2_HAMMING:
        if (far == 0.0) return 1.0;
        return far < 1.0 ? sin(far * pi) / (far * pi) * (0.54 + 0.46 * cos(far * pi)) : 0.0;
    case MNV2_BICUBIC: /* Keys' cubic convolution, a = -1/2 */
        if (far < 1.0) return (1.5 * far - 2.5) * far * far + 1.0;
        return far < 2.0 ? (((far - 5.0) * far + 8.0) * far - 4.0) * -0.5 : 0.0;
    case MNV2_LANCZOS: return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0;
    default: return 0.0;
    }
}

static bool takes_two_pixels(int32_t filter) {
    return filter == MNV2_BILINEAR_NO_ANTIALIAS || filter == MNV2_BILINEAR_FROM_CORNER;
}

/* Where the middle of an upright resampled pixel lies among the stored ones, whose middles lie at
 * halves. */
static double centre_of(const axis *a, int32_t upright) {
    if (a->filter == MNV2_BILINEAR_FROM_CORNER) return upright * a->scale + 0.5;
    return (upright + 0.5) * a->scale;
}

axis axis_of(int32_t extent, int32_t covering, int32_t count, int32_t filter, int is_mirrored) {
    axis a = {.extent = extent, .covering = covering, .count = count, .filter = filter};
    a.is_mirrored = is_mirrored;
    /* The middle: half of what is too much, halves to even. */
    const int32_t spare = covering - count;
    a.first = spare / 2 + (spare % 2 && spare / 2 % 2);
    a.scale = (double)extent / covering;
    a.stretch = a.scale < 1.0 || takes_two_pixels(filter) ? 1.0 : a.scale;
    a.support = support_of(filter) * a.stretch;
    /* The nearest pixel is found by adding up steps, whose rounding is part of the definition. */
    a.nearest = a.scale * 0.5;
    for (int32_t i = 0; i < a.first && filter == MNV2_NEAREST; i++) a.nearest += a.scale;
    return a;
}

int32_t axis_upright(const axis *a, int32_t i) { return a->is_mirrored ? a->count - 1 - i : i; }

static int32_t nearest_to(const axis *a, int32_t upright) {
    double at = a->nearest;
    for (int32_t i = a->first; i < upright; i++) at += a->scale;
    const int32_t found = (int32_t)at;
    return found < a->extent ? found : a->extent - 1;
}

window axis_window(const axis *a, int32_t i) {
    const int32_t upright = a->first + axis_upright(a, i);
    window w;
    if (a->filter == MNV2_NEAREST) {
        w = (window){nearest_to(a, upright), 1};
    } else {
        const double centre = centre_of(a, upright);
        const double low = centre - a->support + 0.5, high = centre + a->support + 0.5;
        const int32_t start = low < 0.0 ? 0 : (int32_t)low;
        const int32_t end = high > a->extent ? a->extent : (int32_t)high;
        w = (window){start, end - start};
    }
    if (a->is_mirrored) w.start = a->extent - w.start - w.count;
    return w;
}

void axis_weights(const axis *a, int32_t i, window w, int32_t *weights) {
    if (a->filter == MNV2_NEAREST) {
        weights[0] = 1 << WEIGHT_BITS;
        return;
    }
    const double centre = centre_of(a, a->first + axis_upright(a, i));
    const double shrink = 1.0 / a->stretch;
    const int32_t start = a->is_mirrored ? a->extent - w.start - w.count : w.start;
    double sum = 0.0;
    for (int32_t x = 0; x < w.count; x++)
        sum += filter_at(a->filter, (x + start - centre + 0.5) * shrink);
    for (int32_t x = 0; x < w.count; x++) {
        double weight = filter_at(a->filter, (x + start - centre + 0.5) * shrink);
        if (sum != 0.0) weight /= sum;
        weight *= 1 << WEIGHT_BITS;
        weights[a->is_mirrored ? w.count - 1 - x : x] =
            (int32_t)(weight < 0.0 ? weight - 0.5 : weight + 0.5);
    }
}
