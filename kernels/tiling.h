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

/* CASE(size) for every size that a tile may have: up to TILE_PIXELS, in the steps below. */
#define TILE_SIZES_2(CASE) CASE(1) CASE(2)
#define TILE_SIZES_4(CASE) TILE_SIZES_2(CASE) CASE(3) CASE(4)
#define TILE_SIZES_5(CASE) TILE_SIZES_4(CASE) CASE(5)
#define TILE_SIZES_6(CASE) TILE_SIZES_5(CASE) CASE(6)
#define TILE_SIZES_12(CASE) TILE_SIZES_6(CASE) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#define TILE_SIZES_14(CASE) TILE_SIZES_12(CASE) CASE(13) CASE(14)
#define TILE_SIZES_JOIN(pixels) TILE_SIZES_##pixels
#define TILE_SIZES_OF(pixels) TILE_SIZES_JOIN(pixels)
#define TILE_SIZES TILE_SIZES_OF(TILE_PIXELS)

#endif
