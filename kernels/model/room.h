/* Memory of the caller's, taken from front to back: reading allocates nothing. */
#ifndef ROOM_H
#define ROOM_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t *at, *end;
} reading_room;

enum { ROOM_ALIGNMENT = 16 };

/* Bytes that `count` things of `each` bytes take at most. */
static inline uint64_t room_bytes(uint64_t count, uint64_t each) {
    return count * each + ROOM_ALIGNMENT - 1;
}

/* `count` things of `each` bytes, aligned, with whatever lay there; NULL where they do not fit. */
static inline void *room_take(reading_room *left, size_t count, size_t each) {
    const size_t skipped = -(uintptr_t)left->at % ROOM_ALIGNMENT;
    const size_t bytes = (size_t)(left->end - left->at);
    if (skipped > bytes || (each && count > (bytes - skipped) / each)) return NULL;
    uint8_t *taken = left->at + skipped;
    left->at = taken + count * each;
    return taken;
}

#endif
