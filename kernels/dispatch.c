/* Which instruction sets were built, and which of them this machine can run. */
#include <stddef.h>

#include "isa.h"

#if defined(__x86_64__)
#define X86_KERNELS 1
int mnv2_supported_avx512(void);
int mnv2_supported_avx2(void);
extern const struct mnv2_isa mnv2_isa_avx512, mnv2_isa_avx2;

/* The compiler's own check: cpuid, and XGETBV for registers that the system saves. */
int mnv2_supported_avx512(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
}

int mnv2_supported_avx2(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

int mnv2_supported_baseline(void);
extern const struct mnv2_isa mnv2_isa_baseline;

int mnv2_supported_baseline(void) { return 1; }

static const struct mnv2_isa *const built[] = {
#if defined(X86_KERNELS)
    &mnv2_isa_avx512,
    &mnv2_isa_avx2,
#endif
    &mnv2_isa_baseline,
};

const mnv2_isa *mnv2_isa_at(int32_t index) {
    const int32_t count = (int32_t)(sizeof built / sizeof *built);
    return index >= 0 && index < count ? built[index] : NULL;
}

const char *mnv2_isa_name(const mnv2_isa *isa) { return isa->name; }

int32_t mnv2_isa_supported(const mnv2_isa *isa) { return isa->supported(); }
