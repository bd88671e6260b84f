#include "exif.h"

#include <string.h>

static uint32_t number(const uint8_t *x, int bytes, int is_big) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | x[is_big ? i : bytes - 1 - i];
    return value;
}

int32_t exif_orientation(const uint8_t *data, int64_t size) {
    enum { ORIENTATION = 0x0112, SHORT = 3 };
    if (size < 8) return -1;
    const int is_big = data[0] == 'M';
    if (memcmp(data, is_big ? "MM\0*" : "II*\0", 4) != 0) return -1;
    const int64_t at = number(data + 4, 4, is_big);
    if (at > size - 2) return -1;
    const int64_t entries = number(data + at, 2, is_big);
    if (at + 2 + entries * 12 > size) return -1;
    int32_t found = 0;
    for (int64_t i = 0; i < entries; i++) {
        const uint8_t *entry = data + at + 2 + i * 12;
        if (number(entry, 2, is_big) != ORIENTATION) continue;
        if (found || number(entry + 2, 2, is_big) != SHORT || number(entry + 4, 4, is_big) != 1)
            return -1;
        const uint32_t value = number(entry + 8, 2, is_big);
        found = value >= 1 && value <= 8 ? (int32_t)value : 1;
    }
    return found;
}

int32_t xmp_orientation(const uint8_t *data, int64_t size) {
    static const char name[] = "tiff:Orientation";
    enum { LENGTH = sizeof name - 1 };
    for (int64_t i = 0; i + LENGTH < size; i++) {
        const uint8_t *x = memchr(data + i, 't', (size_t)(size - LENGTH - i));
        if (!x) break;
        i = x - data;
        if (memcmp(x, name, LENGTH) == 0) return -1; /* found, and not plain enough */
    }
    return 0;
}
