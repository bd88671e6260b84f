/* The plan executor: steps in order, each through the instruction set's own function. */
#include <string.h>

#include "float_state.h"
#include "isa.h"

int32_t mnv2_run(const mnv2_isa *isa, const mnv2_plan *plan, const void *weights, void *arena,
                 const void *image, int32_t image_is_float, float *features, float *logits) {
    if (plan->block_count < 1 || plan->block_count > MNV2_MAX_BLOCKS) return MNV2_BAD_PLAN;
    const mnv2_context context = {plan, weights, arena, image, image_is_float, logits};
    const float_state caller = float_state_enter();
    int32_t status = MNV2_OK;
    for (int32_t i = 0; i < plan->step_count && status == MNV2_OK; i++) {
        const mnv2_step *step = &plan->steps[i];
        switch (step->kind) {
            case MNV2_ROWS:
                isa->rows(&context, step);
                break;
            case MNV2_TILES:
                isa->tiles(&context, step);
                break;
            case MNV2_HEAD:
                isa->head(&context, step);
                if (features)
                    memcpy(features, context.arena + step->output,
                           (size_t)plan->head.features * sizeof *features);
                break;
            case MNV2_CLASSIFIER:
                if (logits) isa->classifier(&context, step);
                break;
            default:
                status = MNV2_BAD_PLAN;
        }
    }
    float_state_leave(caller);
    return status;
}
