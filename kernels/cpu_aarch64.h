/* What an AArch64 CPU has beyond NEON, asked of the system. These sets have no registers of their
 * own, so it has nothing more to save. */
#ifndef MNV2_CPU_AARCH64_H
#define MNV2_CPU_AARCH64_H

/* Every one does. */
static inline int supported_neon(void) { return 1; }

#if defined(__linux__)
#include <sys/auxv.h>

static inline int supported_dotprod(void) {
    const unsigned long asimddp = 1ul << 20; /* HWCAP_ASIMDDP */
    return (getauxval(AT_HWCAP) & asimddp) != 0;
}

static inline int supported_i8mm(void) {
    const unsigned long i8mm = 1ul << 13; /* HWCAP2_I8MM */
    return supported_dotprod() && (getauxval(AT_HWCAP2) & i8mm) != 0;
}
#elif defined(__APPLE__)
#include <stddef.h>
#include <sys/sysctl.h>

static inline int mnv2_has(const char *feature) {
    int value = 0;
    size_t bytes = sizeof value;
    return sysctlbyname(feature, &value, &bytes, NULL, 0) == 0 && value;
}

static inline int supported_dotprod(void) { return mnv2_has("hw.optional.arm.FEAT_DotProd"); }

static inline int supported_i8mm(void) {
    return supported_dotprod() && mnv2_has("hw.optional.arm.FEAT_I8MM");
}
#else
static inline int supported_dotprod(void) { return 0; }
static inline int supported_i8mm(void) { return 0; }
#endif

#endif
