/* A run of pixels as register tiles. */
#ifndef MNV2_TILING_H
#define MNV2_TILING_H

/* Before a loop that is a register tile's whole work: it stays a loop. */
#if defined(__clang__)
#define KEEP_LOOP _Pragma("clang loop unroll(disable)")
#else
#define KEEP_LOOP _Pragma("GCC unroll 1")
#endif

/* As even as can be: `longer` tiles of size + 1 pixels, then the rest of `size`. 49 pixels in
 * tiles of at most 14 are 13 and three times 12. */
typedef struct {
    int size, longer, tiles;
} tiling;

static inline tiling tiling_of(int pixels, int most) {
    const int tiles = (pixels + most - 1) / most, size = tiles > 0 ? pixels / tiles : 0;
    return (tiling){.size = size, .longer = pixels - size * tiles, .tiles = tiles};
}

#endif
