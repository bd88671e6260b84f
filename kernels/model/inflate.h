/* Deflated data (RFC 1951), as numpy.savez_compressed writes it. */
#ifndef INFLATE_H
#define INFLATE_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
    INFLATED,
    INFLATE_OTHER_SIZE, /* it makes more or less, ends early, or something follows it */
    INFLATE_DAMAGED     /* no deflate stream */
} inflate_result;

/* The raw stream `x`, which has to make exactly `size` bytes and to end with its last byte. Never
 * writes more than `size` bytes to y. */
inflate_result inflate_whole(const uint8_t *x, size_t x_bytes, uint8_t *y, size_t size);

#endif
