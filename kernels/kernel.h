/* What every kernel is written with, whatever its numbers. */
#ifndef MNV2_KERNEL_H
#define MNV2_KERNEL_H

#define PANEL 16 /* channels that lie together: float32 or int32 lanes, or bytes */

/* Whether 1x1 convolutions run in tile registers (amx/). Then the panels of a filtered pixel lie
 * together in blocks, of as many as fill 64 bytes, a tile's row. */
#if defined(MNV2_ISA_AVX512AMX)
#define TILED 1
#if defined(MNV2_NUMBERS_INT8)
#define BLOCK_PANELS 4
#else
#define BLOCK_PANELS 2
#endif
#else
#define TILED 0
#define BLOCK_PANELS 1
#endif

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
