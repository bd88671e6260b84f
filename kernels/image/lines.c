/* The inner loops of a resize, compiled once for each instruction set (../isas.def).
 *
 *   along    out[p] = sum over t of weight[p][t] * line[start[p] + t], three channels beside each
 *            other: two taps of four channels are one vector of 8 numbers, and a multiply-and-add
 *            of pairs adds both. Bounds it: the multiplications, two for each two taps.
 *   first, add, finish    sums over lines, an element each: the compiler's own vectors do. */
#include "lines.h"

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define LINES JOIN(mnv2_lines_, MNV2_ISA_NAME)

enum { HALF = 1 << (WEIGHT_BITS - 1) };

static inline uint8_t as_byte(int32_t sum) {
    const int32_t x = sum >> WEIGHT_BITS;
    return (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x);
}

#if defined(__SSE2__)
#include <immintrin.h>
#include <string.h>

static inline void store_pixel(uint8_t *out, uint32_t rgbx) {
    const uint16_t two = (uint16_t)rgbx;
    memcpy(out, &two, sizeof two); /* x86: the lower byte first */
    out[2] = (uint8_t)(rgbx >> 16);
}

/* Four channels' sums as a pixel. */
static inline uint32_t pixel_of(__m128i sums) {
    const __m128i sum = _mm_add_epi32(sums, _mm_set1_epi32(HALF));
    const __m128i words = _mm_packs_epi32(_mm_srai_epi32(sum, WEIGHT_BITS), sum);
    return (uint32_t)_mm_cvtsi128_si32(_mm_packus_epi16(words, words));
}
#endif

#if defined(__AVX512BW__)
/* The pairs of a group, 4 numbers of 32 bits, each in the four lanes of its two pixels. */
static inline __m512i spread(const int16_t *weights) {
    const __m512i each = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    return _mm512_permutexvar_epi32(
        each, _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)weights)));
}

/* Both parts of the sums, of the four places where they lie. */
static inline __m128i folded(__m512i high, __m512i low) {
    const __m512i x = _mm512_add_epi32(_mm512_slli_epi32(high, LOW_BITS), low);
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

static void along(const along_taps *taps, const uint8_t *line, uint8_t *out, int64_t step) {
    /* In each 16 bytes, two pixels of 8 words: both reds, both greens, both blues. */
    const __m512i pairs = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
    const int16_t *w = taps->weights;
    for (int32_t p = 0; p < taps->count; p++, out += step) {
        const uint8_t *x = line + (int64_t)taps->starts[p] * 4;
        __m512i high = _mm512_setzero_si512(), low = high;
        for (int32_t g = 0; g < taps->groups; g++, x += GROUP_TAPS * 4, w += 2 * GROUP_TAPS) {
            const __m512i both = _mm512_shuffle_epi8(
                _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)x)), pairs);
            high = _mm512_add_epi32(high, _mm512_madd_epi16(both, spread(w)));
            low = _mm512_add_epi32(low, _mm512_madd_epi16(both, spread(w + GROUP_TAPS)));
        }
        store_pixel(out, pixel_of(folded(high, low)));
    }
}
#elif defined(__AVX2__)
static inline __m256i spread(__m256i weights, int pair) {
    const __m256i each = pair ? _mm256_set_epi32(3, 3, 3, 3, 2, 2, 2, 2)
                              : _mm256_set_epi32(1, 1, 1, 1, 0, 0, 0, 0);
    return _mm256_permutevar8x32_epi32(weights, each);
}

static inline __m128i folded(__m256i high, __m256i low) {
    const __m256i x = _mm256_add_epi32(_mm256_slli_epi32(high, LOW_BITS), low);
    return _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
}

