#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    EXACT_DIGITS = 15, /* of an integer that a double holds */
    MOST_DIGITS = 800, /* no halfway between two doubles has more */
    MOST_EXPONENT = 100000000 /* beyond what all digits of a file can make up for */
};

typedef struct {
    char *at, *end; /* *end is NUL */
    json_value *values;
    uint32_t count, places;
    reading_room *left;
    refusal *why;
} parser;

static bool parse_value(parser *p, int depth);

static bool unexpected(parser *p, const char *expected) {
    const size_t left = (size_t)(p->end - p->at);
    if (left == 0) return refuse(p->why, "it ends where %s is expected", expected);
    return refuse(p->why, "'%s' found where %s is expected",
                  shown(p->at, left < 20 ? left : 20).text, expected);
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static void skip_spaces(parser *p) {
    while (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r') p->at++;
}

/* How many values there are at most: each stands first, or behind one of these. */
static uint32_t count_values(const char *x, const char *end) {
    uint32_t count = 1;
    bool is_inside = false; /* a text */
    for (; x < end; x++) {
        if (is_inside && *x == '\\')
            x++;
        else if (*x == '"')
            is_inside = !is_inside;
        else if (!is_inside && (*x == '[' || *x == '{' || *x == ',' || *x == ':'))
            count++;
    }
    return count;
}

/* Appends a value and gives its place; UINT32_MAX beyond those that were counted, which none is. */
static uint32_t append(parser *p, json_kind kind) {
    if (p->count == p->places) {
        refuse(p->why, "it has more values than were counted");
        return UINT32_MAX;
    }
    p->values[p->count] = (json_value){.kind = kind, .span = 1};
    return p->count++;
}

static bool parse_word(parser *p, const char *word, json_kind kind) {
    if (strncmp(p->at, word, strlen(word)) != 0) return unexpected(p, "a value");
    p->at += strlen(word);
    return append(p, kind) != UINT32_MAX;
}

/* What stands behind the e of a number, or 0. */
static long exponent_at(const char *x, const char *end) {
    long exponent = 0;
    const bool is_negative = x < end && *x == '-';
    if (x < end && (*x == '-' || *x == '+')) x++;
    for (; x < end; x++)
        if (exponent < MOST_EXPONENT) exponent = 10 * exponent + (*x - '0');
    return is_negative ? -exponent : exponent;
}

/* The number that is written there. strtod gets its digits as an integer with an exponent, since a
 * locale may have another decimal point. */
static double number_of(const char *x, const char *end) {
    char text[MOST_DIGITS + 32], *y = text;
    long exponent = 0;
    int64_t integer = 0;
    int count = 0;
    bool is_behind = false, is_more = false; /* the point; than zeros left out */
    const bool is_negative = *x == '-';
    if (is_negative) x++;
    for (; x < end && *x != 'e' && *x != 'E'; x++) {
        if (*x == '.') {
            is_behind = true;
            continue;
        }
        exponent -= is_behind;
        if (count == 0 && *x == '0') continue;
        if (count < MOST_DIGITS) {
            text[count++] = *x;
            if (count <= EXACT_DIGITS) integer = 10 * integer + (*x - '0');
        } else {
            is_more = is_more || *x != '0';
            exponent++;
        }
    }
    if (x < end) exponent += exponent_at(x + 1, end);
    if (exponent == 0 && count <= EXACT_DIGITS) return (double)(is_negative ? -integer : integer);
    y += count;
    if (is_more) *y++ = '1', exponent--;
    if (count == 0) *y++ = '0';
    snprintf(y, 24, "e%ld", exponent);
    const double number = strtod(text, NULL);
    return is_negative ? -number : number;
}

static bool parse_number(parser *p) {
    char *const first = p->at;
    json_kind kind = JSON_INTEGER;
    if (*p->at == '-') p->at++;
    if (!is_digit(*p->at)) {
        p->at = first;
        return unexpected(p, "a number (NaN and infinities are none)");
    }
    if (*p->at == '0')
        p->at++;
    else
        while (is_digit(*p->at)) p->at++;
    if (*p->at == '.' && is_digit(p->at[1])) {
        kind = JSON_REAL;
        for (p->at++; is_digit(*p->at);) p->at++;
    }
    if (*p->at == 'e' || *p->at == 'E') {
        const char *digits = p->at + 1;
        if (*digits == '+' || *digits == '-') digits++;
        if (is_digit(*digits)) {
            kind = JSON_REAL;
            for (p->at += digits - p->at; is_digit(*p->at);) p->at++;
        }
    }
    const uint32_t made = append(p, kind);
    if (made == UINT32_MAX) return false;
    p->values[made].number = number_of(first, p->at);
    p->values[made].text = first;
    p->values[made].count = (uint32_t)(p->at - first);
    return true;
}

/* Four hexadecimal digits; -1 if they are none. */
static long hex_at(const char *x) {
    long value = 0;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef", c = x[i];
        const char *found = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
        if (!found) return -1;
        value = value * 16 + (found - digits);
    }
    return value;
}

/* Writes a code point as UTF-8 and gives the place behind it. */
static char *write_utf8(char *y, long code) {
    if (code < 0x80) {
        *y++ = (char)code;
        return y;
    }
    if (code < 0x800) {
        *y++ = (char)(0xC0 | code >> 6);
    } else {
        if (code < 0x10000) {
            *y++ = (char)(0xE0 | code >> 12);
        } else {
            *y++ = (char)(0xF0 | code >> 18);
            *y++ = (char)(0x80 | (code >> 12 & 0x3F));
        }
        *y++ = (char)(0x80 | (code >> 6 & 0x3F));
    }
    *y++ = (char)(0x80 | (code & 0x3F));
    return y;
}

/* The escape at p->at, behind its backslash; y moves on. */
static bool parse_escape(parser *p, char **y) {
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char *letter = *p->at ? strchr(letters, *p->at) : NULL;
    if (letter) {
        p->at++;
        *(*y)++ = meanings[letter - letters];
        return true;
    }
    long code = *p->at == 'u' ? hex_at(p->at + 1) : -1;
    if (code < 0) return unexpected(p, "the rest of an escape");
    p->at += 5;
    if (code >= 0xD800 && code < 0xDC00 && p->at[0] == '\\' && p->at[1] == 'u') {
        const long low = hex_at(p->at + 2);
        if (low >= 0xDC00 && low < 0xE000) {
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
            p->at += 6;
        }
    }
    *y = write_utf8(*y, code); /* no longer than the escape */
    return true;
}

static bool parse_text(parser *p) {
    char *const first = ++p->at, *y = first;
    while (*p->at != '"') {
        if ((unsigned char)*p->at < ' ')
            return unexpected(p, p->at == p->end ? "a quotation mark" : "an escape");
        if (*p->at != '\\')
            *y++ = *p->at++;
        else if (p->at++, !parse_escape(p, &y))
            return false;
    }
    p->at++;
    *y = '\0';
    const uint32_t made = append(p, JSON_TEXT);
    if (made == UINT32_MAX) return false;
    p->values[made].text = first;
    p->values[made].count = (uint32_t)(y - first);
    return true;
}

static int compare_texts(const json_value *x, const json_value *y) {
    if (x->count != y->count) return x->count < y->count ? -1 : 1;
    return memcmp(x->text, y->text, x->count);
}

/* Moves a key down the heap below it, whose largest is on top. */
static void sift(const json_value **keys, uint32_t at, uint32_t count) {
    const json_value *moved = keys[at];
    for (uint32_t below; (below = 2 * at + 1) < count; at = below) {
        if (below + 1 < count && compare_texts(keys[below], keys[below + 1]) < 0) below++;
        if (compare_texts(moved, keys[below]) >= 0) break;
        keys[at] = keys[below];
    }
    keys[at] = moved;
}

static void sort(const json_value **keys, uint32_t count) {
    for (uint32_t at = count / 2; at-- > 0;) sift(keys, at, count);
    for (uint32_t end = count; end-- > 1;) {
        const json_value *largest = keys[0];
        keys[0] = keys[end];
        keys[end] = largest;
        sift(keys, 0, end);
    }
}

/* Sorted, since a hostile object has a hundred thousand of them. */
static bool check_keys(parser *p, const json_value *object) {
    reading_room left = *p->left; /* what is taken here is given back */
    const json_value **keys = room_take(&left, object->count, sizeof *keys);
    if (!keys) return refuse(p->why, "no memory for its keys");
    const json_value *key = json_first(object);
    for (uint32_t i = 0; i < object->count; i++, key = json_next(json_next(key))) keys[i] = key;
    sort(keys, object->count);
    for (uint32_t i = 1; i < object->count; i++)
        if (compare_texts(keys[i - 1], keys[i]) == 0)
            return refuse(p->why, "an object names the key '%s' twice",
                          shown(keys[i]->text, keys[i]->count).text);
    return true;
}

/* What stands between the brackets of a list or an object. */
static bool parse_values(parser *p, json_kind kind, int depth) {
    const char closing = kind == JSON_LIST ? ']' : '}';
    const uint32_t made = append(p, kind);
    if (made == UINT32_MAX) return false;
    if (depth == JSON_MAX_DEPTH) return refuse(p->why, "it is nested too deeply");
    p->at++;
    skip_spaces(p);
    while (*p->at != closing) {
        if (kind == JSON_OBJECT) {
            if (*p->at != '"') return unexpected(p, "a key");
            if (!parse_text(p)) return false;
            skip_spaces(p);
            if (*p->at != ':') return unexpected(p, "a colon");
            p->at++;
        }
        if (!parse_value(p, depth + 1)) return false;
        p->values[made].count++;
        if (*p->at == closing) break;
        if (*p->at != ',') return unexpected(p, "a comma");
        p->at++;
        skip_spaces(p);
        if (*p->at == closing) return unexpected(p, "a value");
    }
    p->at++;
    p->values[made].span = p->count - made;
    return kind == JSON_LIST || check_keys(p, &p->values[made]);
}

static bool parse_value(parser *p, int depth) {
    bool done;
    skip_spaces(p);
    switch (*p->at) {
        case '{':
            done = parse_values(p, JSON_OBJECT, depth);
            break;
        case '[':
            done = parse_values(p, JSON_LIST, depth);
            break;
        case '"':
            done = parse_text(p);
            break;
        case 'n':
            done = parse_word(p, "null", JSON_NULL);
            break;
        case 'f':
            done = parse_word(p, "false", JSON_FALSE);
            break;
        case 't':
            done = parse_word(p, "true", JSON_TRUE);
            break;
        default:
            done = parse_number(p);
    }
    skip_spaces(p);
    return done;
}

/* No surrogates, nothing longer than it has to be, nothing beyond U+10FFFF. */
static bool is_utf8(const unsigned char *x, const unsigned char *end) {
    while (x < end) {
        const int more = *x < 0x80 ? 0 : *x < 0xC2 ? -1 : *x < 0xE0 ? 1 : *x < 0xF0 ? 2 : 3;
        if (more < 0 || *x > 0xF4 || end - x <= more) return false;
        for (int i = 1; i <= more; i++)
            if ((x[i] & 0xC0) != 0x80) return false;
        if ((*x == 0xE0 && x[1] < 0xA0) || (*x == 0xED && x[1] > 0x9F) ||
            (*x == 0xF0 && x[1] < 0x90) || (*x == 0xF4 && x[1] > 0x8F))
            return false;
        x += 1 + more;
    }
    return true;
}

const json_value *json_parse(char *text, size_t count, reading_room *left, refusal *why) {
    parser p = {.at = text, .end = text + count, .left = left, .why = why};
    if (!is_utf8((unsigned char *)text, (unsigned char *)text + count)) {
        refuse(why, "it is no UTF-8");
        return NULL;
    }
    p.places = count_values(text, p.end);
    p.values = room_take(left, p.places, sizeof *p.values);
    if (!p.values) {
        refuse(why, "no memory for its values");
        return NULL;
    }
    if (!parse_value(&p, 0)) return NULL;
    if (p.at == p.end) return p.values;
    unexpected(&p, "its end");
    return NULL;
}

const json_value *json_get(const json_value *object, const char *key) {
    const json_value *found = json_first(object);
    for (uint32_t i = 0; i < object->count; i++, found = json_next(json_next(found)))
        if (json_is(found, key)) return json_next(found);
    return NULL;
}

bool json_is(const json_value *value, const char *text) {
    return value->kind == JSON_TEXT && value->count == strlen(text) &&
           memcmp(value->text, text, value->count) == 0;
}

bool json_is_number(const json_value *value) {
    return value->kind == JSON_INTEGER || value->kind == JSON_REAL;
}

bool json_is_integer(const json_value *value, int64_t least, int64_t most) {
    return value->kind == JSON_INTEGER && value->number >= (double)least &&
           value->number <= (double)most;
}

const char *json_kind_name(const json_value *value) {
    static const char *const names[] = {"null",   "false", "true", "integer",
                                        "number", "text",  "list", "object"};
    return names[value->kind];
}

shown_value json_shown(const json_value *value) {
    shown_value made;
    const char *format = value->kind == JSON_TEXT ? "'%s'" : "%s";
    const char *text = json_kind_name(value);
    const shown_bytes written = shown(value->text, value->text ? value->count : 0);
    if (value->text) text = written.text;
    snprintf(made.text, sizeof made.text, format, text);
    return made;
}
