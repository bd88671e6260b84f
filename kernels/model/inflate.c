/* Canonical Huffman codes are decoded bit by bit: slow (some 50 MB a second) and short. It is for
 * files that were saved again; model files as they are written are not compressed. */
#include "inflate.h"

#include <stdbool.h>
#include <string.h>

enum { MAX_BITS = 15, LITERALS = 288, DISTANCES = 32, END_OF_BLOCK = 256 };

typedef struct {
    const uint8_t *x, *x_end;
    uint8_t *y, *y_first, *y_end;
    uint32_t bits; /* read, and not yet used: the next one lowest */
    int held;
    inflate_result result; /* of what failed */
} stream;

/* How many codes there are of each length, and their symbols in the order of the codes. */
typedef struct {
    uint16_t count[MAX_BITS + 1];
    uint16_t symbols[LITERALS];
} code;

static bool fail(stream *s, inflate_result result) {
    s->result = result;
    return false;
}

static bool take(stream *s, int count, uint32_t *value) {
    while (s->held < count) {
        if (s->x == s->x_end) return fail(s, INFLATE_OTHER_SIZE);
        s->bits |= (uint32_t)*s->x++ << s->held;
        s->held += 8;
    }
    *value = s->bits & ((UINT32_C(1) << count) - 1);
    s->bits >>= count;
    s->held -= count;
    return true;
}

/* From the length of each symbol's code. False if no code has such lengths; one of a single symbol
 * may be incomplete, if `may_be_single`. */
static bool make_code(code *made, const uint8_t *lengths, int symbols, bool may_be_single) {
    uint16_t next[MAX_BITS + 2] = {0};
    memset(made->count, 0, sizeof made->count);
    for (int i = 0; i < symbols; i++) made->count[lengths[i]]++;
    const int used = symbols - made->count[0];
    made->count[0] = 0;
    int left = 1, longest = 0;
    for (int bits = 1; bits <= MAX_BITS; bits++) {
        left = 2 * left - made->count[bits];
        if (left < 0) return false; /* more codes than there are */
        if (made->count[bits]) longest = bits;
        next[bits + 1] = (uint16_t)(next[bits] + made->count[bits]);
    }
    if (left > 0 && used > 0 && !(may_be_single && longest == 1)) return false;
    for (int i = 0; i < symbols; i++)
        if (lengths[i]) made->symbols[next[lengths[i]]++] = (uint16_t)i;
    return true;
}

static bool symbol_of(stream *s, const code *codes, uint32_t *symbol) {
    int value = 0, first = 0, index = 0; /* the code so far; the first of its length */
    for (int bits = 1; bits <= MAX_BITS; bits++) {
        uint32_t bit;
        if (!take(s, 1, &bit)) return false;
        value |= (int)bit;
        const int count = codes->count[bits];
        if (value - first < count) {
            *symbol = codes->symbols[index + value - first];
            return true;
        }
        index += count;
        first = (first + count) * 2;
        value *= 2;
    }
    return fail(s, INFLATE_DAMAGED);
}

static bool copy_stored(stream *s) {
    s->bits = 0; /* at most 7 bits are left of a byte: whole ones are not read ahead */
    s->held = 0;
    if (s->x_end - s->x < 4) return fail(s, INFLATE_OTHER_SIZE);
    const uint32_t length = s->x[0] | (uint32_t)s->x[1] << 8;
    if ((length ^ 0xFFFF) != (s->x[2] | (uint32_t)s->x[3] << 8)) return fail(s, INFLATE_DAMAGED);
    s->x += 4;
    if (s->x_end - s->x < (ptrdiff_t)length || s->y_end - s->y < (ptrdiff_t)length)
        return fail(s, INFLATE_OTHER_SIZE);
    if (length) memcpy(s->y, s->x, length);
    s->x += length;
    s->y += length;
    return true;
}

/* Lengths and distances begin at `base` and have so many bits more. */
static const uint16_t length_base[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,
                                         15, 17, 19, 23, 27, 31, 35, 43, 51,  59,
                                         67, 83, 99, 115, 131, 163, 195, 227, 258};
static const uint8_t length_more[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                        2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
static const uint16_t distance_base[30] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,
                                           33,  49,  65,  97,  129, 193,  257,  385,  513,  769,
                                           1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385,
                                           24577};
static const uint8_t distance_more[30] = {0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
                                          6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};

