/* A model file that is open, planned, and has an arena: what a run needs. */
#ifndef SESSION_H
#define SESSION_H

#include "model_file.h"
#include "options.h"
#include "photo.h"
#include "planner.h"

typedef struct {
    model_file model;
    network_plan planned;
    const mnv2_isa *isa;
    mnv2_pool *pool; /* NULL: one thread */
    void *arena;
} session;

/* `s` is zero; session_end in any case. */
bool session_start(session *s, const common_options *said, refusal *why);
/* Frees all, says on standard error what was asked for and, unless all is `done`, why not. Returns
 * the program's exit code, 0 or FAILED: also where standard output cannot be written. */
int session_end(session *s, const common_options *said, bool done, refusal *why);

/* The pixels of an image at the network's own size, as malloc makes them, and how large the upright
 * picture was; or NULL. Decoding takes the arena's memory. */
uint8_t *session_pixels(session *s, const char *image, photo_size *size, refusal *why);

/* Lines for people on standard output: the weights, the arena, the instruction set. */
void session_describe(const session *s);

#endif
