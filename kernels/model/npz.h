/* The .npz container: a zip of .npy arrays, read in place. Believes nothing: every offset and size
 * is checked against the file and against its second mention in the zip before it is used, and an
 * array header is compared with the one expected.
 *
 * Accepted are members stored or deflated in a file below 4 GiB with one disk, no comment and no
 * encryption: all that mnv2_engine and NumPy write. */
#ifndef NPZ_H
#define NPZ_H

#include <stdint.h>

#include "refusal.h"
#include "room.h"

enum { NPZ_MAX_MEMBERS = 4096, NPY_MAX_HEADER = 4096, NPY_MAX_RANK = 4 };

typedef struct {
    const uint8_t *bytes;
    uint64_t count;
} file_view;

/* Where a member lies. Everything here was checked against the file's size. */
typedef struct {
    const char *name; /* in the file, `name_bytes` long, without ".npy": ASCII */
    size_t name_bytes;
    bool deflated;
    uint32_t crc;         /* of the inflated bytes */
    uint64_t packed_size; /* bytes in the file */
    uint64_t size;        /* bytes inflated: .npy header and data */
    uint64_t start;       /* offset in the file of the first byte after the local header */
} npz_member;

typedef struct {
    npz_member *members; /* in the order of the directory */
    size_t count;
    uint64_t start; /* of the zip's directory in the file */
} npz_directory;

/* What an array has to be. */
typedef struct {
    const char *descr; /* NumPy's name of the type, such as "<f4"; its last letter is its bytes */
    int rank;
    int64_t shape[NPY_MAX_RANK];
} npy_array;

/* Refuses a file that is no zip, was cut short or contradicts itself. The members lie in the memory
 * that `left` had. */
bool npz_read(npz_directory *directory, file_view file, reading_room *left, refusal *why);
/* Bytes of memory that it takes at most, of a file with `members` of them. */
uint64_t npz_room(uint64_t members);
/* Before anything is checked: how many members the end of a file says that it has, 0 of what is no
 * zip; and how large one of them is said to be, 0 where it is not found. */
uint64_t npz_count(file_view file);
uint64_t npz_size(file_view file, const char *name);

/* NULL if there is none of that name. */
const npz_member *npz_find(const npz_directory *directory, const char *name);
bool npz_is_named(const npz_member *member, const char *name);

/* Writes all of a member, inflated, its checksum checked, to y, member->size bytes. */
bool npz_copy(file_view file, const npz_member *member, uint8_t *y, refusal *why);
/* Reads a stored member and checks its checksum. */
bool npz_check(file_view file, const npz_member *member, refusal *why);

/* Bytes of an array's data. */
uint64_t npy_bytes(const npy_array *array);

/* Offset of the data in a member of `member_bytes`, which begins with `head`. Refuses any header
 * but that of `due` in C order, and data that do not fill the member to its last byte. */
bool npy_data_offset(const uint8_t *head, uint64_t head_bytes, uint64_t member_bytes,
                     const npy_array *due, uint64_t *offset, refusal *why);

#endif
