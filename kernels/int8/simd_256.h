/* AVX2, with AVX-VNNI where MNV2_ISA_AVXVNNI says so: 16 registers of 8 sums.
 *
 * 6 pixels x 1 panel = 12 accumulators, 2 weights, 1 broadcast. Without VNNI bytes become words,
 * even ones and odd ones apart, and vpmaddwd adds pairs: exact, where vpmaddubsw would saturate. A
 * few accumulators are in memory then, and it pays nevertheless: weights are split once for more
 * pixels. Its bound is then six instructions for 32 products, of a vector unit that takes four. */
#include <immintrin.h>

#define LANES 8
#define VECTORS 2
#define TILE_PANELS 1
#define TILE_PIXELS 6

typedef __m256i vi;

static inline vi vi_load(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline void vi_store(int32_t *p, vi x) { _mm256_storeu_si256((__m256i *)p, x); }
static inline vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
static inline vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }
static inline vi vi_shift_left(vi x, int bits) { return _mm256_slli_epi32(x, bits); }
static inline vi vi_from_u8(const void *p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}

#if defined(MNV2_ISA_AVXVNNI)
typedef __m256i vx, vw;
static inline vx vx_from(__m256i x) { return x; }
static inline vw vw_from(vi x) { return x; }
/* Not the intrinsic: with it GCC 12 keeps a register tile's sums in memory. */
static inline vi vi_dot(vi sum, vx x, vw w) {
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(x), "x"(w));
    return sum;
}
#else
typedef struct {
    __m256i even, odd; /* bytes 0 and 2 of each group, bytes 1 and 3, as words */
} vx, vw;
static inline vx vx_from(__m256i x) {
    return (vx){_mm256_and_si256(x, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(x, 8)};
}
static inline vw vw_from(vi x) {
    return (vw){_mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8), _mm256_srai_epi16(x, 8)};
}
static inline vi vi_dot(vi sum, vx x, vw w) {
    const __m256i odd = _mm256_madd_epi16(x.odd, w.odd);
    return _mm256_add_epi32(_mm256_add_epi32(sum, _mm256_madd_epi16(x.even, w.even)), odd);
}
#endif

static inline vw vw_load(const int8_t *p) {
    return vw_from(_mm256_loadu_si256((const __m256i *)p));
}
static inline vx vx_broadcast(const uint8_t *p) {
    int32_t group;
    memcpy(&group, p, sizeof group);
    return vx_from(_mm256_set1_epi32(group));
}

static inline __m256i two_rows(const uint8_t *low, const uint8_t *high) {
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)),
        _mm_loadu_si128((const __m128i *)high), 1);
}

static inline void vx_window(const uint8_t *p, vx *out) {
    const __m256i bytes =
        _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, /* */
                         0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m256i even = two_rows(p, p + 2 * PANEL), odd = two_rows(p + PANEL, p + 3 * PANEL);
    /* Channels 0-3 of pixels 0 and 1, channels 4-7 of both; then of pixels 2 and 3. */
    const __m256i low = _mm256_unpacklo_epi32(even, odd), high = _mm256_unpackhi_epi32(even, odd);
    out[0] = vx_from(_mm256_shuffle_epi8(_mm256_permute4x64_epi64(low, 0xd8), bytes));
    out[1] = vx_from(_mm256_shuffle_epi8(_mm256_permute4x64_epi64(high, 0xd8), bytes));
}

typedef struct {
    __m256i shift[VECTORS], multiplier; /* words: as the pack of a pixel's two vectors has them */
    __m128i fraction;
} scaling;

static inline scaling scaling_load(const int32_t *row, int fraction) {
    const __m256i low = vi_load(row), high = vi_load(row + LANES);
    const __m256i mask = _mm256_set1_epi32(0xffff);
    return (scaling){
        .shift = {_mm256_srli_epi32(low, 16), _mm256_srli_epi32(high, 16)},
        .multiplier =
            _mm256_packs_epi32(_mm256_and_si256(low, mask), _mm256_and_si256(high, mask)),
        .fraction = _mm_cvtsi32_si128(fraction),
    };
}

typedef struct {
    __m256i low, high; /* pixels 0 and 1, 2 and 3 */
} quad;