static void along(const along_taps *taps, const uint8_t *line, uint8_t *out, int64_t step) {
    const __m256i pairs = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
    const int16_t *w = taps->weights;
    for (int32_t p = 0; p < taps->count; p++, out += step) {
        const uint8_t *x = line + (int64_t)taps->starts[p] * 4;
        __m256i high = _mm256_setzero_si256(), low = high;
        for (int32_t g = 0; g < taps->groups; g++, x += GROUP_TAPS * 4, w += 2 * GROUP_TAPS) {
            const __m256i highs = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)w));
            const __m256i lows =
                _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(w + GROUP_TAPS)));
            for (int i = 0; i < 2; i++) {
                const __m256i both = _mm256_shuffle_epi8(
                    _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(x + i * 16))), pairs);
                high = _mm256_add_epi32(high, _mm256_madd_epi16(both, spread(highs, i)));
                low = _mm256_add_epi32(low, _mm256_madd_epi16(both, spread(lows, i)));
            }
        }
        store_pixel(out, pixel_of(folded(high, low)));
    }
}
#elif defined(__SSE2__)
/* Pair `i` of a group in all lanes. */
#define SPREAD(weights, i) _mm_shuffle_epi32(weights, (i) * 0x55)
#define ADD_PAIR(i)                                                                   \
    do {                                                                              \
        const __m128i two = _mm_loadl_epi64((const __m128i *)(x + (i) * 8));          \
        const __m128i both =                                                          \
            _mm_unpacklo_epi8(_mm_unpacklo_epi8(two, _mm_srli_epi64(two, 32)), zero); \
        high = _mm_add_epi32(high, _mm_madd_epi16(both, SPREAD(highs, i)));           \
        low = _mm_add_epi32(low, _mm_madd_epi16(both, SPREAD(lows, i)));              \
    } while (0)

static void along(const along_taps *taps, const uint8_t *line, uint8_t *out, int64_t step) {
    const __m128i zero = _mm_setzero_si128();
    const int16_t *w = taps->weights;
    for (int32_t p = 0; p < taps->count; p++, out += step) {
        const uint8_t *x = line + (int64_t)taps->starts[p] * 4;
        __m128i high = zero, low = zero;
        for (int32_t g = 0; g < taps->groups; g++, x += GROUP_TAPS * 4, w += 2 * GROUP_TAPS) {
            const __m128i highs = _mm_loadu_si128((const __m128i *)w);
            const __m128i lows = _mm_loadu_si128((const __m128i *)(w + GROUP_TAPS));
            ADD_PAIR(0);
            ADD_PAIR(1);
            ADD_PAIR(2);
            ADD_PAIR(3);
        }
        store_pixel(out, pixel_of(_mm_add_epi32(_mm_slli_epi32(high, LOW_BITS), low)));
    }
}
#else
static void along(const along_taps *taps, const uint8_t *line, uint8_t *out, int64_t step) {
    const int16_t *w = taps->weights;
    for (int32_t p = 0; p < taps->count; p++, out += step) {
        const uint8_t *x = line + (int64_t)taps->starts[p] * 4;
        int32_t high[4] = {0}, low[4] = {0}; /* apart: together they might pass 32 bits meanwhile */
        for (int32_t g = 0; g < taps->groups; g++, x += GROUP_TAPS * 4, w += 2 * GROUP_TAPS)
            for (int t = 0; t < GROUP_TAPS; t++)
                for (int c = 0; c < 4; c++) {
                    high[c] += w[t] * x[t * 4 + c];
                    low[c] = (int32_t)((uint32_t)low[c] +
                                       (uint32_t)(w[t + GROUP_TAPS] * x[t * 4 + c]));
                }
        for (int c = 0; c < 3; c++)
            out[c] = as_byte((int32_t)(((uint32_t)high[c] << LOW_BITS) + (uint32_t)low[c] + HALF));
    }
}
#endif

static void first(int32_t *restrict sums, const uint8_t *restrict line, int32_t weight,
                  int32_t count) {
    for (int32_t i = 0; i < count; i++) sums[i] = HALF + weight * line[i];
}

static void add(int32_t *restrict sums, const uint8_t *restrict line, int32_t weight,
                int32_t count) {
    for (int32_t i = 0; i < count; i++) sums[i] += weight * line[i];
}

static void finish(const int32_t *restrict sums, uint8_t *restrict out, int32_t count) {
    for (int32_t i = 0; i < count; i++) out[i] = as_byte(sums[i]);
}

static void widen(const uint8_t *restrict rgb, uint8_t *restrict rgbx, int32_t pixels) {
    for (int32_t i = 0; i < pixels; i++) {
        rgbx[i * 4] = rgb[i * 3];
        rgbx[i * 4 + 1] = rgb[i * 3 + 1];
        rgbx[i * 4 + 2] = rgb[i * 3 + 2];
        rgbx[i * 4 + 3] = 0;
    }
}

extern const mnv2_lines LINES;

const mnv2_lines LINES = {along, first, add, finish, widen};
