/* The operands of AArch64's dot products: bytes, as they are stored. */

typedef struct {
    int8x16_t at[QUARTERS];
} vw;

#if defined(MNV2_ISA_I8MM)
typedef uint8x16_t inputs;
static ALWAYS_INLINE inputs inputs_from(uint8x16_t x) { return x; }
#define DOT_LANE(sum, w, x, i) vsudotq_laneq_s32(sum, w, x, i)
#define DOT(sum, x, w) vusdotq_s32(sum, x, w)
#else
typedef int8x16_t inputs;
static ALWAYS_INLINE inputs inputs_from(uint8x16_t x) {
    return vreinterpretq_s8_u8(veorq_u8(x, vdupq_n_u8(128)));
}
#define DOT_LANE(sum, w, x, i) vdotq_laneq_s32(sum, w, x, i)
#define DOT(sum, x, w) vdotq_s32(sum, x, w)

/* The products with 128 that the sums lack. */
static ALWAYS_INLINE vi vi_amend(vi sum, vw w) {
    const int8x16_t half = vdupq_n_s8(64);
    UNROLL for (int i = 0; i < QUARTERS; i++)
        sum.at[i] = vdotq_s32(vdotq_s32(sum.at[i], w.at[i], half), w.at[i], half);
    return sum;
}
#endif

typedef struct {
    inputs groups; /* four groups of a pixel */
    int meant;
} vx;

typedef inputs vx_lanes;

typedef struct {
    inputs at[QUARTERS];
} vx_of_window;

static ALWAYS_INLINE vw vw_load(const int8_t *p) {
    const int8x16x4_t all = vld1q_s8_x4(p);
    return (vw){{all.val[0], all.val[1], all.val[2], all.val[3]}};
}
static ALWAYS_INLINE vw vw_from(vi x) {
    vw w;
    UNROLL for (int i = 0; i < QUARTERS; i++) w.at[i] = vreinterpretq_s8_s32(x.at[i]);
    return w;
}

static ALWAYS_INLINE vx vx_broadcast(const uint8_t *p) {
    uint32_t group;
    memcpy(&group, p, sizeof group);
    return (vx){inputs_from(vreinterpretq_u8_u32(vdupq_n_u32(group))), 0};
}
static ALWAYS_INLINE vx_lanes vx_load(const uint8_t *p) { return inputs_from(vld1q_u8(p)); }
static ALWAYS_INLINE vx vx_lane(vx_lanes x, int i) { return (vx){x, i}; }

static ALWAYS_INLINE vi vi_dot(vi sum, vx x, vw w) {
    UNROLL for (int i = 0; i < QUARTERS; i++) switch (x.meant) {
        case 0:
            sum.at[i] = DOT_LANE(sum.at[i], w.at[i], x.groups, 0);
            break;
        case 1:
            sum.at[i] = DOT_LANE(sum.at[i], w.at[i], x.groups, 1);
            break;
        case 2:
            sum.at[i] = DOT_LANE(sum.at[i], w.at[i], x.groups, 2);
            break;
        default:
            sum.at[i] = DOT_LANE(sum.at[i], w.at[i], x.groups, 3);
    }
    return sum;
}

/* Four pixels of 16 channels become channels of four pixels. */
static ALWAYS_INLINE void vx_window(const uint8_t *p, vx_of_window *out) {
    const uint8x16_t a = vld1q_u8(p), b = vld1q_u8(p + PANEL);
    const uint8x16_t c = vld1q_u8(p + 2 * PANEL), d = vld1q_u8(p + 3 * PANEL);
    const uint16x8_t ab[2] = {vreinterpretq_u16_u8(vzip1q_u8(a, b)),
                              vreinterpretq_u16_u8(vzip2q_u8(a, b))};
    const uint16x8_t cd[2] = {vreinterpretq_u16_u8(vzip1q_u8(c, d)),
                              vreinterpretq_u16_u8(vzip2q_u8(c, d))};
    UNROLL for (int i = 0; i < 2; i++) {
        out->at[2 * i] = inputs_from(vreinterpretq_u8_u16(vzip1q_u16(ab[i], cd[i])));
        out->at[2 * i + 1] = inputs_from(vreinterpretq_u8_u16(vzip2q_u16(ab[i], cd[i])));
    }
}
static ALWAYS_INLINE vi vi_dot_window(vi sum, vx_of_window x, vw w) {
    UNROLL for (int i = 0; i < QUARTERS; i++) sum.at[i] = DOT(sum.at[i], x.at[i], w.at[i]);
    return sum;
}
