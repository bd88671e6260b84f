/* The plan executor: steps in order, each through the instruction set's own function. */
#include <string.h>

#include "parts.h"

typedef struct {
    mnv2_context context;
    const mnv2_isa *isa;
} run;

_Static_assert(sizeof(run) <= MNV2_ARGUMENT_BYTES, "every thread has a copy");

/* What computes dense layer `index`: the first one as it is stored; those behind it are small, and
 * nothing is gained by less than float32. */
static mnv2_step_function *dense_of(const mnv2_isa *isa, const mnv2_plan *plan, int32_t index) {
    if (index > 0) return isa->steps[MNV2_FLOAT32]->dense;
    const int32_t stored = plan->dense[0].stored;
    if (stored == 0) return isa->steps[plan->precision]->dense;
    if (stored == MNV2_INT8) return isa->steps[MNV2_FLOAT32]->dense_int8;
    return isa->steps[stored]->dense;
}

static void run_step(const mnv2_isa *isa, const mnv2_context *context, const mnv2_step *step) {
    const mnv2_steps *steps = isa->steps[context->plan->precision];
    switch (step->kind) {
        case MNV2_ROWS:
            steps->rows(context, step);
            break;
        case MNV2_TILES:
            steps->tiles(context, step);
            break;
        case MNV2_HEAD:
            steps->head(context, step);
            break;
        case MNV2_DENSE:
            if (context->logits) dense_of(isa, context->plan, step->first)(context, step);
            break;
        case MNV2_LAYERS:
            steps->layers(context, step);
            break;
        case MNV2_CONV:
            steps->conv(context, step);
            break;
        case MNV2_TAP:
            if (context->taps) steps->tap(context, step);
            break;
        case MNV2_BOXES:
            if (context->boxes || context->scores || context->found) steps->boxes(context, step);
            break;
    }
}

/* The context of image number `image` of a batch. */
static mnv2_context of_image(const mnv2_context *first, int32_t image) {
    const mnv2_plan *plan = first->plan;
    const int64_t values = (int64_t)plan->stem.in_height * plan->stem.in_width * 3;
    const int64_t classes = plan->dense_count ? plan->dense[plan->dense_count - 1].outputs : 0;
    mnv2_context one = *first;
    one.arena += image * plan->arena_bytes;
    const int64_t bytes = values * (one.image_is_float ? (int64_t)sizeof(float) : 1);
    one.image = (const char *)one.image + image * bytes;
    if (one.features) one.features += (int64_t)image * plan->head.features;
    if (one.logits) one.logits += image * classes;
    return one;
}

/* Every step, with the parts that this thread comes by. */
static void run_steps(const run *self, mnv2_pool *pool, mnv2_place *place) {
    int32_t next = 0, tiles = 0; /* whatever this thread has computed before */
    mnv2_context context = self->context;
    context.pool = pool;
    context.place = place;
    context.next = &next;
    context.tiles = &tiles;
    context.caller = float_state_enter();
    for (int32_t i = 0; i < context.plan->step_count; i++)
        for (int32_t image = 0; image < context.images; image++) {
            const mnv2_context one = of_image(&context, image);
            run_step(self->isa, &one, &context.plan->steps[i]);
        }
    /* An idle thread's registers are not saved. */
    if (tiles) self->isa->steps[context.plan->precision]->release();
    float_state_leave(context.caller);
}

static void run_task(const void *argument, mnv2_pool *pool, mnv2_place *place) {
    run self;
    memcpy(&self, argument, sizeof self);
    run_steps(&self, pool, place);
}

/* Whether a step points into the table of its kind. */
static int points_into_table(const mnv2_plan *plan, const mnv2_step *step) {
    switch (step->kind) {
        case MNV2_ROWS:
        case MNV2_TILES:
        case MNV2_LAYERS:
            return step->first >= 0 && step->count >= 0 &&
                   step->first < plan->block_count &&
                   step->count <= plan->block_count - step->first;
        case MNV2_HEAD:
            return 1;
        case MNV2_DENSE:
            return step->first >= 0 && step->first < plan->dense_count;
        case MNV2_CONV:
            return step->first >= 0 && step->first < plan->conv_count;
        case MNV2_TAP:
            return step->first >= 0 && step->first < plan->tap_count;
        case MNV2_BOXES:
            return step->first >= 0 && step->first < plan->map_count;
    }
    return 0;
}

