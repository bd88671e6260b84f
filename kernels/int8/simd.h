/* The vector vocabulary of 8-bit kernels: everything that they ask of an instruction set.
 *
 * A panel is 16 channels, as in ../simd.h: sums of one pixel are VECTORS vectors of LANES int32,
 * activations are 16 bytes. Four terms of a sum stand together, a group, as many as one VNNI
 * instruction adds. Four pixels of a panel, a quad, become 8 bits together: 64 bytes, which lie
 * as they are stored, [4][16]. An instruction set is one header that defines
 *
 *   LANES, VECTORS         LANES * VECTORS == 16
 *   TILE_PIXELS, TILE_PANELS   the largest register tile of a 1x1 convolution
 *   vi                     LANES sums
 *   vi_load, vi_store      unaligned
 *   vi_add, vi_or, vi_shift_left(x, bits)
 *   vi_from_u8(p)          LANES bytes as int32
 *   vx                     an activation operand: LANES groups of 4 uint8
 *   vx_broadcast(p)        the group at p in every lane
 *   vx_window(p, out)      4 pixels of a panel, [4][16], as VECTORS operands: channel by channel
 *                          the pixels' bytes
 *   vw                     a weight operand: LANES groups of 4 int8
 *   vw_load(p), vw_from(x) from memory; from a vi that holds the bytes
 *   vi_dot(sum, x, w)      sum + the four products, exact
 *   scaling                how the sums of a panel become 8 bits, from
 *   scaling_load(row, fraction)        row: [16] multiplier | shift << 16
 *   quad                   four pixels of 8 bits
 *   quad_scale(sums, &s)               sums: vi [4][VECTORS]
 *   quad_scale_add(sums, &s, p, r)     and r times the shortcut, whose pixels are at p[0..3]
 *   quad_store(y, q, n)                the first n pixels, [n][16]
 *   quad_store_rows(y, step, q, n, lanes)   pixel i to y + i * step, its first `lanes` channels
 *   quad_sum(q, n)                     the sum over its first n pixels: vi [VECTORS] in a struct
 *
 * and, where it has them,
 *
 *   LANE_GROUPS            groups of a pixel that are loaded together, as vx_lanes:
 *   vx_load(p), vx_lane(x, i)   those at p; number i of them as an operand
 *   OWN_WINDOWS            1: vx is one group for all lanes, and what vx_window makes is another
 *                          type, vx_of_window, for vi_dot_window(sum, x, w)
 *   SIGNED_INPUTS          1: dot products take x - 128 for x, and sums have to be amended by
 *   vi_amend(sum, w)       sum + 128 times the four weights
 *
 * Nothing beyond what is named is read or stored, but for quad_scale_add, which reads 16 bytes of
 * each pixel's shortcut. */
#ifndef MNV2_INT8_SIMD_H
#define MNV2_INT8_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../kernel.h"

#define GROUP 4

#if defined(MNV2_ISA_AVX512VNNI) || defined(MNV2_ISA_AVX512AMX) || defined(MNV2_ISA_AVX512)
#include "simd_512.h"
#elif defined(MNV2_ISA_AVXVNNI) || defined(MNV2_ISA_AVX2)
#include "simd_256.h"
#elif defined(MNV2_ISA_NEON) || defined(MNV2_ISA_DOTPROD) || defined(MNV2_ISA_I8MM)
#include "simd_neon.h"
#elif defined(__SSE2__)
#include "simd_sse2.h"
#else
#include "simd_portable.h"
#endif

#ifndef LANE_GROUPS
#define LANE_GROUPS 1
typedef vx vx_lanes;
static inline vx_lanes vx_load(const uint8_t *p) { return vx_broadcast(p); }
static inline vx vx_lane(vx_lanes x, int i) {
    (void)i;
    return x;
}
#endif
#ifndef OWN_WINDOWS
#define vx_of_window vx
#define vi_dot_window vi_dot
#endif
#ifndef SIGNED_INPUTS
#define SIGNED_INPUTS 0
static inline vi vi_amend(vi sum, vw w) {
    (void)w;
    return sum;
}
#endif

_Static_assert(LANES * VECTORS == PANEL, "a panel is 16 lanes");

#endif
