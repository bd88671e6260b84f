/* bfloat16 arithmetic: AVX512_BF16, whose vdpbf16ps adds the products of a pair to a float32 sum.
 * How it rounds within a pair is the CPU's own affair; denormals count as zero. Sums become
 * bfloat16 by rounding to nearest, ties to even. */
#include <string.h>

typedef uint16_t activation;
enum { FUSED = PAIR };

static inline vf dot_weights(const weight *w, int t) {
    (void)t;
    return _mm512_castsi512_ps(_mm512_loadu_si512(w));
}
static inline half half_dot_weights(const weight *w, int v, int t) {
    (void)v, (void)t;
    return _mm512_castsi512_ps(half_pairs(w));
}
static inline vf dot_inputs(const activation *x, int terms) {
    uint32_t pair = x[0]; /* beside a zero: what lies behind it may be no number */
    if (terms == PAIR) memcpy(&pair, x, sizeof pair);
    return _mm512_castsi512_ps(_mm512_set1_epi32((int)pair));
}
static inline vf dot(vf x, vf w, vf sum) { return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)w); }
static inline half half_dot(half x, half w, half sum) { return dot(x, w, sum); }

static inline __m512 widened(__m256i values) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(values), 16));
}
static inline __m256i narrowed(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }

static inline vf vf_from_values(const activation *p) {
    return widened(_mm256_loadu_si256((const __m256i *)p));
}
static inline vf vf_from_values_part(const activation *p, int n) {
    return widened(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}
static inline void vf_to_values(activation *p, vf x) {
    _mm256_storeu_si256((__m256i *)p, narrowed(x));
}
static inline void vf_to_values_part(activation *p, vf x, int n) {
    _mm256_mask_storeu_epi16(p, first_lanes(n), narrowed(x));
}
static inline half half_from_values(const activation *p, ptrdiff_t step, int v, int n,
                                    int pixels) {
    (void)v;
    const __mmask8 lanes = (__mmask8)first_lanes(n);
    const __m128i even = _mm_maskz_loadu_epi16(lanes, p);
    const __m128i odd = pixels > 1 ? _mm_maskz_loadu_epi16(lanes, p + step) : even;
    return widened(_mm256_set_m128i(odd, even));
}
static inline void half_to_values(activation *p, ptrdiff_t step, int v, int n, int pixels,
                                  half x) {
    (void)v;
    const __mmask8 lanes = (__mmask8)first_lanes(n);
    const __m256i both = narrowed(x);
    _mm_mask_storeu_epi16(p, lanes, _mm256_castsi256_si128(both));
    if (pixels > 1) _mm_mask_storeu_epi16(p + step, lanes, _mm256_extracti128_si256(both, 1));
}
