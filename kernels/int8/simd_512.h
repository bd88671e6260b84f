/* AVX-512 (F, BW, VL), with VNNI but for MNV2_ISA_AVX512: 32 registers of 16 sums.
 *
 * 14 pixels x 2 panels = 28 accumulators, 2 weights, 1 broadcast. vpdpbusd has 4 or 5 cycles of
 * latency at two a cycle (Zen 4, Zen 5, Ice Lake). Without VNNI, bytes become words, even ones and
 * odd ones apart, and vpmaddwd adds pairs: exact, where vpmaddubsw would saturate. */
#include <immintrin.h>

#define LANES 16
#define VECTORS 1
#define TILE_PANELS 2
#if !defined(MNV2_ISA_AVX512)
#define TILE_PIXELS 14
#else
#define TILE_PIXELS 12
#endif

typedef __m512i vi;

static inline vi vi_load(const int32_t *p) { return _mm512_loadu_si512(p); }
static inline void vi_store(int32_t *p, vi x) { _mm512_storeu_si512(p, x); }
static inline vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
static inline vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
static inline vi vi_shift_left(vi x, int bits) { return _mm512_slli_epi32(x, (unsigned)bits); }
static inline vi vi_from_u8(const void *p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}

#if !defined(MNV2_ISA_AVX512)
typedef __m512i vx, vw;
static inline vx vx_from(__m512i x) { return x; }
static inline vw vw_from(vi x) { return x; }
/* Not the intrinsic: with it GCC 12 keeps a register tile's sums in memory. */
static inline vi vi_dot(vi sum, vx x, vw w) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
    return sum;
}
#else
typedef struct {
    __m512i even, odd; /* bytes 0 and 2 of each group, bytes 1 and 3, as words */
} vx, vw;
static inline vx vx_from(__m512i x) {
    return (vx){_mm512_and_si512(x, _mm512_set1_epi16(0xff)), _mm512_srli_epi16(x, 8)};
}
static inline vw vw_from(vi x) {
    return (vw){_mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8), _mm512_srai_epi16(x, 8)};
}
static inline vi vi_dot(vi sum, vx x, vw w) {
    const __m512i odd = _mm512_madd_epi16(x.odd, w.odd);
    return _mm512_add_epi32(_mm512_add_epi32(sum, _mm512_madd_epi16(x.even, w.even)), odd);
}
#endif

static inline vw vw_load(const int8_t *p) { return vw_from(_mm512_loadu_si512(p)); }
static inline vx vx_broadcast(const uint8_t *p) {
    int32_t group;
    memcpy(&group, p, sizeof group);
    return vx_from(_mm512_set1_epi32(group));
}

/* Rows of a 4 x 4 matrix of int32 become its columns; a quad's bytes, back and forth. */
static inline __m512i transpose_groups(__m512i x) {
    const __m512i order =
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, x);
}

#if defined(MNV2_ISA_AVX512AMX)
/* One instruction of AVX512_VBMI for both. */
static inline void vx_window(const uint8_t *p, vx *out) {
    const __m512i order = _mm512_setr_epi32(
        0x30201000, 0x31211101, 0x32221202, 0x33231303, 0x34241404, 0x35251505, 0x36261606,
        0x37271707, 0x38281808, 0x39291909, 0x3a2a1a0a, 0x3b2b1b0b, 0x3c2c1c0c, 0x3d2d1d0d,
        0x3e2e1e0e, 0x3f2f1f0f);
    out[0] = _mm512_permutexvar_epi8(order, _mm512_loadu_si512(p));
}
#else
static inline void vx_window(const uint8_t *p, vx *out) {
    const __m512i bytes = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    const __m512i groups = transpose_groups(_mm512_loadu_si512(p));
    out[0] = vx_from(_mm512_shuffle_epi8(groups, bytes));
}
#endif

typedef struct {
    __m512i shift, multiplier; /* words: as the pack of two sums has them */
    __m128i fraction;
} scaling;

static inline scaling scaling_load(const int32_t *row, int fraction) {
    const __m512i both = _mm512_loadu_si512(row);
    const __m512i multiplier = _mm512_and_si512(both, _mm512_set1_epi32(0xffff));
    return (scaling){
        .shift = _mm512_srli_epi32(both, 16),
        .multiplier = _mm512_packs_epi32(multiplier, multiplier),
        .fraction = _mm_cvtsi32_si128(fraction),
    };
}

typedef __m512i quad;

