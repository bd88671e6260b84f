/* Which instruction sets were built, and which of them this machine can run. */
#include <stddef.h>

#include "isa.h"

#define STEPS(float32, int8)                          \
    {                                                      \
        [MNV2_FLOAT32] = &mnv2_steps_float32_##float32,    \
        [MNV2_INT8] = &mnv2_steps_int8_##int8,             \
    }

static int supported_baseline(void) { return 1; }

extern const mnv2_steps mnv2_steps_float32_baseline, mnv2_steps_int8_baseline;

#if defined(__x86_64__)
extern const mnv2_steps mnv2_steps_float32_avx512, mnv2_steps_float32_avx2;
extern const mnv2_steps mnv2_steps_int8_avx512vnni, mnv2_steps_int8_avx512;
extern const mnv2_steps mnv2_steps_int8_avxvnni, mnv2_steps_int8_avx2;

/* The compiler's own check: cpuid, and XGETBV for registers that the system saves. */
static int supported_avx2(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
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
#endif

static const struct mnv2_isa built[] = {
#if defined(__x86_64__)
    {"avx512vnni", supported_avx512vnni, STEPS(avx512, avx512vnni)},
    {"avx512", supported_avx512, STEPS(avx512, avx512)},
    {"avxvnni", supported_avxvnni, STEPS(avx2, avxvnni)},
    {"avx2", supported_avx2, STEPS(avx2, avx2)},
#endif
    {"baseline", supported_baseline, STEPS(baseline, baseline)},
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
