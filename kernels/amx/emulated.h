/* The tile registers in plain C, for the tests on machines without AMX: the same bits.
 *
 * tdpbusd adds exact products of unsigned and signed bytes to 32-bit sums. tdpbf16ps adds to C
 * the sum of two chains, of the even and of the odd terms of a row: each is fused multiply-adds
 * from zero on, every sum rounded to nearest even, denormals zero. A register that was not
 * configured, or is too small for its use, ends the program, as the CPU does. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    tile_shapes shapes;
    unsigned char registers[8][16][64];
} tile_state;

static _Thread_local tile_state emulated;

static inline void tiles_configure(const tile_shapes *shapes) {
    memset(&emulated, 0, sizeof emulated);
    emulated.shapes = *shapes;
    for (int t = 0; t < 8; t++)
        if (shapes->palette != 1 || shapes->bytes[t] > 64 || shapes->rows[t] > 16) abort();
}
static inline void tiles_release(void) { memset(&emulated, 0, sizeof emulated); }
static inline void tiles_order(void) {}

static inline void tile_copy(int t, void *to, const void *from, ptrdiff_t step, int is_load) {
    if (emulated.shapes.rows[t] == 0) abort();
    for (int row = 0; row < emulated.shapes.rows[t]; row++) {
        unsigned char *mine = emulated.registers[t][row];
        if (is_load)
            memcpy(mine, (const char *)from + row * step, emulated.shapes.bytes[t]);
        else
            memcpy((char *)to + row * step, mine, emulated.shapes.bytes[t]);
    }
}

static inline float tile_flushed(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x; }

static inline float tile_bfloat16(const unsigned char *p) {
    const uint32_t bits = (uint32_t)p[1] << 24 | (uint32_t)p[0] << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return tile_flushed(x);
}

/* One sum: a is a row of `bytes`, b a column, 64 bytes from one of its elements to the next. */
static inline void tile_sum(unsigned char *c, const unsigned char *a, const unsigned char *b,
                            int bytes) {
#if defined(MNV2_NUMBERS_INT8)
    uint32_t sum;
    memcpy(&sum, c, sizeof sum);
    for (int i = 0; i < bytes; i++)
        sum += (uint32_t)(a[i] * (signed char)b[i / 4 * 64 + i % 4]); /* may wrap */
#else
    float sum, chain[2] = {0.0f, 0.0f};
    for (int i = 0; i < bytes / 2; i++)
        chain[i % 2] = tile_flushed(fmaf(tile_bfloat16(a + 2 * i),
                                         tile_bfloat16(b + i / 2 * 64 + i % 2 * 2), chain[i % 2]));
    memcpy(&sum, c, sizeof sum);
    sum = tile_flushed(tile_flushed(sum) + tile_flushed(chain[0] + chain[1]));
#endif
    memcpy(c, &sum, sizeof sum);
}

static inline void tile_dot(int c, int a, int b) {
    const tile_shapes *s = &emulated.shapes;
    if (s->rows[c] == 0 || s->rows[c] != s->rows[a] || s->bytes[c] != s->bytes[b] ||
        s->bytes[a] != 4 * s->rows[b])
        abort();
    for (int m = 0; m < s->rows[c]; m++)
        for (int n = 0; n < s->bytes[c]; n += 4)
            tile_sum(emulated.registers[c][m] + n, emulated.registers[a][m],
                     emulated.registers[b][0] + n, s->bytes[a]);
}

#define TILE_LOAD(t, p, step) tile_copy(t, NULL, p, step, 1)
#define TILE_STORE(t, p, step) tile_copy(t, p, NULL, step, 0)
#define TILE_DOT(c, a, b) tile_dot(c, a, b)
