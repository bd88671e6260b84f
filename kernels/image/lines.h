/* What a resize asks of an instruction set. Integers throughout: every set gives the same bits.
 *
 * A weight of WEIGHT_BITS fractional bits is high * 2^LOW_BITS + low, so that each half fits the
 * 16 bits that multiply-and-add-pairs instructions take; sums wrap at 32 bits on the way, and the
 * whole fits. Weights come in groups of GROUP_TAPS, the high halves, then the low ones. */
#ifndef MNV2_LINES_H
#define MNV2_LINES_H

#include <stdint.h>

enum { WEIGHT_BITS = 22, LOW_BITS = 15, GROUP_TAPS = 8 };

/* Resampled pixels along a line. */
typedef struct {
    const int32_t *starts;   /* [count], of their first tap, in pixels of the line */
    const int16_t *weights;  /* [count][groups][2][GROUP_TAPS] */
    int32_t count, groups;
} along_taps;

typedef struct {
    /* `count` pixels of a line of RGBX, which may be read GROUP_TAPS - 1 pixels beyond its end;
     * RGB to `out` and each `step` bytes further on. */
    void (*along)(const along_taps *taps, const uint8_t *line, uint8_t *out, int64_t step);
    /* sums[i] = 2^(WEIGHT_BITS - 1) + weight * line[i]; then sums[i] += weight * line[i]. */
    void (*first)(int32_t *sums, const uint8_t *line, int32_t weight, int32_t count);
    void (*add)(int32_t *sums, const uint8_t *line, int32_t weight, int32_t count);
    /* out[i] = sums[i] / 2^WEIGHT_BITS as 8 bits. */
    void (*finish)(const int32_t *sums, uint8_t *out, int32_t count);
    /* RGB to RGBX. */
    void (*widen)(const uint8_t *rgb, uint8_t *rgbx, int32_t pixels);
} mnv2_lines;

#endif
