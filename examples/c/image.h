/* Pixels of the network's own size from a file. */
#ifndef IMAGE_H
#define IMAGE_H

#include <stdint.h>

#include "model/refusal.h"

/* The image at `path`, or on standard input for "-": [height][width][3] bytes of RGB, and nothing
 * else, or a binary PPM (P6, maximum 255) of that size. NULL, or as malloc makes it. */
uint8_t *image_read(const char *path, int32_t height, int32_t width, refusal *why);

#endif
