/* What an x86-64 CPU has and its operating system saves, asked of the CPU itself.
 *
 * Not of __builtin_cpu_supports: zig's runtime answers no to everything, and clang's is not linked
 * by itself on Windows. */
#ifndef MNV2_CPU_X86_H
#define MNV2_CPU_X86_H

#include <cpuid.h>

#if defined(__linux__)
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

typedef struct {
    unsigned eax, ebx, ecx, edx;
} mnv2_cpuid;

/* All zeros for a leaf or sub-leaf that the CPU does not have. */
static inline mnv2_cpuid mnv2_cpuid_of(unsigned leaf, unsigned subleaf) {
    mnv2_cpuid said = {0, 0, 0, 0};
    if (leaf > __get_cpuid_max(0, NULL)) return said;
    __cpuid_count(leaf, 0, said.eax, said.ebx, said.ecx, said.edx);
    const unsigned last = leaf == 7 ? said.eax : 0;
    if (subleaf > last) return (mnv2_cpuid){0, 0, 0, 0};
    if (subleaf) __cpuid_count(leaf, subleaf, said.eax, said.ebx, said.ecx, said.edx);
    return said;
}

static inline int mnv2_is_intel(void) {
    const mnv2_cpuid said = mnv2_cpuid_of(0, 0);
    return said.ebx == 0x756e6547 && said.edx == 0x49656e69 && said.ecx == 0x6c65746e;
}

static inline int mnv2_has(unsigned value, unsigned bits) { return (value & bits) == bits; }

/* Whether the system saves these registers, bits of XCR0. */
static inline int mnv2_saves(unsigned registers) {
    const unsigned osxsave = 1u << 27;
    if (!mnv2_has(mnv2_cpuid_of(1, 0).ecx, osxsave)) return 0;
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return mnv2_has(low, registers);
}

static inline int supported_avx2(void) {
    const unsigned fma = 1u << 12, avx = 1u << 28, f16c = 1u << 29; /* leaf 1, ECX */
    const unsigned avx2 = 1u << 5;                                  /* leaf 7, EBX */
    const unsigned xmm = 1u << 1, ymm = 1u << 2;
    return mnv2_has(mnv2_cpuid_of(1, 0).ecx, fma | avx | f16c) &&
           mnv2_has(mnv2_cpuid_of(7, 0).ebx, avx2) && mnv2_saves(xmm | ymm);
}

static inline int supported_avxvnni(void) {
    const unsigned avxvnni = 1u << 4; /* leaf 7, sub-leaf 1, EAX */
    return supported_avx2() && mnv2_has(mnv2_cpuid_of(7, 1).eax, avxvnni);
}

static inline int supported_avx512(void) {
    const unsigned f = 1u << 16, bw = 1u << 30, vl = 1u << 31; /* leaf 7, EBX */
    const unsigned masks_and_zmm = 7u << 5;
    return supported_avx2() && mnv2_has(mnv2_cpuid_of(7, 0).ebx, f | bw | vl) &&
           mnv2_saves(masks_and_zmm);
}

static inline int supported_avx512vnni(void) {
    const unsigned avx512vnni = 1u << 11; /* leaf 7, ECX */
    return supported_avx512() && mnv2_has(mnv2_cpuid_of(7, 0).ecx, avx512vnni);
}

static inline int supported_avx512bf16(void) {
    const unsigned avx512bf16 = 1u << 5; /* leaf 7, sub-leaf 1, EAX */
    return supported_avx512vnni() && mnv2_has(mnv2_cpuid_of(7, 1).eax, avx512bf16);
}

/* What every CPU with AMX has, but a virtual machine may hide: its int8 kernels permute bytes. */
static inline int mnv2_has_vbmi(void) {
    const unsigned avx512vbmi = 1u << 1; /* leaf 7, ECX */
    return mnv2_has(mnv2_cpuid_of(7, 0).ecx, avx512vbmi);
}

/* AMX: whether the CPU has it and the system saves its registers for a process that asks. */
static inline int mnv2_has_amx(void) {
    const unsigned bf16 = 1u << 22, tile = 1u << 24, int8 = 1u << 25; /* leaf 7, EDX */
    const unsigned shapes_and_tiles = 3u << 17;
    return supported_avx512bf16() && mnv2_has_vbmi() &&
           mnv2_has(mnv2_cpuid_of(7, 0).edx, bf16 | tile | int8) && mnv2_saves(shapes_and_tiles);
}

#if defined(MNV2_EMULATE_TILES)
static inline int supported_avx512amx(void) { return supported_avx512bf16() && mnv2_has_vbmi(); }
#elif defined(__linux__)
/* Linux gives the tiles to a process that asks, once: to all its threads and what it forks. It
 * refuses where a thread's alternate signal stack has no room for them. Asking again is cheap, so
 * nothing is remembered. */
static inline int supported_avx512amx(void) {
    enum { ARCH_GET_XCOMP_PERM = 0x1022, ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_TILES = 18 };
    uint64_t permitted = 0;
    if (!mnv2_has_amx()) return 0;
    if (syscall(SYS_arch_prctl, ARCH_GET_XCOMP_PERM, &permitted)) return 0;
    if (permitted >> XFEATURE_TILES & 1) return 1;
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILES) == 0;
}
#else
static inline int supported_avx512amx(void) { return 0; }
#endif

#endif
