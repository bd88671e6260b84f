/* The plan executor: steps in order, each through the instruction set's own function. */
#include <string.h>

#include "float_state.h"
#include "parts.h"

typedef struct {
    mnv2_context context;
    const mnv2_steps *steps;
} run;

_Static_assert(sizeof(run) <= MNV2_ARGUMENT_BYTES, "every thread has a copy");

static void run_step(const run *self, const mnv2_context *context, const mnv2_step *step) {
    switch (step->kind) {
        case MNV2_ROWS:
            self->steps->rows(context, step);
            break;
        case MNV2_TILES:
            self->steps->tiles(context, step);
            break;
        case MNV2_HEAD:
            self->steps->head(context, step);
            break;
        case MNV2_CLASSIFIER:
            if (context->logits) self->steps->classifier(context, step);
            break;
        case MNV2_LAYERS:
            self->steps->layers(context, step);
            break;
    }
}

/* Every step, with the parts that this thread comes by. */
static void run_steps(const run *self, mnv2_pool *pool, mnv2_place *place) {
    int32_t next = 0, tiles = 0; /* whatever this thread has computed before */
    mnv2_context context = self->context;
    context.pool = pool;
    context.place = place;
    context.next = &next;
    context.tiles = &tiles;
    const float_state caller = float_state_enter();
    for (int32_t i = 0; i < context.plan->step_count; i++)
        run_step(self, &context, &context.plan->steps[i]);
    if (tiles) self->steps->release(); /* an idle thread's registers are not saved */
    float_state_leave(caller);
}

static void run_task(const void *argument, mnv2_pool *pool, mnv2_place *place) {
    run self;
    memcpy(&self, argument, sizeof self);
    run_steps(&self, pool, place);
}

static int32_t check(const mnv2_isa *isa, const mnv2_plan *plan) {
    if (!mnv2_isa_computes(isa, plan->precision)) return MNV2_BAD_PLAN;
    if (plan->block_count < 1 || plan->block_count > MNV2_MAX_BLOCKS) return MNV2_BAD_PLAN;
    if (plan->threads < 1 || plan->threads > MNV2_MAX_THREADS) return MNV2_BAD_PLAN;
    for (int32_t i = 0; i < plan->step_count; i++)
        if (plan->steps[i].kind < MNV2_ROWS || plan->steps[i].kind > MNV2_LAYERS)
            return MNV2_BAD_PLAN;
    return MNV2_OK;
}

static void copy_features(const mnv2_plan *plan, const void *pooled, float *features) {
    const int32_t *sums = pooled;
    if (plan->precision == MNV2_INT8)
        for (int32_t i = 0; i < plan->head.features; i++)
            features[i] = (float)sums[i] * plan->head.feature_scale;
    else
        memcpy(features, pooled, (size_t)plan->head.features * sizeof *features);
}

int32_t mnv2_run(const mnv2_isa *isa, const mnv2_plan *plan, mnv2_pool *pool, const void *weights,
                 void *arena, const void *image, int32_t image_is_float, float *features,
                 float *logits) {
    if (check(isa, plan) != MNV2_OK) return MNV2_BAD_PLAN;
    const int together =
        pool && mnv2_pool_threads(pool) == plan->threads && mnv2_pool_acquire(pool);
    run self = {
        .context = {.plan = plan,
                    .weights = weights,
                    .arena = arena,
                    .image = image,
                    .image_is_float = image_is_float,
                    .logits = logits},
        .steps = isa->steps[plan->precision],
    };
    if (together)
        mnv2_pool_run(pool, run_task, &self, sizeof self);
    else
        run_steps(&self, NULL, NULL);
    const float_state caller = float_state_enter(); /* features are rounded as logits are */
    for (int32_t i = 0; features && i < plan->step_count; i++) /* nothing writes there later */
        if (plan->steps[i].kind == MNV2_HEAD)
            copy_features(plan, (char *)arena + plan->steps[i].output, features);
    float_state_leave(caller);
    return MNV2_OK;
}
