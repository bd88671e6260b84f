/* JSON (RFC 8259), strictly: UTF-8, no key twice, no NaN, nothing before or behind the value. */
#ifndef JSON_H
#define JSON_H

#include <stdint.h>

#include "refusal.h"
#include "room.h"

typedef enum {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_INTEGER, /* a number without fraction and exponent */
    JSON_REAL,
    JSON_TEXT,
    JSON_LIST,
    JSON_OBJECT
} json_kind;

/* Values lie in an array, each followed by those that it holds; an object's are keys and values in
 * turn. */
typedef struct {
    json_kind kind;
    uint32_t count;   /* values of a list, pairs of an object, bytes of a text or a number */
    uint32_t span;    /* values of the array that it takes, its own included */
    double number;
    const char *text; /* UTF-8 but for halves of surrogate pairs, which may stand alone; ends with
                       * a NUL; of a number as it was written, without one */
} json_value;

enum { JSON_MAX_DEPTH = 16 }; /* more than any model file needs */

/* The value that `text` says, `count` bytes and a NUL behind them, in `left`: NULL if it is none.
 * Texts are decoded where they lie, so `text` is changed and has to stay. */
const json_value *json_parse(char *text, size_t count, reading_room *left, refusal *why);

static inline const json_value *json_first(const json_value *holder) { return holder + 1; }
static inline const json_value *json_next(const json_value *value) { return value + value->span; }

/* The value of a key, or NULL. */
const json_value *json_get(const json_value *object, const char *key);
/* Whether it is that text. */
bool json_is(const json_value *value, const char *text);
bool json_is_number(const json_value *value);
/* Whether it is an integer from `least` to `most`. */
bool json_is_integer(const json_value *value, int64_t least, int64_t most);

/* "list", "text" and so on. */
const char *json_kind_name(const json_value *value);

/* A value for people: a text or a number itself, else its kind. */
typedef struct {
    char text[sizeof(shown_bytes) + 2];
} shown_value;

shown_value json_shown(const json_value *value);

#endif
