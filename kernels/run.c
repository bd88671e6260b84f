/* The plan executor: steps in order, each through the instruction set's own function. */
#include <string.h>

#include "float_state.h"
#include "parts.h"

typedef struct {
    mnv2_context context;
    const mnv2_isa *isa;
} run;

static void run_step(const run *self, const mnv2_context *context, const mnv2_step *step) {
    switch (step->kind) {
        case MNV2_ROWS:
            self->isa->rows(context, step);
            break;
        case MNV2_TILES:
            self->isa->tiles(context, step);
            break;
        case MNV2_HEAD:
            self->isa->head(context, step);
            break;
        case MNV2_CLASSIFIER:
            if (context->logits) self->isa->classifier(context, step);
            break;
    }
}

/* The parts [first, end) of every step. */
static void run_parts(const run *self, int first, int end) {
    mnv2_context context = self->context;
    context.first_part = first;
    context.end_part = end;
    const mnv2_plan *plan = context.plan;
    const float_state caller = float_state_enter();
    for (int32_t i = 0; i < plan->step_count; i++) {
        if (i > 0) all_parts_done(&context);
        run_step(self, &context, &plan->steps[i]);
    }
    float_state_leave(caller);
}

static void run_part(void *argument, int32_t part) { run_parts(argument, part, part + 1); }

static int32_t check(const mnv2_plan *plan) {
    if (plan->block_count < 1 || plan->block_count > MNV2_MAX_BLOCKS) return MNV2_BAD_PLAN;
    if (plan->threads < 1 || plan->threads > MNV2_MAX_THREADS) return MNV2_BAD_PLAN;
    for (int32_t i = 0; i < plan->step_count; i++)
        if (plan->steps[i].kind < MNV2_ROWS || plan->steps[i].kind > MNV2_CLASSIFIER)
            return MNV2_BAD_PLAN;
    return MNV2_OK;
}

int32_t mnv2_run(const mnv2_isa *isa, const mnv2_plan *plan, mnv2_pool *pool, const void *weights,
                 void *arena, const void *image, int32_t image_is_float, float *features,
                 float *logits) {
    if (check(plan) != MNV2_OK) return MNV2_BAD_PLAN;
    const int together =
        pool && mnv2_pool_threads(pool) == plan->threads && mnv2_pool_acquire(pool);
    run self = {
        .context = {.plan = plan,
                    .weights = weights,
                    .arena = arena,
                    .image = image,
                    .image_is_float = image_is_float,
                    .logits = logits,
                    .pool = together ? pool : NULL},
        .isa = isa,
    };
    if (together)
        mnv2_pool_run(pool, run_part, &self);
    else
        run_parts(&self, 0, plan->threads);
    for (int32_t i = 0; features && i < plan->step_count; i++) /* nothing writes there later */
        if (plan->steps[i].kind == MNV2_HEAD)
            memcpy(features, (char *)arena + plan->steps[i].output,
                   (size_t)plan->head.features * sizeof *features);
    return MNV2_OK;
}
