/* AArch64: 32 registers of 4 lanes, and fused multiply-adds that take one lane of an operand, so
 * that the activations of a pixel are loaded four at a time and never broadcast.
 *
 * 5 pixels x 1 panel = 20 accumulators, 4 weights, 5 times 4 activations. Multiply-adds have 4
 * cycles of latency at two a cycle on Cortex-A76 and Neoverse N1 and V1, at four a cycle on Apple's
 * cores: 8 and 16 chains hide it. */
#include <arm_neon.h>
#include <string.h>

#define LANES 4
#define VECTORS 4
#define TILE_PIXELS 5
#define TILE_PANELS 1
#define HOLDS_3X3 1
#define LANE_TERMS 4

typedef float32x4_t vf;

static inline vf vf_load(const float *p) { return vld1q_f32(p); }
static inline void vf_store(float *p, vf x) { vst1q_f32(p, x); }
/* One instruction: as four loads GCC 12 pairs some, and only sometimes. */
static inline void vf_load_panel(const float *p, const int n, vf *out) {
    if (n == VECTORS) {
        const float32x4x4_t all = vld1q_f32_x4(p);
        for (int i = 0; i < VECTORS; i++) out[i] = all.val[i];
    } else {
        const float32x4x2_t all = vld1q_f32_x2(p);
        for (int i = 0; i < VECTORS / 2; i++) out[i] = all.val[i];
    }
}
static inline vf vf_load_part(const float *p, int n) {
    float all[LANES] = {0};
    memcpy(all, p, (size_t)n * sizeof *p);
    return vld1q_f32(all);
}
static inline void vf_store_part(float *p, vf x, int n) {
    float all[LANES];
    vst1q_f32(all, x);
    memcpy(p, all, (size_t)n * sizeof *p);
}
static inline vf vf_set1(float x) { return vdupq_n_f32(x); }
static inline vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
static inline vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
static inline vf vf_fma_lane(vf a, int i, vf b, vf c) {
    switch (i) {
        case 0:
            return vfmaq_laneq_f32(c, b, a, 0);
        case 1:
            return vfmaq_laneq_f32(c, b, a, 1);
        case 2:
            return vfmaq_laneq_f32(c, b, a, 2);
        default:
            return vfmaq_laneq_f32(c, b, a, 3);
    }
}
/* Of a number and a NaN, fmaxnm gives the number. */
static inline vf vf_clamp(vf x, vf least, vf most) {
    return vminnmq_f32(vmaxnmq_f32(x, least), most);
}
static inline vf vf_from_u8(const uint8_t *p) {
    uint32_t four;
    memcpy(&four, p, sizeof four);
    const uint16x8_t words = vmovl_u8(vcreate_u8(four));
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(words)));
}
static inline vf vf_from_i8(const int8_t *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    const int16x8_t words = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(words)));
}
static inline vf vf_from_f16(const uint16_t *p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
static inline vf vf_from_pairs(const uint16_t *p, int i) {
    const uint32x4_t pairs = vreinterpretq_u32_u16(vld1q_u16(p));
    return vreinterpretq_f32_u32(i ? vandq_u32(pairs, vdupq_n_u32(0xffff0000))
                                   : vshlq_n_u32(pairs, 16));
}
