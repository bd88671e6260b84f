/* tiles_stay_awake() with every shape that the tile registers may have, and with none: the emulated
 * registers end the program where the CPU's would. */
#define MNV2_EMULATE_TILES
#define MNV2_ISA_AVX512AMX
#define MNV2_NUMBERS_INT8
#include "amx/shapes.h"

int main(void) {
    for (int rows = 1; rows <= TILE_ROWS; rows++)
        for (int rest = 0; rest < TILE_BYTES; rest += 4) {
            int32_t shaped = 0;
            tiles_release();
            tiles_stay_awake(&shaped);
            tiles_shape(&shaped, rows, rest);
            tiles_stay_awake(&shaped);
        }
    return 0;
}
