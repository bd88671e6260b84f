/* AVX-512 (F, BW, VL): 32 registers of 16 lanes.
 *
 * 14 pixels x 2 panels = 28 accumulators, 2 weights, 1 broadcast. FMA latency is 4 cycles at two
 * a cycle on Zen 4/5 and Intel server cores, so 8 chains hide it; the other 20 save loads. */
#include <immintrin.h>

#define LANES 16
#define VECTORS 1
#define TILE_PIXELS 14
#define TILE_PANELS 2
#define HAS_FMA 1

typedef __m512 vf;

static inline vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void vf_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
static inline __mmask16 first_lanes(int n) { return (__mmask16)((1u << n) - 1u); }
static inline vf vf_load_part(const float *p, int n) {
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
static inline void vf_store_part(float *p, vf x, int n) {
    _mm512_mask_storeu_ps(p, first_lanes(n), x);
}
static inline vf vf_set1(float x) { return _mm512_set1_ps(x); }
static inline vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf vf_clamp(vf x, vf least, vf most) {
    return _mm512_min_ps(_mm512_max_ps(x, least), most);
}
static inline vf vf_from_u8(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
