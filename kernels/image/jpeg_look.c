/* Reads a JPEG's headers: what it is, how it is turned, where its scans lie, and whether all of it
 * is there. Whatever is rare or odd is left to others (MNV2_PHOTO_ELSEWHERE). */
#include <string.h>

#include "exif.h"
#include "photo.h"

enum {
    TEM = 0x01,
    SOF0 = 0xC0,
    SOF1 = 0xC1,
    SOF2 = 0xC2,
    DHT = 0xC4,
    JPG = 0xC8,
    DAC = 0xCC,
    RST0 = 0xD0,
    RST7 = 0xD7,
    SOI = 0xD8,
    EOI = 0xD9,
    SOS = 0xDA,
    DQT = 0xDB,
    DNL = 0xDC,
    DRI = 0xDD,
    APP1 = 0xE1,
    COM = 0xFE
};

typedef struct {
    bytes_of file;
    mnv2_photo *photo;
    int32_t ids[4];
    int32_t exif, xmp;   /* orientations; -1: not plain; 0: none */
    int32_t has_frame, has_exif;
    int8_t bits[4][64];  /* how many low bits of each coefficient are missing; -1: all */
} looking;

/* Where the entropy-coded data that begins at `at` ends: at a marker, or the file's end. */
static int64_t end_of_data(bytes_of file, int64_t at) {
    while (at < file.size) {
        const uint8_t *x = memchr(file.data + at, 0xFF, (size_t)(file.size - at));
        if (!x) return file.size;
        at = x - file.data;
        if (at + 1 >= file.size) return file.size;
        const uint8_t next = x[1];
        if (next != 0 && next != 0xFF && !(next >= RST0 && next <= RST7)) return at;
        at += next == 0xFF ? 1 : 2;
    }
    return file.size;
}

static int read_frame(looking *l, const uint8_t *x, int32_t length, int marker) {
    mnv2_photo *p = l->photo;
    if (length < 6) return 0;
    p->height = big_endian(x + 1, 2), p->width = big_endian(x + 3, 2);
    const int32_t components = x[5];
    if (l->has_frame || x[0] != 8 || length != 6 + components * 3) return 0;
    if (components != 1 && components != 3) return 0;
    p->components = components;
    p->is_progressive = marker == SOF2;
    int32_t blocks = 0;
    for (int32_t i = 0; i < components; i++) {
        const uint8_t *c = x + 6 + i * 3;
        l->ids[i] = c[0];
        p->horizontal[i] = c[1] >> 4, p->vertical[i] = c[1] & 15;
        for (int32_t k = 0; k < i; k++)
            if (l->ids[k] == l->ids[i]) return 0;
        if (p->horizontal[i] < 1 || p->horizontal[i] > 4 || p->vertical[i] < 1 ||
            p->vertical[i] > 4)
            return 0;
        blocks += p->horizontal[i] * p->vertical[i];
    }
    l->has_frame = 1;
    return p->width > 0 && p->height > 0 && blocks <= 10;
}

/* A scan's header, and whether it is the next one that there should be. */
static int read_scan(looking *l, const uint8_t *x, int32_t length) {
    mnv2_photo *p = l->photo;
    if (!l->has_frame || length < 1) return 0;
    const int32_t count = x[0];
    if (count < 1 || count > p->components || length != 4 + count * 2) return 0;
    const uint8_t *tail = x + 1 + count * 2;
    const int32_t from = tail[0], to = tail[1], high = tail[2] >> 4, low = tail[2] & 15;
    if (p->is_progressive ? from > to || to > 63 || low > 13 || (from ? count != 1 : to != 0)
                          : from != 0 || to != 63 || high || low)
        return 0;
    int32_t last = -1;
    for (int32_t i = 0; i < count; i++) {
        int32_t c = 0;
        while (c < p->components && l->ids[c] != x[1 + i * 2]) c++;
        if (c == p->components || c <= last) return 0;
        last = c;
        if (from > 0 && l->bits[c][0] < 0) return 0;
        for (int32_t k = from; k <= to; k++) {
            const int32_t missing = l->bits[c][k];
            /* The first scan of a coefficient, or the one that brings the next bit. */
            if (missing < 0 ? high != 0 : high == 0 || high != missing || low != high - 1)
                return 0;
            l->bits[c][k] = (int8_t)low;
        }
    }
    return 1;
}

static int is_complete(const looking *l) {
    for (int32_t c = 0; c < l->photo->components; c++)
        for (int32_t k = 0; k < 64; k++)
            if (l->bits[c][k] != 0) return 0;
    return l->photo->scans > 0;
}

static void read_app1(looking *l, const uint8_t *x, int32_t length) {
    static const char xmp[] = "http://ns.adobe.com/xap/1.0/"; /* and its NUL */
    if (length >= 6 && memcmp(x, "Exif\0\0", 6) == 0) {
        l->exif = l->has_exif ? -1 : exif_orientation(x + 6, length - 6);
        l->has_exif = 1;
    } else if (length >= (int32_t)sizeof xmp && memcmp(x, xmp, sizeof xmp) == 0) {
        if (xmp_orientation(x + sizeof xmp, length - (int32_t)sizeof xmp)) l->xmp = -1;
    }
}

int32_t jpeg_look(bytes_of file, mnv2_photo *photo) {
    looking l = {.file = file, .photo = photo};
    int is_odd = 0, is_ended = 0, scans = 0;
    memset(l.bits, -1, sizeof l.bits);
    photo->format = MNV2_JPEG;
    photo->orientation = 1;
    int64_t at = 2;
    while (at + 4 <= file.size) {
        if (file.data[at] != 0xFF) return MNV2_PHOTO_ELSEWHERE;
        const int marker = file.data[at + 1];
        if (marker == 0xFF) { /* fill */
            at++;
            continue;
        }
        if (marker == EOI) break;
        if (marker <= TEM || (marker >= RST0 && marker <= SOI)) return MNV2_PHOTO_ELSEWHERE;
        const int32_t length = big_endian(file.data + at + 2, 2) - 2;
        const uint8_t *x = file.data + at + 4;
        if (length < 0 || at + 4 + length > file.size) return MNV2_PHOTO_ELSEWHERE;
        switch (marker) {
        case SOF0:
        case SOF1:
        case SOF2: is_odd |= !read_frame(&l, x, length, marker); break;
        case APP1: read_app1(&l, x, length); break;
        case DQT: is_odd |= scans > 0; break; /* of a component's first scan: not kept apart */
        case DNL:
        case DAC: is_odd = 1; break;
        case SOS:
            if (scans == MNV2_MAX_SCANS) return MNV2_PHOTO_BOMB;
            is_odd |= !read_scan(&l, x, length);
            photo->scan[scans] = at;
            photo->scan_end[scans++] = end_of_data(file, at + 4 + length);
            photo->scans = scans;
            break;
        default:
            if (marker > SOF2 && marker < RST0 && marker != DHT) { /* lossless, arithmetic … */
                if (length >= 5 && marker != JPG && !l.has_frame)
                    photo->height = big_endian(x + 1, 2), photo->width = big_endian(x + 3, 2);
                is_odd = 1;
            }
        }
        at = marker == SOS ? photo->scan_end[scans - 1] : at + 4 + length;
    }
    is_ended = at + 2 <= file.size && file.data[at] == 0xFF && file.data[at + 1] == EOI;
    if (l.exif > 1) photo->orientation = l.exif;
    if (is_odd || !is_ended || !is_complete(&l) || l.exif < 0 || (l.xmp && !l.exif))
        return MNV2_PHOTO_ELSEWHERE;
    return MNV2_IMAGE_OK;
}
