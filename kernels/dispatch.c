#define _DEFAULT_SOURCE /* syscall, for cpu_x86.h */
/* Which instruction sets were built, for which precisions, and which of them this machine has:
 * built_isas.def, which the build leaves, holds their lines of isas.def. */
#include <stdatomic.h>
#include <stddef.h>

#include "isa.h"

/* Every CPU of its machine has it. */
static inline int supported_baseline(void) { return 1; }

#if defined(__x86_64__)
#include "cpu_x86.h"
#elif defined(__aarch64__)
#include "cpu_aarch64.h"
#endif

#define ISA(name, machine, floats, int8, bfloat16, flags)                             \
    extern const mnv2_steps mnv2_steps_float32_##floats,                              \
        mnv2_steps_float16_weights_##floats, mnv2_steps_bfloat16_weights_##floats,    \
        mnv2_steps_int8_##int8, mnv2_steps_bfloat16_##bfloat16;                       \
    extern const mnv2_lines mnv2_lines_##floats;
#include "built_isas.def"
#undef ISA

/* Where isas.def says none. */
const mnv2_steps mnv2_steps_bfloat16_none = {NULL};

static const struct mnv2_isa built[] = {
#define ISA(name, machine, floats, int8, bfloat16, flags)                   \
    {#name,                                                                 \
     supported_##name,                                                      \
     {[MNV2_FLOAT32] = &mnv2_steps_float32_##floats,                        \
      [MNV2_FLOAT16_WEIGHTS] = &mnv2_steps_float16_weights_##floats,        \
      [MNV2_BFLOAT16_WEIGHTS] = &mnv2_steps_bfloat16_weights_##floats,      \
      [MNV2_BFLOAT16] = &mnv2_steps_bfloat16_##bfloat16,                    \
      [MNV2_INT8] = &mnv2_steps_int8_##int8},                               \
     &mnv2_lines_##floats},
#include "built_isas.def"
};

enum { BUILT = sizeof built / sizeof *built };

const mnv2_isa *mnv2_isa_at(int32_t index) {
    return index >= 0 && index < BUILT ? &built[index] : NULL;
}

const char *mnv2_isa_name(const mnv2_isa *isa) { return isa->name; }

int32_t mnv2_isa_supported(const mnv2_isa *isa) { return isa->supported(); }

int32_t mnv2_isa_refused(const mnv2_isa *isa) {
#if defined(__x86_64__)
    return isa->supported == supported_avx512amx && mnv2_has_amx() && !isa->supported();
#else
    (void)isa;
    return 0;
#endif
}

int32_t mnv2_isa_slow(const mnv2_isa *isa, int32_t precision) {
#if defined(__x86_64__)
    /* vdpbf16ps: a quarter of FMA's instructions a second on Intel, as many on AMD. */
    return precision == MNV2_BFLOAT16 && isa->supported == supported_avx512bf16 &&
           mnv2_is_intel();
#else
    (void)isa, (void)precision;
    return 0;
#endif
}

const char *mnv2_cpu_family(void) {
#if defined(__x86_64__)
    if (mnv2_has_amx()) return "amx"; /* whether this process may use it or not */
#endif
    return "any";
}

int mnv2_prefers_pairs(void) {
#if defined(MNV2_EMULATE_TILES)
    return 1; /* where AMX's kernels are tested, so are they */
#elif defined(__x86_64__)
    /* Asked once a process: CPUID traps in a virtual machine, and took 35 us a run. */
    enum { NOT_ASKED, NO, YES };
    static atomic_int known = NOT_ASKED;
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    if (answer == NOT_ASKED) {
        answer = mnv2_has_amx() ? YES : NO;
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == YES;
#else
    return 0;
#endif
}

int32_t mnv2_isa_own(const mnv2_isa *isa, int32_t precision) {
    if (!mnv2_isa_computes(isa, precision)) return 0;
    for (const mnv2_isa *lesser = isa + 1; lesser < built + BUILT; lesser++)
        if (lesser->steps[precision] == isa->steps[precision]) return 0;
    return 1;
}

int32_t mnv2_isa_computes(const mnv2_isa *isa, int32_t precision) {
    return precision >= 0 && precision < MNV2_PRECISIONS &&
           isa->steps[precision]->rows != NULL;
}