/* v of a pixel: words of channels 0-3, 8-11, 4-7, 12-15. */
static inline __m256i scale_pixel(const vi *sums, const scaling *s) {
    const __m256i t = _mm256_packs_epi32(_mm256_srav_epi32(sums[0], s->shift[0]),
                                         _mm256_srav_epi32(sums[1], s->shift[1]));
    return _mm256_mulhrs_epi16(t, s->multiplier);
}

static inline __m256i pair_from(__m256i a, __m256i b, const scaling *s) {
    const __m256i packed =
        _mm256_packus_epi16(_mm256_sra_epi16(a, s->fraction), _mm256_sra_epi16(b, s->fraction));
    return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

static inline quad quad_scale(vi (*sums)[VECTORS], const scaling *s) {
    return (quad){pair_from(scale_pixel(sums[0], s), scale_pixel(sums[1], s), s),
                  pair_from(scale_pixel(sums[2], s), scale_pixel(sums[3], s), s)};
}

static inline __m256i add_shortcut(__m256i v, const uint8_t *p, __m256i r) {
    const __m256i x = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
    const __m256i ordered = _mm256_slli_epi16(_mm256_permute4x64_epi64(x, 0xd8), 6);
    return _mm256_adds_epi16(v, _mm256_mulhrs_epi16(ordered, r));
}

static inline quad quad_scale_add(vi (*sums)[VECTORS], const scaling *s,
                                  const uint8_t *const *p, int multiplier) {
    const __m256i r = _mm256_set1_epi16((int16_t)multiplier);
    const __m256i a = add_shortcut(scale_pixel(sums[0], s), p[0], r);
    const __m256i b = add_shortcut(scale_pixel(sums[1], s), p[1], r);
    const __m256i c = add_shortcut(scale_pixel(sums[2], s), p[2], r);
    const __m256i d = add_shortcut(scale_pixel(sums[3], s), p[3], r);
    return (quad){pair_from(a, b, s), pair_from(c, d, s)};
}

static inline __m128i quad_pixel(quad q, int i) {
    const __m256i pair = i < 2 ? q.low : q.high;
    return i % 2 ? _mm256_extracti128_si256(pair, 1) : _mm256_castsi256_si128(pair);
}

static inline void store_lanes(uint8_t *y, __m128i x, int lanes) {
    if (lanes == PANEL) {
        _mm_storeu_si128((__m128i *)y, x);
    } else if (lanes == PANEL / 2) {
        _mm_storel_epi64((__m128i *)y, x);
    } else {
        uint8_t all[PANEL];
        _mm_storeu_si128((__m128i *)all, x);
        memcpy(y, all, (size_t)lanes);
    }
}

static inline void quad_store(uint8_t *y, quad q, int n) {
    if (n >= 2) _mm256_storeu_si256((__m256i *)y, q.low);
    if (n == 4)
        _mm256_storeu_si256((__m256i *)(y + 2 * PANEL), q.high);
    else if (n % 2)
        store_lanes(y + (n - 1) * PANEL, quad_pixel(q, n - 1), PANEL);
}

static inline void quad_store_rows(uint8_t *y, ptrdiff_t step, quad q, int n, int lanes) {
    store_lanes(y, quad_pixel(q, 0), lanes);
    if (n > 1) store_lanes(y + step, quad_pixel(q, 1), lanes);
    if (n > 2) store_lanes(y + 2 * step, quad_pixel(q, 2), lanes);
    if (n > 3) store_lanes(y + 3 * step, quad_pixel(q, 3), lanes);
}

typedef struct {
    vi sums[VECTORS];
} panel_sums;

static inline panel_sums quad_sum(quad q, int n) {
    __m256i words = _mm256_cvtepu8_epi16(quad_pixel(q, 0));
    if (n > 1) words = _mm256_add_epi16(words, _mm256_cvtepu8_epi16(quad_pixel(q, 1)));
    if (n > 2) words = _mm256_add_epi16(words, _mm256_cvtepu8_epi16(quad_pixel(q, 2)));
    if (n > 3) words = _mm256_add_epi16(words, _mm256_cvtepu8_epi16(quad_pixel(q, 3)));
    return (panel_sums){{_mm256_cvtepu16_epi32(_mm256_castsi256_si128(words)),
                         _mm256_cvtepu16_epi32(_mm256_extracti128_si256(words, 1))}};
}
