/* Memory that is handed out piece by piece from what the caller gave. */
#ifndef MNV2_REGION_H
#define MNV2_REGION_H

#include <stddef.h>
#include <stdint.h>

enum { REGION_ALIGNMENT = 64 };

typedef struct {
    char *memory; /* NULL: only counted */
    int64_t used, bytes;
} region;

static inline int64_t region_round(int64_t bytes) {
    return (bytes + REGION_ALIGNMENT - 1) / REGION_ALIGNMENT * REGION_ALIGNMENT;
}

/* NULL where nothing is left, or where pieces are only counted. */
static inline void *region_take(region *r, int64_t bytes) {
    const int64_t at = r->used;
    if (bytes < 0 || bytes > INT64_MAX / 4) return NULL;
    r->used += region_round(bytes);
    return r->memory && r->used <= r->bytes ? r->memory + at : NULL;
}

#endif
