/* Any CPU: four lanes in the compiler's own vector type, which becomes SSE2 on x86-64, NEON on
 * AArch64 and plain scalars elsewhere. Multiply and add round separately where the baseline has
 * no fused multiply-add, so results differ from the other paths within the stated tolerance.
 *
 * 2 pixels x 1 panel = 8 accumulators of 16 registers, 4 weights, 1 broadcast, 1 product. Weights
 * of float16 are made float32 for more pixels at once: it costs more than sums in memory do. */
#include <string.h>

#define LANES 4
#define VECTORS 4
#if defined(MNV2_NUMBERS_FLOAT16_WEIGHTS)
#define TILE_PIXELS 6
#else
#define TILE_PIXELS 2
#endif
#define TILE_PANELS 1
#define HOLDS_3X3 0

typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef uint32_t vu __attribute__((vector_size(16)));

static inline vf vf_load(const float *p) {
    vf x;
    memcpy(&x, p, sizeof x);
    return x;
}
static inline void vf_store(float *p, vf x) { memcpy(p, &x, sizeof x); }
static inline vf vf_load_part(const float *p, int n) {
    vf x = {0};
    for (int i = 0; i < n; i++) x[i] = p[i];
    return x;
}
static inline void vf_store_part(float *p, vf x, int n) {
    for (int i = 0; i < n; i++) p[i] = x[i];
}
static inline vf vf_set1(float x) { return (vf){x, x, x, x}; }
static inline vf vf_add(vf a, vf b) { return a + b; }
static inline vf vf_mul(vf a, vf b) { return a * b; }
#if defined(__ARM_FEATURE_FMA) && defined(__aarch64__)
static inline vf vf_fma(vf a, vf b, vf c) {
    for (int i = 0; i < LANES; i++) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
}
#else
static inline vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
#endif
static inline vf vf_select(vi mask, vf a, vf b) {
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
}
static inline vf vf_clamp(vf x, vf least, vf most) {
    x = vf_select(x > least, x, least);
    return vf_select(x < most, x, most);
}
static inline vf vf_from_u8(const uint8_t *p) {
    return (vf){(float)p[0], (float)p[1], (float)p[2], (float)p[3]};
}
static inline vf vf_from_i8(const int8_t *p) {
    return (vf){(float)p[0], (float)p[1], (float)p[2], (float)p[3]};
}
/* With an exponent too large by 112, which keeps infinity and NaN what they are. Float32 denormals
 * count as zero inside a run, so those of float16 cannot become one on the way: as their exponent
 * implies no leading 1 and is one too small, they lack x - 2^98, all others nothing. */
static inline vf vf_from_f16(const uint16_t *p) {
    uint16_t halves __attribute__((vector_size(8)));
    memcpy(&halves, p, sizeof halves);
    const vu bits = __builtin_convertvector(halves, vu);
    const vf x = (vf)(((bits & 0x7fff) << 13) + (224u << 23)), above = x - 0x1p98f;
    const vf lacking = (vf)((vi)above & (above < 0.0f));
    return (vf)((vu)((x + lacking) * 0x1p-112f) | (bits & 0x8000) << 16);
}
static inline vf vf_from_pairs(const uint16_t *p, int i) {
    vu pairs;
    memcpy(&pairs, p, sizeof pairs);
    return (vf)(i ? pairs & 0xffff0000u : pairs << 16);
}
