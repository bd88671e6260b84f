#include "refusal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool refuse(refusal *why, const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(why->text, sizeof why->text, format, values);
    va_end(values);
    return false;
}

bool refuse_within(refusal *why, const char *format, ...) {
    char before[sizeof why->text];
    va_list values;
    va_start(values, format);
    const int written = vsnprintf(before, sizeof before, format, values);
    va_end(values);
    const size_t most = sizeof why->text - 1;
    const size_t length = written < 0 ? 0 : (size_t)written < most ? (size_t)written : most;
    const size_t old = strlen(why->text), kept = old < most - length ? old : most - length;
    memmove(why->text + length, why->text, kept);
    memcpy(why->text, before, length);
    why->text[length + kept] = '\0';
    return false;
}

shown_bytes shown(const void *bytes, size_t count) {
    const unsigned char *x = bytes;
    shown_bytes made;
    size_t length = 0;
    for (size_t i = 0; i < count && i < 80; i++) {
        if (x[i] >= ' ' && x[i] <= '~')
            made.text[length++] = (char)x[i];
        else
            length += (size_t)snprintf(made.text + length, 5, "\\x%02x", (unsigned)x[i]);
    }
    made.text[length] = '\0';
    return made;
}
