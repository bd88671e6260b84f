/* Which instruction sets were built, for which precisions, and which of them this machine has. */
#include <stddef.h>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

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

DECLARE_FLOAT_STEPS(baseline)
extern const mnv2_steps mnv2_steps_int8_baseline;

static int supported_baseline(void) { return 1; }

#if defined(__x86_64__)
DECLARE_FLOAT_STEPS(avx512)
DECLARE_FLOAT_STEPS(avx2)
extern const mnv2_steps mnv2_steps_bfloat16_avx512bf16;
extern const mnv2_steps mnv2_steps_int8_avx512vnni, mnv2_steps_int8_avx512;
extern const mnv2_steps mnv2_steps_int8_avxvnni, mnv2_steps_int8_avx2;

/* The compiler's own check: cpuid, and XGETBV for registers that the system saves. */
static int supported_avx2(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
}

static int supported_avxvnni(void) {
    return supported_avx2() && __builtin_cpu_supports("avxvnni");
}

static int supported_avx512(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
}

static int supported_avx512vnni(void) {
    return supported_avx512() && __builtin_cpu_supports("avx512vnni");
}

static int supported_avx512bf16(void) {
    return supported_avx512vnni() && __builtin_cpu_supports("avx512bf16");
}
#elif defined(__aarch64__)
DECLARE_FLOAT_STEPS(neon)
extern const mnv2_steps mnv2_steps_int8_i8mm, mnv2_steps_int8_dotprod, mnv2_steps_int8_neon;

static int supported_neon(void) { return 1; } /* every AArch64 has it */

/* A set has no registers of its own here, so the system has nothing more to save. */
#if defined(__linux__)
enum { DOTPROD = 1 << 20, I8MM = 1 << 13 }; /* Linux's HWCAP_ASIMDDP and HWCAP2_I8MM */
static int supported_dotprod(void) { return (getauxval(AT_HWCAP) & DOTPROD) != 0; }
static int supported_i8mm(void) { return supported_dotprod() && (getauxval(AT_HWCAP2) & I8MM); }
#elif defined(__APPLE__)
static int has(const char *feature) {
    int value = 0;
    size_t bytes = sizeof value;
    return sysctlbyname(feature, &value, &bytes, NULL, 0) == 0 && value;
}
static int supported_dotprod(void) { return has("hw.optional.arm.FEAT_DotProd"); }
static int supported_i8mm(void) { return supported_dotprod() && has("hw.optional.arm.FEAT_I8MM"); }
#else
static int supported_dotprod(void) { return 0; }
static int supported_i8mm(void) { return 0; }
#endif
#endif

static const struct mnv2_isa built[] = {
#if defined(__x86_64__)
    {"avx512bf16",
     supported_avx512bf16,
     {FLOAT_STEPS(avx512), INT8_STEPS(avx512vnni),
      [MNV2_BFLOAT16] = &mnv2_steps_bfloat16_avx512bf16}},
    {"avx512vnni", supported_avx512vnni, {FLOAT_STEPS(avx512), INT8_STEPS(avx512vnni)}},
    {"avx512", supported_avx512, {FLOAT_STEPS(avx512), INT8_STEPS(avx512)}},
    {"avxvnni", supported_avxvnni, {FLOAT_STEPS(avx2), INT8_STEPS(avxvnni)}},
    {"avx2", supported_avx2, {FLOAT_STEPS(avx2), INT8_STEPS(avx2)}},
#elif defined(__aarch64__)
    {"i8mm", supported_i8mm, {FLOAT_STEPS(neon), INT8_STEPS(i8mm)}},
    {"dotprod", supported_dotprod, {FLOAT_STEPS(neon), INT8_STEPS(dotprod)}},
    {"neon", supported_neon, {FLOAT_STEPS(neon), INT8_STEPS(neon)}},
#endif
    {"baseline", supported_baseline, {FLOAT_STEPS(baseline), INT8_STEPS(baseline)}},
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
