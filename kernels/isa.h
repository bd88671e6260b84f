/* What one instruction set offers to the plan executor: for each precision that it computes in, a
 * function for each kind of step. */
#ifndef MNV2_ISA_H
#define MNV2_ISA_H

#include "float_state.h"
#include "image/lines.h"
#include "pool.h"

/* Everything that a step reads and writes, and how this thread comes by parts of it. */
typedef struct {
    const mnv2_plan *plan;
    const char *weights;
    char *arena;
    const void *image;
    int image_is_float;
    int images; /* that each step takes, one behind the other; what is here is the first one's */
    float *features, *logits; /* the caller's, or NULL */
    float *boxes, *scores;    /* of a detector; the caller's, or NULL */
    mnv2_candidates *found;   /* of a detector; the caller's, or NULL */
    float_state caller;       /* of this thread, outside of the run */
    float *const *taps;       /* the caller's, or NULL; it is there while a part is in progress */
    mnv2_pool *pool;   /* whose threads share the parts; NULL: there is only this one */
    mnv2_place *place; /* of this thread in the pool, or: */
    int32_t *next;     /* the part that this thread takes next */
    int in_pairs;      /* layers of few channels take pixels in pairs, where PAIRED (paired.h) */
    int32_t *tiles;    /* the shapes of this thread's tile registers (amx/), 0 while it has none */
} mnv2_context;

typedef void mnv2_step_function(const mnv2_context *context, const mnv2_step *step);

typedef struct {
    mnv2_step_function *rows, *tiles, *layers, *conv, *tap, *boxes, *head, *dense;
    mnv2_step_function *dense_int8; /* of MNV2_FLOAT32: dense layer 0 with weights of 8 bits */
    void (*release)(void); /* at the end of a run in which `tiles` was set */
} mnv2_steps;

struct mnv2_isa {
    const char *name;
    int (*supported)(void);
    const mnv2_steps *steps[MNV2_PRECISIONS]; /* all NULL: it does not compute so */
    const mnv2_lines *lines;                  /* of a resize */
};

/* Whether pixels in pairs (paired.h) were measured to be faster on this family of CPUs. */
int mnv2_prefers_pairs(void);

/* Whether a dense layer is stored as one of its place may be. */
static inline int is_stored_soundly(const mnv2_plan *plan, const mnv2_dense *dense) {
    const int is_one = dense->stored == MNV2_FLOAT16_WEIGHTS ||
                       dense->stored == MNV2_BFLOAT16_WEIGHTS || dense->stored == MNV2_INT8;
    return dense->stored == 0 ||
           (is_one && dense == plan->dense && plan->precision == MNV2_FLOAT32);
}

/* The steps of the instruction set that is being compiled, by the name of their precision. */
#define MNV2_JOIN3(a, b, c) a##b##_##c
#define MNV2_JOIN(a, b, c) MNV2_JOIN3(a, b, c)
#define MNV2_STEPS(precision) MNV2_JOIN(mnv2_steps_, precision, MNV2_ISA_NAME)

#endif
