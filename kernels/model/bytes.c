#include "bytes.h"

enum { SLICES = 8, SHORT = 1024 };

static uint32_t crc_of_byte(uint32_t crc) {
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
    return crc;
}

static uint32_t crc_of_short(uint32_t crc, const uint8_t *x, size_t count) {
    for (size_t i = 0; i < count; i++) crc = crc >> 8 ^ crc_of_byte((crc ^ x[i]) & 0xFF);
    return crc;
}

/* What a byte does to the checksum that many bytes further on. Made each time, in the time of half a
 * KB of checksums, rather than kept as 8 KB. */
static void fill(uint32_t table[SLICES][256]) {
    for (uint32_t i = 0; i < 256; i++) table[0][i] = crc_of_byte(i);
    for (int slice = 1; slice < SLICES; slice++)
        for (int i = 0; i < 256; i++) {
            const uint32_t before = table[slice - 1][i];
            table[slice][i] = before >> 8 ^ table[0][before & 0xFF];
        }
}

/* Eight bytes at a time, as their contributions do not depend on each other. */
uint32_t crc32_of(const uint8_t *x, size_t count) {
    uint32_t crc = 0xFFFFFFFF;
    if (count >= SHORT) {
        uint32_t table[SLICES][256];
        fill(table);
        for (; count >= SLICES; count -= SLICES, x += SLICES) {
            const uint32_t low = u32_at(x) ^ crc, high = u32_at(x + 4);
            crc = table[7][low & 0xFF] ^ table[6][low >> 8 & 0xFF] ^ table[5][low >> 16 & 0xFF] ^
                  table[4][low >> 24] ^ table[3][high & 0xFF] ^ table[2][high >> 8 & 0xFF] ^
                  table[1][high >> 16 & 0xFF] ^ table[0][high >> 24];
        }
    }
    return ~crc_of_short(crc, x, count);
}
