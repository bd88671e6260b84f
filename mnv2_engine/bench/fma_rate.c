/* The most multiply-adds that a core does: twelve chains that depend on nothing but themselves, in
 * registers. A fused multiply-add takes 4 cycles and two start in each on today's cores, so eight
 * chains fill them; without fusion the two take 6 to 8, and twelve do. Each function runs `steps`
 * rounds of 12 x lanes multiply-adds and returns a sum, so that none can be left out. */
#include <stdint.h>

#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

#define DECLARE(i) vector x##i = factor * (1.0f + i);
#define STEP(i) x##i = MULTIPLY_ADD(x##i, factor, term);
#define ADD(i) sum += x##i;

/* Values tend to 1: neither denormal nor infinite. */
#define MEASURE(name, width, target)                                                      \
    target float name(int64_t steps) {                                                    \
        typedef float vector __attribute__((vector_size(4 * width)));                     \
        const vector zero = {0}, factor = zero + 0.75f, term = zero + 0.25f;              \
        EACH(DECLARE)                                                                     \
        for (int64_t step = 0; step < steps; step++) {                                    \
            EACH(STEP)                                                                    \
        }                                                                                 \
        vector sum = zero;                                                                \
        EACH(ADD)                                                                         \
        float total = 0;                                                                  \
        for (int i = 0; i < width; i++) total += sum[i];                                  \
        return total;                                                                     \
    }

#define MULTIPLY_ADD(x, a, b) ((x) * (a) + (b)) /* -ffp-contract=off: two instructions */
MEASURE(baseline, 4, )
#undef MULTIPLY_ADD

#if defined(__x86_64__)
#include <immintrin.h>
#define MULTIPLY_ADD(x, a, b) _mm256_fmadd_ps(x, a, b)
MEASURE(avx2, 8, __attribute__((target("avx2,fma"))))
#undef MULTIPLY_ADD
#define MULTIPLY_ADD(x, a, b) _mm512_fmadd_ps(x, a, b)
MEASURE(avx512, 16, __attribute__((target("avx512f"))))
#elif defined(__aarch64__)
#include <arm_neon.h>
#define MULTIPLY_ADD(x, a, b) vfmaq_f32(b, x, a)
MEASURE(neon, 4, )
#endif

#include "dot_rates.h"
