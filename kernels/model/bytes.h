/* Little-endian numbers in a file, and its checksums. */
#ifndef BYTES_H
#define BYTES_H

#include <stddef.h>
#include <stdint.h>

static inline uint32_t u16_at(const uint8_t *x) { return x[0] | (uint32_t)x[1] << 8; }
static inline uint32_t u32_at(const uint8_t *x) { return u16_at(x) | u16_at(x + 2) << 16; }
static inline uint64_t u64_at(const uint8_t *x) {
    return u32_at(x) | (uint64_t)u32_at(x + 4) << 32;
}

/* The CRC-32 of zip files (ISO 3309: reflected, polynomial 0x04C11DB7). */
uint32_t crc32_of(const uint8_t *x, size_t count);

#endif
