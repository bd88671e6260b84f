/* The orientation that a file's EXIF or XMP data says. */
#ifndef MNV2_EXIF_H
#define MNV2_EXIF_H

#include <stdint.h>

/* 1 to 8 of TIFF-structured EXIF data; 0 where it says none; -1 where it is not plain to read. */
int32_t exif_orientation(const uint8_t *data, int64_t size);
/* The same of an XMP packet. */
int32_t xmp_orientation(const uint8_t *data, int64_t size);

#endif