static int32_t check(const mnv2_isa *isa, const mnv2_plan *plan) {
    if (!mnv2_isa_computes(isa, plan->precision)) return MNV2_BAD_PLAN;
    if (plan->block_count < 1 || plan->block_count > MNV2_MAX_BLOCKS) return MNV2_BAD_PLAN;
    if (plan->threads < 1 || plan->threads > MNV2_MAX_THREADS) return MNV2_BAD_PLAN;
    for (int32_t i = 0; i < plan->step_count; i++)
        if (!points_into_table(plan, &plan->steps[i])) return MNV2_BAD_PLAN;
    if (plan->dense_count > 0 && !is_stored_soundly(plan, &plan->dense[0])) return MNV2_BAD_PLAN;
    return MNV2_OK;
}

static int32_t start(const mnv2_isa *isa, mnv2_pool *pool, const mnv2_context *context) {
    const mnv2_plan *plan = context->plan;
    if (check(isa, plan) != MNV2_OK) return MNV2_BAD_PLAN;
    const int together =
        pool && mnv2_pool_threads(pool) == plan->threads && mnv2_pool_acquire(pool);
    run self = {.context = *context, .isa = isa};
    if (together)
        mnv2_pool_run(pool, run_task, &self, sizeof self);
    else
        run_steps(&self, NULL, NULL);
    return MNV2_OK;
}

static mnv2_context context_of(const mnv2_plan *plan, const void *weights, void *arena,
                               const void *image, int32_t image_is_float, float *const *taps) {
    return (mnv2_context){.plan = plan,
                          .weights = weights,
                          .arena = arena,
                          .image = image,
                          .image_is_float = image_is_float,
                          .images = 1,
                          .in_pairs = mnv2_prefers_pairs(),
                          .taps = taps};
}

int32_t mnv2_run(const mnv2_isa *isa, const mnv2_plan *plan, mnv2_pool *pool, const void *weights,
                 void *arena, const void *image, int32_t image_is_float, float *features,
                 float *logits, float *const *taps) {
    mnv2_context context = context_of(plan, weights, arena, image, image_is_float, taps);
    context.features = features;
    context.logits = logits;
    return start(isa, pool, &context);
}

int32_t mnv2_run_batch(const mnv2_isa *isa, const mnv2_plan *plan, mnv2_pool *pool,
                       const void *weights, void *arenas, int32_t count, const void *images,
                       int32_t images_are_float, float *features, float *logits) {
    if (count < 1 || (count > 1 && plan->arena_bytes % 64 != 0)) return MNV2_BAD_PLAN;
    mnv2_context context = context_of(plan, weights, arenas, images, images_are_float, NULL);
    context.images = count;
    context.features = features;
    context.logits = logits;
    return start(isa, pool, &context);
}

int32_t mnv2_run_detector(const mnv2_isa *isa, const mnv2_plan *plan, mnv2_pool *pool,
                          const void *weights, void *arena, const void *image,
                          int32_t image_is_float, float *boxes, float *scores,
                          float *const *taps) {
    mnv2_context context = context_of(plan, weights, arena, image, image_is_float, taps);
    context.boxes = boxes;
    context.scores = scores;
    return start(isa, pool, &context);
}

int32_t mnv2_run_candidates(const mnv2_isa *isa, const mnv2_plan *plan, mnv2_pool *pool,
                            const void *weights, void *arena, const void *image,
                            int32_t image_is_float, mnv2_candidates *found) {
    const mnv2_detection *how = found->how;
    int64_t anchors = 0;
    for (int32_t i = 0; i < plan->map_count; i++) {
        const mnv2_block *head = &plan->blocks[plan->maps[i].boxes];
        anchors += (int64_t)head->out_height * head->out_width * plan->maps[i].anchors;
    }
    if (how->anchors != anchors || how->columns != plan->columns || how->max_objects < 1 ||
        how->columns <= how->has_background || how->columns > MNV2_MAX_COLUMNS ||
        found->places < how->max_objects)
        return MNV2_BAD_PLAN;
    mnv2_context context = context_of(plan, weights, arena, image, image_is_float, NULL);
    found->count = 0;
    context.found = found;
    return start(isa, pool, &context);
}
