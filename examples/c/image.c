#include "image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_HEADER = 4096 }; /* of a PPM: it may have comments */

/* A number of a PPM's header behind spaces and comments; -1 if there is none. */
static long header_number(const uint8_t **x, const uint8_t *end) {
    long value = -1;
    while (*x < end && (**x == '#' || strchr(" \t\r\n\v\f", **x)))
        if (*(*x)++ == '#')
            while (*x < end && **x != '\n') ++*x;
    for (; *x < end && **x >= '0' && **x <= '9' && value < 100000; ++*x)
        value = (value < 0 ? 0 : value) * 10 + (**x - '0');
    return value;
}

/* Moves the pixels of a PPM to the beginning. */
static bool unwrap_ppm(uint8_t *content, size_t count, int32_t height, int32_t width,
                       refusal *why) {
    const uint8_t *x = content + 2, *end = content + count;
    const size_t pixels = (size_t)height * (size_t)width * 3;
    const long found_width = header_number(&x, end), found_height = header_number(&x, end);
    const long most = header_number(&x, end);
    if (found_width != width || found_height != height || most != 255)
        return refuse(why,
                      "a PPM of %ldx%ld pixels up to %ld: expected %dx%d (width x height) up to "
                      "255; resize it first",
                      found_width, found_height, most, width, height);
    if (x < end) x++; /* the space that ends the header */
    if ((size_t)(end - x) != pixels)
        return refuse(why, "a PPM with %zu bytes of pixels: expected %zu", (size_t)(end - x),
                      pixels);
    memmove(content, x, pixels);
    return true;
}

static bool check(uint8_t *content, size_t count, int32_t height, int32_t width, refusal *why) {
    const size_t pixels = (size_t)height * (size_t)width * 3;
    if (count == pixels) return true;
    if (count > 2 && memcmp(content, "P6", 2) == 0)
        return unwrap_ppm(content, count, height, width, why);
    const char *more = count > pixels + MOST_HEADER ? "more than " : "";
    return refuse(why,
                  "%s%zu bytes: expected %zu, %d rows of %d pixels of red, green and blue, or "
                  "a binary PPM; such a file is made by: convert PICTURE -resize %dx%d! "
                  "-depth 8 rgb:OUT",
                  more, count > pixels + MOST_HEADER ? count - 1 : count, pixels, height, width,
                  width, height);
}

uint8_t *image_read(const char *path, int32_t height, int32_t width, refusal *why) {
    const bool is_input = strcmp(path, "-") == 0;
    const char *name = is_input ? "standard input" : path;
    const size_t most = (size_t)height * (size_t)width * 3 + MOST_HEADER + 1; /* 1: too long */
    FILE *file = is_input ? stdin : fopen(path, "rb");
    if (!file) {
        refuse(why, "%.200s: cannot open the image: %s", name, strerror(errno));
        return NULL;
    }
    uint8_t *content = malloc(most);
    const size_t count = content ? fread(content, 1, most, file) : 0;
    bool is_right = false;
    if (!content)
        refuse(why, "no memory for an image of %zu bytes", most);
    else if (ferror(file))
        refuse(why, "cannot be read: %s", strerror(errno));
    else
        is_right = check(content, count, height, width, why);
    if (!is_input) fclose(file);
    if (is_right) return content;
    free(content);
    refuse_within(why, "%.200s: ", name);
    return NULL;
}
