/* Why something was refused, for people: what was given, what was expected and what to do. */
#ifndef REFUSAL_H
#define REFUSAL_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char text[1024];
} refusal;

#define LIKE_PRINTF __attribute__((format(printf, 2, 3)))

/* Writes the text. Always false, so that a check may return it. */
bool refuse(refusal *why, const char *format, ...) LIKE_PRINTF;

/* Puts a text in front of the one that is there, such as where it happened. Always false. */
bool refuse_within(refusal *why, const char *format, ...) LIKE_PRINTF;

/* Bytes from a stranger, at most 80 of them, as printable ASCII. */
typedef struct {
    char text[4 * 80 + 1];
} shown_bytes;

shown_bytes shown(const void *bytes, size_t count);

#endif
