/* The vector vocabulary: everything that the kernels ask of an instruction set.
 *
 * A panel is 16 float32 lanes, whatever the machine: VECTORS vectors of LANES lanes. Weights,
 * biases and expanded rows are stored in panels, so one model file serves every instruction set.
 * An instruction set is one header that defines
 *
 *   LANES, VECTORS         LANES * VECTORS == 16
 *   TILE_PIXELS            pixels of the largest register tile of a 1x1 convolution
 *   TILE_PANELS            output panels of that tile (1 or 2); TILE_PIXELS * TILE_PANELS *
 *                          VECTORS accumulators must fit the register file with room for
 *                          TILE_PANELS * VECTORS weights and a broadcast activation
 *   LANE_TERMS             LANES where a multiply-add takes one lane of an operand; else left out:
 *                          an activation is broadcast
 *   HOLDS_3X3              1 where the registers hold the nine weights of a 3x3 depthwise kernel
 *                          beside a tile of 7 pixels
 *   vf                     a vector of LANES floats
 *   vf_load, vf_store      unaligned; no lane beyond LANES is touched
 *   vf_load_part, vf_store_part   only the first n lanes, 0 <= n <= LANES; the others read as 0
 *   vf_set1, vf_add, vf_mul
 *   vf_fma(a, b, c)        a * b + c, rounded once where the machine can, else twice
 *   vf_fma_lane(a, i, b, c)    the same of lane i of a, where LANE_TERMS says so
 *   vf_load_panel(p, n, out)   n = VECTORS or VECTORS / 2 vectors from p on, likewise
 *   vf_clamp(x, least, most)   min(max(x, least), most); a NaN becomes `least`
 *   vf_from_u8(p)          LANES pixels of 8 bits as floats
 *   vf_from_i8(p)          LANES integers of 8 bits as floats
 *   vf_from_f16(p)         LANES numbers of float16, denormal ones too
 *   vf_from_pairs(p, i)    number i of each of LANES pairs of bfloat16
 *
 * and, where a vector is a whole panel, what the last half panel of a thin row is computed in
 * (elsewhere it is a vector of one pixel, defined below):
 *
 *   half                   lanes 0-7 of a panel, of HALF_PIXELS pixels in HALF_VECTORS of it
 *   half_load(p, v)        vector v of 8 lanes, the same for every pixel
 *   half_load_rows(p, step, v, n, pixels), half_store_rows(p, step, v, n, pixels, x)
 *                          vector v of the first n <= 8 lanes of each pixel, `step` floats
 *                          apart; where pixels is 1 the second pixel is left alone
 *   half_from_f16(p, v), half_from_pairs(p, v, i)   as half_load, from 16 bits
 *   half_join(even, odd)   two broadcast activations as one operand
 *   half_fma, half_add
 *
 * and, where it defines HAS_PAIRS, what takes two pixels in a vector, lane by lane in turn
 * (paired.h):
 *
 *   vf_set_pair(p)         two neighbouring values, over and over
 *   vf_store_pair(p, even, odd)   16 channels of two pixels to [16][2]
 *   vf_paired(whole, last, vectors, out)   weights or biases twice each: where there are two or
 *                          three vectors, channels 0, 2, 4 ... and 1, 3, 5 ... of the panel
 *                          `whole`; where there are one or three, the first 8 of `last`, which is
 *                          `whole` where there is one
 *   vf_even_pixel(a, b), vf_odd_pixel(a, b)   a pixel's 16 channels, from the first two vectors
 *   half_of_pair(x)        8 channels of both pixels as a half, from the other one
 */
#ifndef MNV2_SIMD_H
#define MNV2_SIMD_H

#include <stddef.h>
#include <stdint.h>

#include "kernel.h"

#if defined(MNV2_ISA_AVX512) || defined(MNV2_ISA_AVX512BF16) || defined(MNV2_ISA_AVX512AMX)
#include "simd_avx512.h"
#elif defined(MNV2_ISA_AVX2)
#include "simd_avx2.h"
#elif defined(MNV2_ISA_NEON)
#include "simd_neon.h"
#else
#include "simd_baseline.h"
#endif

#ifndef HALF_PIXELS
enum { HALF_PIXELS = 1, HALF_VECTORS = VECTORS / 2 };
typedef vf half;
static inline half half_load(const float *p, int v) { return vf_load(p + v * LANES); }
static inline half half_load_rows(const float *p, ptrdiff_t step, int v, int n, int pixels) {
    (void)step, (void)pixels;
    n -= v * LANES;
    return n >= LANES ? vf_load(p + v * LANES) : vf_load_part(p + v * LANES, n > 0 ? n : 0);
}
static inline void half_store_rows(float *p, ptrdiff_t step, int v, int n, int pixels, half x) {
    (void)step, (void)pixels;
    n -= v * LANES;
    if (n >= LANES)
        vf_store(p + v * LANES, x);
    else if (n > 0)
        vf_store_part(p + v * LANES, x, n);
}
static inline half half_from_f16(const uint16_t *p, int v) { return vf_from_f16(p + v * LANES); }
static inline half half_from_pairs(const uint16_t *p, int v, int i) {
    return vf_from_pairs(p + v * LANES * 2, i);
}
static inline half half_join(vf even, vf odd) {
    (void)odd;
    return even;
}
static inline half half_fma(half a, half b, half c) { return vf_fma(a, b, c); }
static inline half half_add(half a, half b) { return vf_add(a, b); }
#endif

#ifndef LANE_TERMS
#define LANE_TERMS 1
static inline vf vf_fma_lane(vf a, int i, vf b, vf c) {
    (void)i;
    return vf_fma(a, b, c);
}
#endif

_Static_assert(LANES * VECTORS == PANEL, "a panel is 16 lanes");
_Static_assert(LANE_TERMS == 1 || HALF_PIXELS == 1, "a lane is one pixel's");

/* A number that the compiler must not keep in a register across a loop: the register tiles need all
 * of them. */
static ALWAYS_INLINE vf vf_late(const float *p) {
    __asm__ volatile("" : "+r"(p));
    return vf_set1(*p);
}

#endif
