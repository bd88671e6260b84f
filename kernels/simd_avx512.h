/* AVX-512 (F, BW, VL): 32 registers of 16 lanes.
 *
 * 14 pixels x 2 panels = 28 accumulators, 2 weights, 1 broadcast. FMA latency is 4 cycles at two
 * a cycle on Zen 4/5 and Intel server cores, so 8 chains hide it; the other 20 save loads. */
#include <immintrin.h>

#define LANES 16
#define VECTORS 1
#define TILE_PIXELS 14
#define TILE_PANELS 2
#define HOLDS_3X3 1

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
static inline vf vf_from_i8(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
static inline vf vf_from_f16(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline vf vf_from_pairs(const uint16_t *p, int i) {
    return _mm512_castsi512_ps(i ? _mm512_maskz_loadu_epi16(0xaaaaaaaa, p)
                                 : _mm512_slli_epi32(_mm512_loadu_si512(p), 16));
}

#define HALF_PIXELS 2
enum { HALF_VECTORS = 1 };
typedef __m512 half;
static inline __m512 join_halves(__m256 even, __m256 odd) {
    return _mm512_castpd_ps(_mm512_insertf64x4(
        _mm512_castpd256_pd512(_mm256_castps_pd(even)), _mm256_castps_pd(odd), 1));
}
static inline half half_load(const float *p, int v) {
    (void)v;
    return _mm512_castpd_ps(_mm512_broadcast_f64x4(_mm256_castps_pd(_mm256_loadu_ps(p))));
}
static inline half half_load_rows(const float *p, ptrdiff_t step, int v, int n, int pixels) {
    (void)v;
    const __mmask8 lanes = (__mmask8)first_lanes(n);
    const __m256 even = _mm256_maskz_loadu_ps(lanes, p);
    return join_halves(even, pixels > 1 ? _mm256_maskz_loadu_ps(lanes, p + step) : even);
}
static inline void half_store_rows(float *p, ptrdiff_t step, int v, int n, int pixels, half x) {
    (void)v;
    const __mmask8 lanes = (__mmask8)first_lanes(n);
    _mm256_mask_storeu_ps(p, lanes, _mm512_castps512_ps256(x));
    if (pixels > 1)
        _mm256_mask_storeu_ps(
            p + step, lanes,
            _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1)));
}
static inline half half_from_f16(const uint16_t *p, int v) {
    (void)v;
    return _mm512_cvtph_ps(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p)));
}
static inline __m512i half_pairs(const uint16_t *p) {
    return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p));
}
static inline half half_from_pairs(const uint16_t *p, int v, int i) {
    (void)v;
    const __m512i pairs = half_pairs(p);
    return _mm512_castsi512_ps(i ? _mm512_maskz_mov_epi16(0xaaaaaaaa, pairs)
                                 : _mm512_slli_epi32(pairs, 16));
}
static inline half half_join(vf even, vf odd) { return _mm512_mask_blend_ps(0xff00, even, odd); }
static inline half half_fma(half a, half b, half c) { return _mm512_fmadd_ps(a, b, c); }
static inline half half_add(half a, half b) { return _mm512_add_ps(a, b); }

#define HAS_PAIRS
static inline vf vf_set_pair(const float *p) {
    double both;
    __builtin_memcpy(&both, p, sizeof both);
    return _mm512_castpd_ps(_mm512_set1_pd(both));
}
static inline void vf_store_pair(float *p, vf even, vf odd) {
    const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i last = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                           31);
    vf_store(p, _mm512_permutex2var_ps(even, first, odd));
    vf_store(p + LANES, _mm512_permutex2var_ps(even, last, odd));
}
static inline void vf_paired(const float *whole, const float *last, int vectors, vf *out) {
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    /* From memory each takes a load and nothing else; a compiler loads once and shuffles twice. */
    const float(*values)[LANES] = (const float(*)[LANES])(const void *)whole;
    if (vectors > 1) __asm__("vmovsldup %1, %0" : "=v"(out[0]) : "m"(*values));
    if (vectors > 1) __asm__("vmovshdup %1, %0" : "=v"(out[1]) : "m"(*values));
    if (vectors != 2)
        out[vectors - 1] = _mm512_permutexvar_ps(twice, vf_load(vectors > 1 ? last : whole));
}
static inline vf vf_even_pixel(vf even, vf odd) {
    return _mm512_mask_moveldup_ps(even, 0xaaaa, odd);
}
static inline vf vf_odd_pixel(vf even, vf odd) {
    return _mm512_mask_movehdup_ps(odd, 0x5555, even);
}
static inline half half_of_pair(vf x) {
    const __m512i turns = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    return _mm512_permutexvar_ps(turns, x);
}
