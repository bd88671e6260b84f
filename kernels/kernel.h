/* What every kernel is written with, whatever its numbers. */
#ifndef MNV2_KERNEL_H
#define MNV2_KERNEL_H

#define PANEL 16 /* channels that lie together: float32 or int32 lanes, or bytes */

enum { EXPANDED_PANELS = 2 }; /* that are expanded at a time: the widest register tile's */

#define ALWAYS_INLINE inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

static ALWAYS_INLINE void prefetch(const void *p) { __builtin_prefetch(p, 0, 3); }

static ALWAYS_INLINE int least(int a, int b) { return a < b ? a : b; }

static inline int panels_of(int channels) { return (channels + PANEL - 1) / PANEL; }

#endif