static bool copy_coded(stream *s, const code *literals, const code *distances) {
    for (;;) {
        uint32_t symbol, more;
        if (!symbol_of(s, literals, &symbol)) return false;
        if (symbol == END_OF_BLOCK) return true;
        if (symbol < END_OF_BLOCK) {
            if (s->y == s->y_end) return fail(s, INFLATE_OTHER_SIZE);
            *s->y++ = (uint8_t)symbol;
            continue;
        }
        symbol -= END_OF_BLOCK + 1;
        if (symbol >= 29) return fail(s, INFLATE_DAMAGED);
        if (!take(s, length_more[symbol], &more)) return false;
        const ptrdiff_t length = (ptrdiff_t)(length_base[symbol] + more);
        if (!symbol_of(s, distances, &symbol)) return false;
        if (symbol >= 30) return fail(s, INFLATE_DAMAGED);
        if (!take(s, distance_more[symbol], &more)) return false;
        const ptrdiff_t distance = (ptrdiff_t)(distance_base[symbol] + more);
        if (distance > s->y - s->y_first) return fail(s, INFLATE_DAMAGED);
        if (length > s->y_end - s->y) return fail(s, INFLATE_OTHER_SIZE);
        for (ptrdiff_t i = 0; i < length; i++) s->y[i] = s->y[i - distance]; /* may overlap */
        s->y += length;
    }
}

static bool copy_fixed(stream *s) {
    uint8_t lengths[LITERALS];
    code literals, distances;
    for (int i = 0; i < LITERALS; i++)
        lengths[i] = (uint8_t)(i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8);
    make_code(&literals, lengths, LITERALS, false);
    memset(lengths, 5, DISTANCES);
    make_code(&distances, lengths, DISTANCES, false);
    return copy_coded(s, &literals, &distances);
}

static bool copy_dynamic(stream *s) {
    static const uint8_t order[19] = {16, 17, 18, 0, 8, 7,  9,  6,  10, 5,
                                      11, 4,  12, 3, 13, 2, 14, 1, 15};
    enum { COPY_LAST = 16, FEW_ZEROS = 17, MANY_ZEROS = 18 };
    uint8_t lengths[LITERALS + DISTANCES] = {0};
    code of_lengths, literals, distances;
    uint32_t literal_count, distance_count, length_count, value;
    if (!take(s, 5, &literal_count) || !take(s, 5, &distance_count) || !take(s, 4, &length_count))
        return false;
    literal_count += 257;
    distance_count += 1;
    if (literal_count > 286 || distance_count > 30) return fail(s, INFLATE_DAMAGED);
    for (uint32_t i = 0; i < length_count + 4; i++) {
        if (!take(s, 3, &value)) return false;
        lengths[order[i]] = (uint8_t)value;
    }
    if (!make_code(&of_lengths, lengths, 19, false)) return fail(s, INFLATE_DAMAGED);
    memset(lengths, 0, sizeof lengths);
    for (uint32_t i = 0; i < literal_count + distance_count;) {
        uint32_t symbol;
        if (!symbol_of(s, &of_lengths, &symbol)) return false;
        if (symbol < COPY_LAST) {
            lengths[i++] = (uint8_t)symbol;
            continue;
        }
        if (symbol == COPY_LAST && i == 0) return fail(s, INFLATE_DAMAGED);
        const uint8_t repeated = symbol == COPY_LAST ? lengths[i - 1] : 0;
        const int bits = symbol == COPY_LAST ? 2 : symbol == FEW_ZEROS ? 3 : 7;
        if (!take(s, bits, &value)) return false;
        value += symbol == MANY_ZEROS ? 11 : 3;
        if (i + value > literal_count + distance_count) return fail(s, INFLATE_DAMAGED);
        while (value--) lengths[i++] = repeated;
    }
    if (lengths[END_OF_BLOCK] == 0) return fail(s, INFLATE_DAMAGED);
    if (!make_code(&literals, lengths, (int)literal_count, true) ||
        !make_code(&distances, lengths + literal_count, (int)distance_count, true))
        return fail(s, INFLATE_DAMAGED);
    return copy_coded(s, &literals, &distances);
}

inflate_result inflate_whole(const uint8_t *x, size_t x_bytes, uint8_t *y, size_t size) {
    stream s = {.x = x, .x_end = x + x_bytes, .y = y, .y_first = y, .y_end = y + size};
    uint32_t is_last = 0, kind;
    while (!is_last) {
        if (!take(&s, 1, &is_last) || !take(&s, 2, &kind)) return s.result;
        const bool done = kind == 0   ? copy_stored(&s)
                          : kind == 1 ? copy_fixed(&s)
                          : kind == 2 ? copy_dynamic(&s)
                                      : fail(&s, INFLATE_DAMAGED);
        if (!done) return s.result;
    }
    return s.x == s.x_end && s.y == s.y_end ? INFLATED : INFLATE_OTHER_SIZE;
}
