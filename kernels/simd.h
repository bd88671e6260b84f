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
 *   vf                     a vector of LANES floats
 *   vf_load, vf_store      unaligned; no lane beyond LANES is touched
 *   vf_load_part, vf_store_part   only the first n lanes, 0 <= n <= LANES; the others read as 0
 *   vf_set1, vf_add, vf_mul
 *   vf_fma(a, b, c)        a * b + c, rounded once where the machine can (HAS_FMA 1), else twice
 *   vf_clamp(x, least, most)   min(max(x, least), most); a NaN becomes `least`
 *   vf_from_u8(p)          LANES pixels of 8 bits as floats
 */
#ifndef MNV2_SIMD_H
#define MNV2_SIMD_H

#include <stddef.h>
#include <stdint.h>

#define PANEL 16

#if defined(MNV2_ISA_AVX512)
#include "simd_avx512.h"
#elif defined(MNV2_ISA_AVX2)
#include "simd_avx2.h"
#else
#include "simd_baseline.h"
#endif

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")

_Static_assert(LANES * VECTORS == PANEL, "a panel is 16 lanes");

/* A constant that the compiler must not keep in a register across a loop: the register tiles
 * need all of them. */
static ALWAYS_INLINE vf vf_late(float x) {
    __asm__ volatile("" : "+m"(x));
    return vf_set1(x);
}

static ALWAYS_INLINE void prefetch(const float *p) { __builtin_prefetch(p, 0, 3); }

static ALWAYS_INLINE int least(int a, int b) { return a < b ? a : b; }

#endif
