/* Which instruction sets were built, for which precisions, and which of them this machine has. The
 * build defines MNV2_BUILT_<NAME> for each set that it was asked for. */
#include <stddef.h>

#include "isa.h"

/* The precisions that are computed in float32. */
#define DECLARE_FLOAT_STEPS(name)                                                         \
    extern const mnv2_steps mnv2_steps_float32_##name, mnv2_steps_float16_weights_##name, \
        mnv2_steps_bfloat16_weights_##name;
#define FLOAT_STEPS(name)                                        \
    [MNV2_FLOAT32] = &mnv2_steps_float32_##name,                 \
    [MNV2_FLOAT16_WEIGHTS] = &mnv2_steps_float16_weights_##name, \
    [MNV2_BFLOAT16_WEIGHTS] = &mnv2_steps_bfloat16_weights_##name
#define INT8_STEPS(name) [MNV2_INT8] = &mnv2_steps_int8_##name
#define MAYBE_UNUSED __attribute__((unused)) /* where its set was not built */

DECLARE_FLOAT_STEPS(baseline)
extern const mnv2_steps mnv2_steps_int8_baseline;

MAYBE_UNUSED static int supported_baseline(void) { return 1; }

#if defined(__x86_64__)
DECLARE_FLOAT_STEPS(avx512)
DECLARE_FLOAT_STEPS(avx2)
extern const mnv2_steps mnv2_steps_bfloat16_avx512bf16;
extern const mnv2_steps mnv2_steps_int8_avx512vnni, mnv2_steps_int8_avx512;
extern const mnv2_steps mnv2_steps_int8_avxvnni, mnv2_steps_int8_avx2;

/* The compiler's own check: cpuid, and XGETBV for registers that the system saves. Older
 * compilers do not know the newest names, which are left out with their sets. */
#if defined(MNV2_BUILT_AVX2) || defined(MNV2_BUILT_AVXVNNI)
static int supported_avx2(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
}
#endif

#ifdef MNV2_BUILT_AVXVNNI
static int supported_avxvnni(void) {
    return supported_avx2() && __builtin_cpu_supports("avxvnni");
}
#endif

MAYBE_UNUSED static int supported_avx512(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
}

MAYBE_UNUSED static int supported_avx512vnni(void) {
    return supported_avx512() && __builtin_cpu_supports("avx512vnni");
}

#ifdef MNV2_BUILT_AVX512BF16
static int supported_avx512bf16(void) {
    return supported_avx512vnni() && __builtin_cpu_supports("avx512bf16");
}
#endif
#endif

static const struct mnv2_isa built[] = {
#ifdef MNV2_BUILT_AVX512BF16
    {"avx512bf16",
     supported_avx512bf16,
     {FLOAT_STEPS(avx512), INT8_STEPS(avx512vnni),
      [MNV2_BFLOAT16] = &mnv2_steps_bfloat16_avx512bf16}},
#endif
#ifdef MNV2_BUILT_AVX512VNNI
    {"avx512vnni", supported_avx512vnni, {FLOAT_STEPS(avx512), INT8_STEPS(avx512vnni)}},
#endif
#ifdef MNV2_BUILT_AVX512
    {"avx512", supported_avx512, {FLOAT_STEPS(avx512), INT8_STEPS(avx512)}},
#endif
#ifdef MNV2_BUILT_AVXVNNI
    {"avxvnni", supported_avxvnni, {FLOAT_STEPS(avx2), INT8_STEPS(avxvnni)}},
#endif
#ifdef MNV2_BUILT_AVX2
    {"avx2", supported_avx2, {FLOAT_STEPS(avx2), INT8_STEPS(avx2)}},
#endif
#ifdef MNV2_BUILT_BASELINE
    {"baseline", supported_baseline, {FLOAT_STEPS(baseline), INT8_STEPS(baseline)}},
#endif
};

enum { BUILT = sizeof built / sizeof *built };

const mnv2_isa *mnv2_isa_at(int32_t index) {
    return index >= 0 && index < BUILT ? &built[index] : NULL;
}

const char *mnv2_isa_name(const mnv2_isa *isa) { return isa->name; }

int32_t mnv2_isa_supported(const mnv2_isa *isa) { return isa->supported(); }

int32_t mnv2_isa_own(const mnv2_isa *isa, int32_t precision) {
    if (precision < 0 || precision >= MNV2_PRECISIONS) return 0;
    for (const mnv2_isa *lesser = isa + 1; lesser < built + BUILT; lesser++)
        if (lesser->steps[precision] == isa->steps[precision]) return 0;
    return isa->steps[precision] != NULL;
}

int32_t mnv2_isa_computes(const mnv2_isa *isa, int32_t precision) {
    return precision >= 0 && precision < MNV2_PRECISIONS && isa->steps[precision];
}
