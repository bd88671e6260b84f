/* Which instruction sets were built, for which precisions, and which of them this machine has. The
 * build defines MNV2_BUILT_<NAME> for each set that it was asked for. */
#include <stddef.h>

#include "isa.h"

#if defined(__x86_64__)
#include "cpu_x86.h"
#elif defined(__aarch64__)
#include "cpu_aarch64.h"
#endif

/* The precisions that are computed in float32. */
#define DECLARE_FLOAT_STEPS(name)                                                         \
    extern const mnv2_steps mnv2_steps_float32_##name, mnv2_steps_float16_weights_##name, \
        mnv2_steps_bfloat16_weights_##name;
#define FLOAT_STEPS(name)                                        \
    [MNV2_FLOAT32] = &mnv2_steps_float32_##name,                 \
    [MNV2_FLOAT16_WEIGHTS] = &mnv2_steps_float16_weights_##name, \
    [MNV2_BFLOAT16_WEIGHTS] = &mnv2_steps_bfloat16_weights_##name
#define INT8_STEPS(name) [MNV2_INT8] = &mnv2_steps_int8_##name

/* AArch64 has NEON always. */
static inline int supported_always(void) { return 1; }

/* Declared whether built or not. */
DECLARE_FLOAT_STEPS(baseline)
DECLARE_FLOAT_STEPS(avx2)
DECLARE_FLOAT_STEPS(avx512)
DECLARE_FLOAT_STEPS(neon)
extern const mnv2_steps mnv2_steps_int8_baseline, mnv2_steps_bfloat16_avx512bf16;
extern const mnv2_steps mnv2_steps_int8_avx512vnni, mnv2_steps_int8_avx512;
extern const mnv2_steps mnv2_steps_int8_avxvnni, mnv2_steps_int8_avx2;
extern const mnv2_steps mnv2_steps_int8_i8mm, mnv2_steps_int8_dotprod, mnv2_steps_int8_neon;

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
#ifdef MNV2_BUILT_I8MM
    {"i8mm", supported_i8mm, {FLOAT_STEPS(neon), INT8_STEPS(i8mm)}},
#endif
#ifdef MNV2_BUILT_DOTPROD
    {"dotprod", supported_dotprod, {FLOAT_STEPS(neon), INT8_STEPS(dotprod)}},
#endif
#ifdef MNV2_BUILT_NEON
    {"neon", supported_always, {FLOAT_STEPS(neon), INT8_STEPS(neon)}},
#endif
#ifdef MNV2_BUILT_BASELINE
    {"baseline", supported_always, {FLOAT_STEPS(baseline), INT8_STEPS(baseline)}},
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
