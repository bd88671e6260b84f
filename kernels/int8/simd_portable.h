/* Any CPU: plain C, one panel a vector, which the compiler turns into what the baseline has. */

#define LANES 16
#define VECTORS 1
#define TILE_PIXELS 4
#define TILE_PANELS 1

typedef struct {
    int32_t at[LANES];
} vi;

static inline vi vi_load(const int32_t *p) {
    vi x;
    memcpy(&x, p, sizeof x);
    return x;
}
static inline void vi_store(int32_t *p, vi x) { memcpy(p, &x, sizeof x); }
static inline vi vi_add(vi a, vi b) {
    for (int i = 0; i < LANES; i++) a.at[i] = (int32_t)((uint32_t)a.at[i] + (uint32_t)b.at[i]);
    return a;
}
static inline vi vi_or(vi a, vi b) {
    for (int i = 0; i < LANES; i++) a.at[i] |= b.at[i];
    return a;
}
static inline vi vi_shift_left(vi x, int bits) {
    for (int i = 0; i < LANES; i++) x.at[i] = (int32_t)((uint32_t)x.at[i] << bits);
    return x;
}
static inline vi vi_from_u8(const void *p) {
    vi x;
    for (int i = 0; i < LANES; i++) x.at[i] = ((const uint8_t *)p)[i];
    return x;
}

/* Bytes 0 and 2 of each group, bytes 1 and 3: what 16-bit multiplies that add pairs want. */
typedef struct {
    int16_t at[GROUP][LANES];
} vx, vw;

static inline vw vw_load(const int8_t *p) {
    vw w;
    for (int i = 0; i < LANES; i++)
        for (int k = 0; k < GROUP; k++) w.at[k][i] = p[i * GROUP + k];
    return w;
}
static inline vw vw_from(vi x) {
    int8_t bytes[sizeof x];
    memcpy(bytes, &x, sizeof x);
    return vw_load(bytes);
}
static inline vx vx_broadcast(const uint8_t *p) {
    vx x;
    for (int i = 0; i < LANES; i++)
        for (int k = 0; k < GROUP; k++) x.at[k][i] = p[k];
    return x;
}
static inline void vx_window(const uint8_t *p, vx *out) {
    for (int k = 0; k < GROUP; k++)
        for (int i = 0; i < LANES; i++) out->at[k][i] = p[k * PANEL + i];
}
static inline vi vi_dot(vi sum, vx x, vw w) {
    for (int k = 0; k < GROUP; k++)
        for (int i = 0; i < LANES; i++) sum.at[i] += (int32_t)x.at[k][i] * w.at[k][i];
    return sum;
}

typedef struct {
    int32_t shift[LANES], multiplier[LANES];
    int fraction;
} scaling;

static inline scaling scaling_load(const int32_t *row, int fraction) {
    scaling s = {.fraction = fraction};
    for (int i = 0; i < LANES; i++) {
        s.shift[i] = row[i] >> 16 & 31;
        s.multiplier[i] = row[i] & 0x7fff;
    }
    return s;
}

typedef struct {
    uint8_t at[4][PANEL];
} quad;

static inline int32_t clamp(int32_t x, int32_t low, int32_t high) {
    return x < low ? low : x > high ? high : x;
}
/* Rounded half up, as pmulhrsw does. */
static inline int32_t scaled(int32_t x, int32_t multiplier) {
    return (x * multiplier + (1 << 14)) >> 15;
}
static inline quad quad_scale(vi (*sums)[VECTORS], const scaling *s) {
    quad q;
    for (int p = 0; p < 4; p++)
        for (int i = 0; i < LANES; i++) {
            const int32_t t = clamp(sums[p][0].at[i] >> s->shift[i], INT16_MIN, INT16_MAX);
            q.at[p][i] = (uint8_t)clamp(scaled(t, s->multiplier[i]) >> s->fraction, 0, 255);
        }
    return q;
}
static inline quad quad_scale_add(vi (*sums)[VECTORS], const scaling *s,
                                  const uint8_t *const *x, int multiplier) {
    quad q;
    for (int p = 0; p < 4; p++)
        for (int i = 0; i < LANES; i++) {
            const int32_t t = clamp(sums[p][0].at[i] >> s->shift[i], INT16_MIN, INT16_MAX);
            const int32_t v =
                scaled(t, s->multiplier[i]) + scaled(x[p][i] * 64, multiplier);
            q.at[p][i] = (uint8_t)clamp(clamp(v, INT16_MIN, INT16_MAX) >> s->fraction, 0, 255);
        }
    return q;
}
static inline void quad_store(uint8_t *y, quad q, int n) { memcpy(y, q.at, (size_t)(n * PANEL)); }
static inline void quad_store_rows(uint8_t *y, ptrdiff_t step, quad q, int n, int lanes) {
    for (int p = 0; p < n; p++) memcpy(y + p * step, q.at[p], (size_t)lanes);
}

typedef struct {
    vi sums[VECTORS];
} panel_sums;

static inline panel_sums quad_sum(quad q, int n) {
    panel_sums all = {{{{0}}}};
    for (int p = 0; p < n; p++)
        for (int i = 0; i < LANES; i++) all.sums[0].at[i] += q.at[p][i];
    return all;
}
