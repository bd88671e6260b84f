/* SSE2, the baseline of x86-64: 16 registers of 4 sums, and no instruction beyond.
 *
 * Bytes become words, even ones and odd ones apart, and pmaddwd adds pairs: exact. Four groups of a
 * pixel are split at once, and then only broadcast. */
#include <emmintrin.h>

#define LANES 4
#define VECTORS 4
#define TILE_PANELS 1
#define TILE_PIXELS 4
#define LANE_GROUPS 4

typedef __m128i vi;

static inline vi vi_load(const int32_t *p) { return _mm_loadu_si128((const __m128i *)p); }
static inline void vi_store(int32_t *p, vi x) { _mm_storeu_si128((__m128i *)p, x); }
static inline vi vi_add(vi a, vi b) { return _mm_add_epi32(a, b); }
static inline vi vi_or(vi a, vi b) { return _mm_or_si128(a, b); }
static inline vi vi_shift_left(vi x, int bits) { return _mm_slli_epi32(x, bits); }
static inline vi vi_from_u8(const void *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    const __m128i zero = _mm_setzero_si128();
    return _mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(four), zero), zero);
}

typedef struct {
    __m128i even, odd; /* bytes 0 and 2 of each group, bytes 1 and 3, as words */
} vx, vw, vx_lanes;

static inline vx vx_from(__m128i x) {
    return (vx){_mm_and_si128(x, _mm_set1_epi16(0xff)), _mm_srli_epi16(x, 8)};
}
static inline vx_lanes vx_load(const uint8_t *p) {
    return vx_from(_mm_loadu_si128((const __m128i *)p));
}
static ALWAYS_INLINE vx vx_lane(vx_lanes x, int i) {
    switch (i) {
        case 0:
            return (vx){_mm_shuffle_epi32(x.even, 0x00), _mm_shuffle_epi32(x.odd, 0x00)};
        case 1:
            return (vx){_mm_shuffle_epi32(x.even, 0x55), _mm_shuffle_epi32(x.odd, 0x55)};
        case 2:
            return (vx){_mm_shuffle_epi32(x.even, 0xaa), _mm_shuffle_epi32(x.odd, 0xaa)};
        default:
            return (vx){_mm_shuffle_epi32(x.even, 0xff), _mm_shuffle_epi32(x.odd, 0xff)};
    }
}
static inline vx vx_broadcast(const uint8_t *p) {
    int32_t group;
    memcpy(&group, p, sizeof group);
    return vx_from(_mm_set1_epi32(group));
}
static inline vw vw_from(vi x) {
    return (vw){_mm_srai_epi16(_mm_slli_epi16(x, 8), 8), _mm_srai_epi16(x, 8)};
}
static inline vw vw_load(const int8_t *p) {
    return vw_from(_mm_loadu_si128((const __m128i *)p));
}
static inline vi vi_dot(vi sum, vx x, vw w) {
    const __m128i odd = _mm_madd_epi16(x.odd, w.odd);
    return _mm_add_epi32(sum, _mm_add_epi32(_mm_madd_epi16(x.even, w.even), odd));
}

static inline void vx_window(const uint8_t *p, vx *out) {
    const __m128i *rows = (const __m128i *)p;
    const __m128i a = _mm_loadu_si128(rows), b = _mm_loadu_si128(rows + 1);
    const __m128i c = _mm_loadu_si128(rows + 2), d = _mm_loadu_si128(rows + 3);
    /* Even words are pixels 0 and 2, odd ones 1 and 3. */
    const __m128i zero = _mm_setzero_si128();
    const __m128i even_low = _mm_unpacklo_epi8(a, c), even_high = _mm_unpackhi_epi8(a, c);
    const __m128i odd_low = _mm_unpacklo_epi8(b, d), odd_high = _mm_unpackhi_epi8(b, d);
    out[0] = (vx){_mm_unpacklo_epi8(even_low, zero), _mm_unpacklo_epi8(odd_low, zero)};
    out[1] = (vx){_mm_unpackhi_epi8(even_low, zero), _mm_unpackhi_epi8(odd_low, zero)};
    out[2] = (vx){_mm_unpacklo_epi8(even_high, zero), _mm_unpacklo_epi8(odd_high, zero)};
    out[3] = (vx){_mm_unpackhi_epi8(even_high, zero), _mm_unpackhi_epi8(odd_high, zero)};
}

typedef struct {
    __m128i factor[VECTORS]; /* 2^(31 - shift) */
    __m128i multiplier[2];   /* words */
    __m128i fraction;
} scaling;

