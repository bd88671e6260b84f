/* A photograph's pixels at the network's own size: JPEG and PNG, decoded by the core. */
#ifndef PHOTO_H
#define PHOTO_H

#include "model/network.h"

enum { MOST_PIXELS = 64000000 };

/* Memory that decoding may take: the arena, as the run begins later. */
typedef struct {
    void *memory; /* 64-byte aligned */
    int64_t bytes;
} photo_room;

typedef struct {
    int32_t width, height;
} photo_size;

/* Whether it is a regular file that begins as a JPEG or a PNG does. */
bool photo_is(const char *path);
/* [height][width][3] bytes of RGB as malloc makes them, and how large the upright photograph is; or
 * NULL. */
uint8_t *photo_read(const char *path, const network *net, const mnv2_isa *isa, photo_room room,
                    photo_size *size, refusal *why);

#endif
