/* The .npy headers of npz.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bytes.h"
#include "npz.h"

enum { WANTED_BYTES = 160 }; /* of the longest header that is ever expected, and more */

/* The header as NumPy writes it. */
static void wanted_header(const npy_array *due, char text[WANTED_BYTES]) {
    int at = snprintf(text, WANTED_BYTES, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                      due->descr);
    for (int i = 0; i < due->rank; i++)
        at += snprintf(text + at, (size_t)(WANTED_BYTES - at), i ? ", %" PRId64 : "%" PRId64,
                       due->shape[i]);
    snprintf(text + at, (size_t)(WANTED_BYTES - at), due->rank == 1 ? ",), }" : "), }");
}

/* Without the spaces, those and line breaks at both ends, and a comma before the last bracket.
 * Returns the length of y, which may be x. */
static size_t squeeze(const char *x, size_t count, char *y) {
    while (count > 0 && (x[count - 1] == ' ' || x[count - 1] == '\n')) count--;
    while (count > 0 && (*x == ' ' || *x == '\n')) x++, count--;
    size_t kept = 0, made = 0;
    for (size_t i = 0; i < count; i++)
        if (x[i] != ' ') y[kept++] = x[i];
    for (size_t i = 0; i < kept; i++)
        if (y[i] != ',' || i + 1 == kept || y[i + 1] != '}') y[made++] = y[i];
    return made;
}

uint64_t npy_bytes(const npy_array *array) {
    uint64_t bytes = (uint64_t)(array->descr[strlen(array->descr) - 1] - '0');
    for (int i = 0; i < array->rank; i++) bytes *= (uint64_t)array->shape[i];
    return bytes;
}

bool npy_data_offset(const uint8_t *head, uint64_t head_bytes, uint64_t member_bytes,
                     const npy_array *due, uint64_t *offset, refusal *why) {
    if (head_bytes < 12 || memcmp(head, "\x93NUMPY", 6) != 0)
        return refuse(why, "is not a .npy array");
    const bool is_first = head[6] == 1, is_later = head[6] == 2 || head[6] == 3;
    if (!(is_first || is_later) || head[7] != 0)
        return refuse(why, "has .npy version %d.%d: expected 1.0 to 3.0", head[6], head[7]);
    const uint64_t start = is_first ? 10 : 12;
    const uint64_t length = is_first ? u16_at(head + 8) : u32_at(head + 8);
    if (length > NPY_MAX_HEADER || start + length > head_bytes)
        return refuse(why, "has a .npy header of %" PRIu64 " bytes that does not fit", length);

    char wanted[WANTED_BYTES], squeezed[WANTED_BYTES], found[NPY_MAX_HEADER];
    wanted_header(due, wanted);
    const size_t wanted_bytes = squeeze(wanted, strlen(wanted), squeezed);
    const char *text = (const char *)head + start;
    const size_t found_bytes = squeeze(text, (size_t)length, found);
    if (found_bytes != wanted_bytes || memcmp(found, squeezed, wanted_bytes) != 0)
        return refuse(why, "has the array header %s: expected %s",
                      shown(text, (size_t)length).text, wanted);
    *offset = start + length;
    if (*offset + npy_bytes(due) != member_bytes)
        return refuse(why, "has %" PRIu64 " bytes of data: expected %" PRIu64,
                      member_bytes - *offset, npy_bytes(due));
    return true;
}
