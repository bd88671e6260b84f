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

/* What CPUID says, asked once a question: each leaf is a trap, 6 us and more, in a virtual machine. */
typedef struct {
    unsigned ecx1;                       /* leaf 1 */
    unsigned ebx7, ecx7, edx7, eax7_1;   /* leaf 7, sub-leaves 0 and 1 */
    unsigned saved;                      /* registers that the system saves: low half of XCR0 */
} mnv2_cpu;

/* All zeros for a leaf or sub-leaf that the CPU does not have. */
static inline mnv2_cpu mnv2_cpu_asked(void) {
    const unsigned osxsave = 1u << 27;
    mnv2_cpu cpu = {0, 0, 0, 0, 0, 0};
    unsigned eax, ebx, ecx, edx, leaves, subleaves;
    __cpuid(0, leaves, ebx, ecx, edx);
    if (leaves >= 1) __cpuid(1, eax, ebx, cpu.ecx1, edx);
    if (leaves >= 7) {
        __cpuid_count(7, 0, subleaves, cpu.ebx7, cpu.ecx7, cpu.edx7);
        if (subleaves >= 1) __cpuid_count(7, 1, cpu.eax7_1, ebx, ecx, edx);
    }
    if (cpu.ecx1 & osxsave) {
        __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
        cpu.saved = eax;
    }
    return cpu;
}

static inline int mnv2_is_intel(void) {
    unsigned eax, ebx, ecx, edx;
    __cpuid(0, eax, ebx, ecx, edx);
    return ebx == 0x756e6547 && edx == 0x49656e69 && ecx == 0x6c65746e;
}

static inline int mnv2_has(unsigned value, unsigned bits) { return (value & bits) == bits; }

static inline int mnv2_cpu_avx2(const mnv2_cpu *cpu) {
    const unsigned fma = 1u << 12, avx = 1u << 28, f16c = 1u << 29; /* leaf 1, ECX */
    const unsigned avx2 = 1u << 5;                                  /* leaf 7, EBX */
    const unsigned xmm = 1u << 1, ymm = 1u << 2;
    return mnv2_has(cpu->ecx1, fma | avx | f16c) && mnv2_has(cpu->ebx7, avx2) &&
           mnv2_has(cpu->saved, xmm | ymm);
}

static inline int mnv2_cpu_avx512(const mnv2_cpu *cpu) {
    const unsigned f = 1u << 16, bw = 1u << 30, vl = 1u << 31; /* leaf 7, EBX */
    const unsigned masks_and_zmm = 7u << 5;
    return mnv2_cpu_avx2(cpu) && mnv2_has(cpu->ebx7, f | bw | vl) &&
           mnv2_has(cpu->saved, masks_and_zmm);
}

static inline int mnv2_cpu_avx512vnni(const mnv2_cpu *cpu) {
    const unsigned avx512vnni = 1u << 11; /* leaf 7, ECX */
    return mnv2_cpu_avx512(cpu) && mnv2_has(cpu->ecx7, avx512vnni);
}

static inline int mnv2_cpu_avx512bf16(const mnv2_cpu *cpu) {
    const unsigned avx512bf16 = 1u << 5; /* leaf 7, sub-leaf 1, EAX */
    return mnv2_cpu_avx512vnni(cpu) && mnv2_has(cpu->eax7_1, avx512bf16);
}

static inline int supported_avx2(void) {
    const mnv2_cpu cpu = mnv2_cpu_asked();
    return mnv2_cpu_avx2(&cpu);
}

static inline int supported_avxvnni(void) {
    const unsigned avxvnni = 1u << 4; /* leaf 7, sub-leaf 1, EAX */
    const mnv2_cpu cpu = mnv2_cpu_asked();
    return mnv2_cpu_avx2(&cpu) && mnv2_has(cpu.eax7_1, avxvnni);
}

static inline int supported_avx512(void) {
    const mnv2_cpu cpu = mnv2_cpu_asked();
    return mnv2_cpu_avx512(&cpu);
}

static inline int supported_avx512vnni(void) {
    const mnv2_cpu cpu = mnv2_cpu_asked();
    return mnv2_cpu_avx512vnni(&cpu);
}

static inline int supported_avx512bf16(void) {
    const mnv2_cpu cpu = mnv2_cpu_asked();
    return mnv2_cpu_avx512bf16(&cpu);
}

/* AVX512_BF16 and AVX512_VBMI, which every CPU with AMX has, but a virtual machine may hide: AMX's
 * int8 kernels permute bytes. */
static inline int mnv2_cpu_beside_tiles(const mnv2_cpu *cpu) {
    const unsigned avx512vbmi = 1u << 1; /* leaf 7, ECX */
    return mnv2_cpu_avx512bf16(cpu) && mnv2_has(cpu->ecx7, avx512vbmi);
}

/* AMX: whether the CPU has it and the system saves its registers for a process that asks. */
static inline int mnv2_has_amx(void) {
    const unsigned bf16 = 1u << 22, tile = 1u << 24, int8 = 1u << 25; /* leaf 7, EDX */
    const unsigned shapes_and_tiles = 3u << 17;
    const mnv2_cpu cpu = mnv2_cpu_asked();
    return mnv2_cpu_beside_tiles(&cpu) && mnv2_has(cpu.edx7, bf16 | tile | int8) &&
           mnv2_has(cpu.saved, shapes_and_tiles);
}

#if defined(MNV2_EMULATE_TILES)
static inline int supported_avx512amx(void) {
    const mnv2_cpu cpu = mnv2_cpu_asked();
    return mnv2_cpu_beside_tiles(&cpu);
}
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
