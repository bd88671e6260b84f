/* What test_amx.py does to the tile registers of a thread, and asks of them. */
#define _DEFAULT_SOURCE
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As another engine's kernels might leave them: configured, of other shapes, and full. */
void leave_tiles(void) {
    static const unsigned char ones[1024] = {1};
    struct {
        uint8_t palette, reserved[15];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shapes = {.palette = 1};
    for (int t = 0; t < 8; t++) shapes.bytes[t] = 8, shapes.rows[t] = (uint8_t)(t + 1);
    __asm__ volatile("ldtilecfg %0" : : "m"(shapes));
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm3" : : "r"(ones), "r"((int64_t)8) : "memory");
}

void release_tiles(void) { __asm__ volatile("tilerelease"); }

/* Whether this thread's tile registers hold anything that the system would save. */
int tiles_in_use(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
    return low >> 17 & 3;
}

/* Whether this process may use them. */
int tiles_permitted(void) {
    uint64_t permitted = 0;
    return syscall(SYS_arch_prctl, 0x1022, &permitted) == 0 && permitted >> 18 & 1;
}
