/* As fma_rate.c, of dot products, which take 2 or 4 terms of each lane: a chain is x = DOT(x). */
#if defined(__x86_64__)
#include <immintrin.h>

#define DECLARE_DOT(i) vector x##i = {0};
/* As far as the compiler knows, a and b change: else all chains would be one, of zeros. */
#define DOT_STEP(i)                 \
    __asm__("" : "+x"(a), "+x"(b)); \
    x##i = DOT(x##i);
#define ADD_DOT(i) sum += x##i;
#define MEASURE_DOT(name, type, element, operand, target)                                 \
    target float name(int64_t steps) {                                                    \
        typedef type vector;                                                              \
        operand a = {0}, b = {0};                                                         \
        EACH(DECLARE_DOT)                                                                 \
        for (int64_t step = 0; step < steps; step++) {                                    \
            EACH(DOT_STEP)                                                                \
        }                                                                                 \
        vector sum = {0};                                                                 \
        EACH(ADD_DOT)                                                                     \
        element values[sizeof sum / sizeof(element)];                                     \
        __builtin_memcpy(values, &sum, sizeof sum);                                       \
        float total = 0;                                                                  \
        for (unsigned i = 0; i < sizeof sum / sizeof(element); i++) total += values[i];   \
        return total;                                                                     \
    }

typedef int32_t int32x8 __attribute__((vector_size(32)));
typedef int32_t int32x16 __attribute__((vector_size(64)));
typedef float float32x16 __attribute__((vector_size(64)));
#define DOT(x) (x + (int32x8)_mm256_madd_epi16((__m256i)a, (__m256i)b))
MEASURE_DOT(avx2_int8, int32x8, int32_t, int32x8, __attribute__((target("avx2"))))
#undef DOT
#define DOT(x) (x + (int32x16)_mm512_madd_epi16((__m512i)a, (__m512i)b))
MEASURE_DOT(avx512_int8, int32x16, int32_t, int32x16, __attribute__((target("avx512bw"))))
#undef DOT
#define DOT(x) ((int32x8)_mm256_dpbusd_avx_epi32((__m256i)x, (__m256i)a, (__m256i)b))
MEASURE_DOT(avxvnni_int8, int32x8, int32_t, int32x8, __attribute__((target("avxvnni"))))
#undef DOT
#define DOT(x) ((int32x16)_mm512_dpbusd_epi32((__m512i)x, (__m512i)a, (__m512i)b))
MEASURE_DOT(avx512vnni_int8, int32x16, int32_t, int32x16, __attribute__((target("avx512vnni"))))
#undef DOT
#define DOT(x) ((float32x16)_mm512_dpbf16_ps((__m512)x, a, b))
MEASURE_DOT(avx512bf16_bfloat16, float32x16, float, __m512bh,
            __attribute__((target("avx512bf16"))))
#undef DOT

/* AMX: CHAINS products in six C tiles, two of each. */
#define TILE_DOTS(dot)                                                             \
    dot " %%tmm7, %%tmm6, %%tmm0\n" dot " %%tmm7, %%tmm6, %%tmm1\n"                \
    dot " %%tmm7, %%tmm6, %%tmm2\n" dot " %%tmm7, %%tmm6, %%tmm3\n"                \
    dot " %%tmm7, %%tmm6, %%tmm4\n" dot " %%tmm7, %%tmm6, %%tmm5\n"
#define MEASURE_TILES(name, dot)                                                   \
    float name(int64_t steps) {                                                    \
        struct {                                                                   \
            uint8_t palette, reserved[15];                                         \
            uint16_t bytes[16];                                                    \
            uint8_t rows[16];                                                      \
        } shapes = {.palette = 1};                                                 \
        for (int t = 0; t < 8; t++) shapes.bytes[t] = 64, shapes.rows[t] = 16;     \
        __asm__ volatile("ldtilecfg %0" : : "m"(shapes));                          \
        for (int64_t step = 0; step < steps; step++)                               \
            __asm__ volatile(TILE_DOTS(dot) TILE_DOTS(dot) : :);                   \
        __asm__ volatile("tilerelease");                                           \
        return 0;                                                                  \
    }
MEASURE_TILES(avx512amx_int8, "tdpbusd")
MEASURE_TILES(avx512amx_bfloat16, "tdpbf16ps")
#endif
