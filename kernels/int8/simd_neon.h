/* AArch64: 32 registers of 4 sums. A panel is one vi of four of them, so that one load takes apart
 * or brings in the weights of a group of it.
 *
 *   neon      bytes become words, and a word of the activations, as an element, multiplies those
 *             of one place of the groups: 4 pixels x 1 panel = 16 accumulators, 8 weights, 4
 *             times 8 activations.
 *   dotprod   one instruction adds a group, but both of its factors are signed: activations lose
 *             128, and the sums are amended by 128 times those of the weights.
 *   i8mm      the same for unsigned activations. Both: 5 pixels x 1 panel = 20 accumulators, 4
 *             weights, 5 times 16 activations. */
#include <arm_neon.h>

#define LANES 16
#define VECTORS 1
#define TILE_PANELS 1
#if defined(MNV2_ISA_NEON)
#define TILE_PIXELS 4
#define LANE_GROUPS 2
#else
#define TILE_PIXELS 5
#define LANE_GROUPS 4
#endif
#define OWN_WINDOWS 1
#if defined(MNV2_ISA_DOTPROD)
#define SIGNED_INPUTS 1
#endif

enum { QUARTERS = 4 }; /* registers of a vi: 4 channels each */

typedef struct {
    int32x4_t at[QUARTERS];
} vi;

static ALWAYS_INLINE vi vi_load(const int32_t *p) {
    return (vi){{vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)}};
}
static ALWAYS_INLINE void vi_store(int32_t *p, vi x) {
    UNROLL for (int i = 0; i < QUARTERS; i++) vst1q_s32(p + 4 * i, x.at[i]);
}
static ALWAYS_INLINE vi vi_add(vi a, vi b) {
    UNROLL for (int i = 0; i < QUARTERS; i++) /* sums of a file that lies wrap around */
        a.at[i] = vreinterpretq_s32_u32(
            vaddq_u32(vreinterpretq_u32_s32(a.at[i]), vreinterpretq_u32_s32(b.at[i])));
    return a;
}
static ALWAYS_INLINE vi vi_or(vi a, vi b) {
    UNROLL for (int i = 0; i < QUARTERS; i++) a.at[i] = vorrq_s32(a.at[i], b.at[i]);
    return a;
}
static ALWAYS_INLINE vi vi_shift_left(vi x, int bits) {
    UNROLL for (int i = 0; i < QUARTERS; i++) x.at[i] = vshlq_s32(x.at[i], vdupq_n_s32(bits));
    return x;
}
static ALWAYS_INLINE vi vi_from_u16(uint16x8_t low, uint16x8_t high) {
    return (vi){{vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(low))),
                 vreinterpretq_s32_u32(vmovl_high_u16(low)),
                 vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(high))),
                 vreinterpretq_s32_u32(vmovl_high_u16(high))}};
}
static ALWAYS_INLINE vi vi_from_u8(const void *p) {
    const uint8x16_t bytes = vld1q_u8(p);
    return vi_from_u16(vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes));
}

#if defined(MNV2_ISA_NEON)
#include "simd_neon_words.h"
#else
#include "simd_neon_dot.h"
#endif

typedef struct {
    int32x4_t shift[QUARTERS];  /* to the left, so below 0 */
    int16x8_t multiplier[2];
    int16x8_t fraction; /* likewise */
} scaling;

static ALWAYS_INLINE scaling scaling_load(const int32_t *row, int fraction) {
    const vi all = vi_load(row);
    scaling s = {.fraction = vdupq_n_s16((int16_t)-fraction)};
    UNROLL for (int i = 0; i < QUARTERS; i++)
        s.shift[i] = vnegq_s32(vshrq_n_s32(all.at[i], 16));
    UNROLL for (int i = 0; i < 2; i++) s.multiplier[i] =
        vcombine_s16(vmovn_s32(all.at[2 * i]), vmovn_s32(all.at[2 * i + 1]));
    return s;
}

typedef struct {
    uint8x16_t at[4];
} quad;

/* v of 8 channels of a pixel, its half i. Products are rounded half up, and as a multiplier is not
 * negative they do not saturate. */
static ALWAYS_INLINE int16x8_t scale_half(const vi *sums, int i, const scaling *s) {
    const int32x4_t low = vshlq_s32(sums->at[2 * i], s->shift[2 * i]);
    const int32x4_t high = vshlq_s32(sums->at[2 * i + 1], s->shift[2 * i + 1]);
    return vqrdmulhq_s16(vqmovn_high_s32(vqmovn_s32(low), high), s->multiplier[i]);
}
static ALWAYS_INLINE uint8x16_t bytes_from(int16x8_t low, int16x8_t high, const scaling *s) {
    return vqmovun_high_s16(vqmovun_s16(vshlq_s16(low, s->fraction)),
                            vshlq_s16(high, s->fraction));
}

static ALWAYS_INLINE quad quad_scale(vi (*sums)[VECTORS], const scaling *s) {
    quad q;
    UNROLL for (int p = 0; p < 4; p++)
        q.at[p] = bytes_from(scale_half(sums[p], 0, s), scale_half(sums[p], 1, s), s);
    return q;
}
static ALWAYS_INLINE quad quad_scale_add(vi (*sums)[VECTORS], const scaling *s,
                                         const uint8_t *const *x, int multiplier) {
    const int16x8_t r = vdupq_n_s16((int16_t)multiplier);
    quad q;
    UNROLL for (int p = 0; p < 4; p++) {
        const uint8x16_t bytes = vld1q_u8(x[p]);
        const int16x8_t low = vreinterpretq_s16_u16(vshll_n_u8(vget_low_u8(bytes), 6));
        const int16x8_t high = vreinterpretq_s16_u16(vshll_high_n_u8(bytes, 6));
        q.at[p] = bytes_from(vqaddq_s16(scale_half(sums[p], 0, s), vqrdmulhq_s16(low, r)),
                             vqaddq_s16(scale_half(sums[p], 1, s), vqrdmulhq_s16(high, r)), s);
    }
    return q;
}

static ALWAYS_INLINE void quad_store(uint8_t *y, quad q, int n) {
    UNROLL for (int i = 0; i < 4; i++)
        if (i < n) vst1q_u8(y + i * PANEL, q.at[i]);
}
static ALWAYS_INLINE void store_lanes(uint8_t *y, uint8x16_t x, int lanes) {
    if (lanes == PANEL) {
        vst1q_u8(y, x);
    } else if (lanes == PANEL / 2) {
        vst1_u8(y, vget_low_u8(x));
    } else {
        uint8_t all[PANEL];
        vst1q_u8(all, x);
        memcpy(y, all, (size_t)lanes);
    }
}
static ALWAYS_INLINE void quad_store_rows(uint8_t *y, ptrdiff_t step, quad q, int n, int lanes) {
    UNROLL for (int i = 0; i < 4; i++)
        if (i < n) store_lanes(y + i * step, q.at[i], lanes);
}

typedef struct {
    vi sums[VECTORS];
} panel_sums;

static ALWAYS_INLINE panel_sums quad_sum(quad q, int n) {
    uint16x8_t low = vmovl_u8(vget_low_u8(q.at[0])), high = vmovl_high_u8(q.at[0]);
    UNROLL for (int i = 1; i < 4; i++) if (i < n) {
        low = vaddw_u8(low, vget_low_u8(q.at[i]));
        high = vaddw_high_u8(high, q.at[i]);
    }
    return (panel_sums){{vi_from_u16(low, high)}};
}
