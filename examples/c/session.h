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

/* `s` is zero; session_stop in any case. */
bool session_start(session *s, const common_options *said, refusal *why);
void session_stop(session *s);

/* The pixels of an image at the network's own size, as malloc makes them, and how large the upright
 * picture was; or NULL. Decoding takes the arena's memory. */
uint8_t *session_pixels(session *s, const char *image, photo_size *size, refusal *why);

/* Lines for people on standard output: the weights, the arena, the instruction set. */
void session_describe(const session *s);
/* On standard error what Linux counts: VmHWM is the most that was resident, RssAnon what is this
 * process's alone. */
void session_print_memory(const session *s);

#endif
