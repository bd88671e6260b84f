/* AVX2 with FMA and F16C: 16 registers of 8 lanes. 6 pixels x 1 panel = 12 accumulators, 2 weights,
 * 1 broadcast. */
#include <immintrin.h>

#define LANES 8
#define VECTORS 2
#define TILE_PIXELS 6
#define TILE_PANELS 1
#define HOLDS_3X3 0

typedef __m256 vf;

static inline vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void vf_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
static inline __m256i first_lanes(int n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane);
}
static inline vf vf_load_part(const float *p, int n) {
    return _mm256_maskload_ps(p, first_lanes(n));
}
static inline void vf_store_part(float *p, vf x, int n) {
    _mm256_maskstore_ps(p, first_lanes(n), x);
}
static inline vf vf_set1(float x) { return _mm256_set1_ps(x); }
static inline vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf vf_clamp(vf x, vf least, vf most) {
    return _mm256_min_ps(_mm256_max_ps(x, least), most);
}
static inline vf vf_from_u8(const uint8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
static inline vf vf_from_i8(const int8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
static inline vf vf_from_f16(const uint16_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
static inline vf vf_from_pairs(const uint16_t *p, int i) {
    const __m256i pairs = _mm256_loadu_si256((const __m256i *)p);
    return _mm256_castsi256_ps(i ? _mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000))
                                 : _mm256_slli_epi32(pairs, 16));
}