/* v of two pixels: words, of which each 16 bytes hold four channels of one and of the other. */
static inline __m512i scale_pair(vi a, vi b, const scaling *s) {
    const __m512i t = _mm512_packs_epi32(_mm512_srav_epi32(a, s->shift),
                                         _mm512_srav_epi32(b, s->shift));
    return _mm512_mulhrs_epi16(t, s->multiplier);
}

static inline quad quad_from(__m512i low, __m512i high, const scaling *s) {
    return transpose_groups(_mm512_packus_epi16(_mm512_sra_epi16(low, s->fraction),
                                                _mm512_sra_epi16(high, s->fraction)));
}

static inline quad quad_scale(vi (*sums)[VECTORS], const scaling *s) {
    return quad_from(scale_pair(sums[0][0], sums[1][0], s),
                     scale_pair(sums[2][0], sums[3][0], s), s);
}

static inline quad quad_scale_add(vi (*sums)[VECTORS], const scaling *s,
                                  const uint8_t *const *p, int multiplier) {
    const __m512i r = _mm512_set1_epi16((int16_t)multiplier), zero = _mm512_setzero_si512();
    __m512i x = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p[0]));
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)p[1]), 1);
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)p[2]), 2);
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)p[3]), 3);
    x = transpose_groups(x);
    const __m512i low = _mm512_slli_epi16(_mm512_unpacklo_epi8(x, zero), 6);
    const __m512i high = _mm512_slli_epi16(_mm512_unpackhi_epi8(x, zero), 6);
    return quad_from(
        _mm512_adds_epi16(scale_pair(sums[0][0], sums[1][0], s), _mm512_mulhrs_epi16(low, r)),
        _mm512_adds_epi16(scale_pair(sums[2][0], sums[3][0], s), _mm512_mulhrs_epi16(high, r)),
        s);
}

static inline void quad_store(uint8_t *y, quad q, int n) {
    if (n == 4)
        _mm512_storeu_si512(y, q);
    else
        _mm512_mask_storeu_epi32(y, (__mmask16)((1u << (n * 4)) - 1u), q);
}

static inline void quad_store_rows(uint8_t *y, ptrdiff_t step, quad q, int n, int lanes) {
    const __mmask16 first = (__mmask16)((1u << lanes) - 1u);
    _mm_mask_storeu_epi8(y, first, _mm512_castsi512_si128(q));
    if (n > 1) _mm_mask_storeu_epi8(y + step, first, _mm512_extracti32x4_epi32(q, 1));
    if (n > 2) _mm_mask_storeu_epi8(y + 2 * step, first, _mm512_extracti32x4_epi32(q, 2));
    if (n > 3) _mm_mask_storeu_epi8(y + 3 * step, first, _mm512_extracti32x4_epi32(q, 3));
}

#if defined(MNV2_ISA_AVX512AMX)
/* Whole panels. In memory the instruction takes a quarter without a shuffle; GCC makes two of it. */
#define STORE_QUARTER(i, p) \
    __asm__("vextracti32x4 $" #i ", %1, %0" : "=m"(*(__m128i_u *)(p)) : "v"(q));
static inline void quad_store_apart(uint8_t *y, ptrdiff_t step, quad q, int n) {
    _mm_storeu_si128((__m128i *)y, _mm512_castsi512_si128(q));
    if (n > 1) STORE_QUARTER(1, y + step)
    if (n > 2) STORE_QUARTER(2, y + 2 * step)
    if (n > 3) STORE_QUARTER(3, y + 3 * step)
}
#endif

typedef struct {
    vi sums[VECTORS];
} panel_sums;

static inline __m256i pixel_words(quad q, int i) {
    const __m128i bytes = i == 0   ? _mm512_castsi512_si128(q)
                          : i == 1 ? _mm512_extracti32x4_epi32(q, 1)
                          : i == 2 ? _mm512_extracti32x4_epi32(q, 2)
                                   : _mm512_extracti32x4_epi32(q, 3);
    return _mm256_cvtepu8_epi16(bytes);
}

static inline panel_sums quad_sum(quad q, int n) {
    __m256i words = pixel_words(q, 0);
    if (n > 1) words = _mm256_add_epi16(words, pixel_words(q, 1));
    if (n > 2) words = _mm256_add_epi16(words, pixel_words(q, 2));
    if (n > 3) words = _mm256_add_epi16(words, pixel_words(q, 3));
    return (panel_sums){{_mm512_cvtepu16_epi32(words)}};
}
