/* AMX's tile registers: eight of up to 16 rows of 64 bytes, and what is done with them.
 *
 *   tiles_configure(c)      gives the registers their shapes, and zeros them
 *   TILE_LOAD(t, p, step)   register t from rows `step` bytes apart: its rows and no more
 *   TILE_STORE(t, p, step)
 *   TILE_DOT(c, a, b)       c[m][n] += the products of a's row m, 4 bytes at a time, with b[k][4 n]
 *   tiles_order()           what was stored before is loaded by what follows
 *
 * Measured on a Granite Rapids core: TILE_DOT 4.9 ns at 16 rows, 4.3 at 14, 2.9 at 8 or fewer,
 * whatever their bytes; TILE_LOAD 2.4, TILE_STORE 4.5, tiles_configure 53.
 *
 * Not the compiler's intrinsics: GCC's loads may pass stores to the same memory. Where
 * MNV2_EMULATE_TILES is defined the registers are plain C (emulated.h), for machines without AMX. */
#ifndef MNV2_AMX_REGISTERS_H
#define MNV2_AMX_REGISTERS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16]; /* of a row of each register */
    uint8_t rows[16];
} tile_shapes;

_Static_assert(sizeof(tile_shapes) == 64, "as ldtilecfg reads it");

#if defined(MNV2_EMULATE_TILES)
#include "emulated.h"
#else

static inline void tiles_configure(const tile_shapes *shapes) {
    __asm__ volatile("ldtilecfg %0" : : "m"(*shapes));
}
static inline void tiles_release(void) { __asm__ volatile("tilerelease"); }
static inline void tiles_order(void) { __asm__ volatile("" : : : "memory"); }

#define TILE_LOAD(t, p, step)                            \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t     \
                     : : "r"(p), "r"((ptrdiff_t)(step)))
#define TILE_STORE(t, p, step)                           \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" \
                     : : "r"(p), "r"((ptrdiff_t)(step)) : "memory")
#if defined(MNV2_NUMBERS_INT8)
#define TILE_DOT(c, a, b) __asm__ volatile("tdpbusd %%tmm" #b ", %%tmm" #a ", %%tmm" #c : :)
#else
#define TILE_DOT(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c : :)
#endif

#endif

#endif
