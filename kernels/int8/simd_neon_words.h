/* The operands of plain NEON: words, by their place in the group. */

typedef struct {
    int16x8_t low[GROUP], high[GROUP]; /* channels 0-7 and 8-15 of a panel */
} vw, vx_of_window;

typedef struct {
    int16x8_t words; /* two groups of a pixel */
    int first;       /* of the one that is meant: 0 or 4 */
} vx;

typedef int16x8_t vx_lanes;

static ALWAYS_INLINE vw vw_load(const int8_t *p) {
    const int8x16x4_t places = vld4q_s8(p);
    vw w;
    UNROLL for (int k = 0; k < GROUP; k++) {
        w.low[k] = vmovl_s8(vget_low_s8(places.val[k]));
        w.high[k] = vmovl_high_s8(places.val[k]);
    }
    return w;
}
static ALWAYS_INLINE vw vw_from(vi x) {
    int32_t bytes[PANEL];
    vi_store(bytes, x);
    return vw_load((const int8_t *)bytes);
}

static ALWAYS_INLINE int16x8_t words_of(uint8x8_t bytes) {
    return vreinterpretq_s16_u16(vmovl_u8(bytes));
}
static ALWAYS_INLINE vx vx_broadcast(const uint8_t *p) {
    uint32_t group;
    memcpy(&group, p, sizeof group);
    return (vx){words_of(vcreate_u8(group)), 0};
}
static ALWAYS_INLINE vx_lanes vx_load(const uint8_t *p) { return words_of(vld1_u8(p)); }
static ALWAYS_INLINE vx vx_lane(vx_lanes x, int i) { return (vx){x, i * GROUP}; }

#define ADD_PLACE(k, element)                                                                  \
    sum.at[0] = vmlal_laneq_s16(sum.at[0], vget_low_s16(w.low[k]), x.words, element);          \
    sum.at[1] = vmlal_high_laneq_s16(sum.at[1], w.low[k], x.words, element);                   \
    sum.at[2] = vmlal_laneq_s16(sum.at[2], vget_low_s16(w.high[k]), x.words, element);         \
    sum.at[3] = vmlal_high_laneq_s16(sum.at[3], w.high[k], x.words, element);

static ALWAYS_INLINE vi vi_dot(vi sum, vx x, vw w) {
    if (x.first == 0) {
        ADD_PLACE(0, 0) ADD_PLACE(1, 1) ADD_PLACE(2, 2) ADD_PLACE(3, 3)
    } else {
        ADD_PLACE(0, 4) ADD_PLACE(1, 5) ADD_PLACE(2, 6) ADD_PLACE(3, 7)
    }
    return sum;
}
#undef ADD_PLACE

/* Pixel k is place k. */
static ALWAYS_INLINE void vx_window(const uint8_t *p, vx_of_window *out) {
    UNROLL for (int k = 0; k < GROUP; k++) {
        const uint8x16_t bytes = vld1q_u8(p + k * PANEL);
        out->low[k] = words_of(vget_low_u8(bytes));
        out->high[k] = vreinterpretq_s16_u16(vmovl_high_u8(bytes));
    }
}
static ALWAYS_INLINE vi vi_dot_window(vi sum, vx_of_window x, vw w) {
    UNROLL for (int k = 0; k < GROUP; k++) {
        sum.at[0] = vmlal_s16(sum.at[0], vget_low_s16(x.low[k]), vget_low_s16(w.low[k]));
        sum.at[1] = vmlal_high_s16(sum.at[1], x.low[k], w.low[k]);
        sum.at[2] = vmlal_s16(sum.at[2], vget_low_s16(x.high[k]), vget_low_s16(w.high[k]));
        sum.at[3] = vmlal_high_s16(sum.at[3], x.high[k], w.high[k]);
    }
    return sum;
}