static inline scaling scaling_load(const int32_t *row, int fraction) {
    scaling s = {.fraction = _mm_cvtsi32_si128(fraction)};
    __m128i all[VECTORS];
    UNROLL for (int v = 0; v < VECTORS; v++) {
        all[v] = vi_load(row + v * LANES);
        /* As the exponent of a float. 2^31 is too large for an int, and becomes just that. */
        const __m128i exponent =
            _mm_sub_epi32(_mm_set1_epi32(127 + 31), _mm_srli_epi32(all[v], 16));
        s.factor[v] = _mm_cvttps_epi32(_mm_castsi128_ps(_mm_slli_epi32(exponent, 23)));
        all[v] = _mm_and_si128(all[v], _mm_set1_epi32(0xffff));
    }
    s.multiplier[0] = _mm_packs_epi32(all[0], all[1]);
    s.multiplier[1] = _mm_packs_epi32(all[2], all[3]);
    return s;
}

/* x >> shift, which differs from lane to lane: 2^31 more than x, which is not negative, times the
 * factor has the result in its bits from 31 on, and there 2^(31 - shift) more. */
static inline __m128i shift_right(__m128i x, __m128i factor) {
    const __m128i more = _mm_xor_si128(x, _mm_set1_epi32(INT32_MIN));
    const __m128i even = _mm_srli_epi64(_mm_mul_epu32(more, factor), 31);
    const __m128i odd =
        _mm_mul_epu32(_mm_srli_epi64(more, 32), _mm_srli_epi64(factor, 32));
    const __m128i upper = _mm_and_si128(_mm_add_epi64(odd, odd), _mm_set_epi32(-1, 0, -1, 0));
    return _mm_sub_epi32(_mm_or_si128(even, upper), factor);
}

/* (x * m + 2^14) >> 15 of words, where m is not negative. */
static inline __m128i scale_words(__m128i x, __m128i m) {
    const __m128i high = _mm_mulhi_epi16(x, m), low = _mm_mullo_epi16(x, m);
    const __m128i rounded = _mm_avg_epu16(_mm_srli_epi16(low, 14), _mm_setzero_si128());
    return _mm_add_epi16(_mm_add_epi16(high, high), rounded);
}

/* v of 8 channels of a pixel, its half i. */
static inline __m128i scale_half(const vi *sums, int i, const scaling *s) {
    const __m128i low = shift_right(sums[2 * i], s->factor[2 * i]);
    const __m128i high = shift_right(sums[2 * i + 1], s->factor[2 * i + 1]);
    return scale_words(_mm_packs_epi32(low, high), s->multiplier[i]);
}

typedef struct {
    __m128i at[4];
} quad;

static inline __m128i bytes_from(__m128i low, __m128i high, const scaling *s) {
    return _mm_packus_epi16(_mm_sra_epi16(low, s->fraction), _mm_sra_epi16(high, s->fraction));
}

static inline quad quad_scale(vi (*sums)[VECTORS], const scaling *s) {
    quad q;
    UNROLL for (int p = 0; p < 4; p++)
        q.at[p] = bytes_from(scale_half(sums[p], 0, s), scale_half(sums[p], 1, s), s);
    return q;
}

static inline quad quad_scale_add(vi (*sums)[VECTORS], const scaling *s,
                                  const uint8_t *const *x, int multiplier) {
    const __m128i r = _mm_set1_epi16((int16_t)multiplier), zero = _mm_setzero_si128();
    quad q;
    UNROLL for (int p = 0; p < 4; p++) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)x[p]);
        const __m128i low = _mm_slli_epi16(_mm_unpacklo_epi8(bytes, zero), 6);
        const __m128i high = _mm_slli_epi16(_mm_unpackhi_epi8(bytes, zero), 6);
        q.at[p] = bytes_from(_mm_adds_epi16(scale_half(sums[p], 0, s), scale_words(low, r)),
                             _mm_adds_epi16(scale_half(sums[p], 1, s), scale_words(high, r)), s);
    }
    return q;
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
static ALWAYS_INLINE void quad_store_rows(uint8_t *y, ptrdiff_t step, quad q, int n, int lanes) {
    UNROLL for (int i = 0; i < 4; i++)
        if (i < n) store_lanes(y + i * step, q.at[i], lanes);
}
static ALWAYS_INLINE void quad_store(uint8_t *y, quad q, int n) {
    quad_store_rows(y, PANEL, q, n, PANEL);
}

typedef struct {
    vi sums[VECTORS];
} panel_sums;

static ALWAYS_INLINE panel_sums quad_sum(quad q, int n) {
    const __m128i zero = _mm_setzero_si128();
    __m128i low = zero, high = zero;
    UNROLL for (int i = 0; i < 4; i++) if (i < n) {
        low = _mm_add_epi16(low, _mm_unpacklo_epi8(q.at[i], zero));
        high = _mm_add_epi16(high, _mm_unpackhi_epi8(q.at[i], zero));
    }
    return (panel_sums){{_mm_unpacklo_epi16(low, zero), _mm_unpackhi_epi16(low, zero),
                         _mm_unpacklo_epi16(high, zero), _mm_unpackhi_epi16(high, zero)}};
}
