#include "show_plan.h"

#include <inttypes.h>

#define SHOW(record, field) fprintf(file, " " #field "=%" PRId64, (int64_t)(record)->field)
#define SHOW_THREE(record, field)                                                                \
    fprintf(file, " " #field "=%a,%a,%a", (double)(record)->field[0], (double)(record)->field[1], \
            (double)(record)->field[2])

static void show_stem(FILE *file, const mnv2_stem *stem) {
    fputs("stem", file);
    SHOW(stem, in_height), SHOW(stem, in_width), SHOW(stem, out_height), SHOW(stem, out_width);
    SHOW(stem, channels), SHOW(stem, pad_top), SHOW(stem, pad_left);
    SHOW_THREE(stem, scale), SHOW_THREE(stem, shift), SHOW_THREE(stem, mean);
    SHOW_THREE(stem, std), SHOW_THREE(stem, pad);
    SHOW(stem, activation), SHOW(stem, fraction), SHOW(stem, weight), SHOW(stem, bias);
    fputc('\n', file);
}

static void show_block(FILE *file, int32_t index, const mnv2_block *block) {
    fprintf(file, "block%d", index);
    SHOW(block, in_height), SHOW(block, in_width), SHOW(block, in_channels);
    SHOW(block, hidden);
    SHOW(block, out_height), SHOW(block, out_width), SHOW(block, out_channels);
    SHOW(block, kernel), SHOW(block, stride), SHOW(block, pad_top), SHOW(block, pad_left);
    SHOW(block, residual), SHOW(block, pad);
    SHOW(block, expand_activation), SHOW(block, depthwise_activation);
    SHOW(block, project_activation);
    SHOW(block, expand_fraction), SHOW(block, depthwise_fraction), SHOW(block, project_fraction);
    SHOW(block, expand_weight), SHOW(block, expand_bias);
    SHOW(block, depthwise_weight), SHOW(block, depthwise_bias);
    SHOW(block, project_weight), SHOW(block, project_bias);
    SHOW(block, partial), SHOW(block, ring), SHOW(block, thin), SHOW(block, thin_rows);
    SHOW(block, within), SHOW(block, within_count), SHOW(block, output);
    SHOW(block, behind), SHOW(block, behind_count);
    SHOW(block, expanded_tap);
    SHOW(block, filtered), SHOW(block, sums), SHOW(block, values);
    fputc('\n', file);
}

static void show_step(FILE *file, int32_t index, const mnv2_step *step) {
    fprintf(file, "step%d", index);
    SHOW(step, kind), SHOW(step, first), SHOW(step, count);
    SHOW(step, input), SHOW(step, output);
    SHOW(step, expanded), SHOW(step, filtered), SHOW(step, halo), SHOW(step, sums);
    SHOW(step, thread_bytes), SHOW(step, strip), SHOW(step, tile);
    SHOW(step, lines), SHOW(step, columns), SHOW(step, bands), SHOW(step, apart);
    SHOW(step, layers), SHOW(step, pixels);
    fputc('\n', file);
}

static void show_conv(FILE *file, int32_t index, const mnv2_conv *conv) {
    fprintf(file, "conv%d", index);
    SHOW(conv, in_height), SHOW(conv, in_width), SHOW(conv, in_channels);
    SHOW(conv, out_height), SHOW(conv, out_width), SHOW(conv, out_channels);
    SHOW(conv, kernel), SHOW(conv, stride), SHOW(conv, activation), SHOW(conv, fraction);
    SHOW(conv, weight), SHOW(conv, bias);
    fputc('\n', file);
}

static void show_dense(FILE *file, int32_t index, const mnv2_dense *dense) {
    fprintf(file, "dense%d", index);
    SHOW(dense, inputs), SHOW(dense, outputs), SHOW(dense, activation);
    SHOW(dense, stored), SHOW(dense, weight), SHOW(dense, bias);
    fputc('\n', file);
}

static void show_head(FILE *file, const mnv2_head *head) {
    fputs("head", file);
    SHOW(head, height), SHOW(head, width), SHOW(head, channels), SHOW(head, features);
    SHOW(head, activation), SHOW(head, head_weight), SHOW(head, head_bias);
    SHOW(head, fraction), SHOW(head, pool_fraction), SHOW(head, pool_bias);
    SHOW(head, pool_multiplier), SHOW(head, pool_shift);
    fprintf(file, " feature_scale=%a feature_offset=%a\n", (double)head->feature_scale,
            (double)head->feature_offset);
}

static void show_map(FILE *file, int32_t index, const mnv2_map *map) {
    fprintf(file, "map%d", index);
    SHOW(map, boxes), SHOW(map, scores), SHOW(map, anchors);
    fputc('\n', file);
}

void show_plan(FILE *file, const mnv2_plan *plan) {
    fputs("plan", file);
    SHOW(plan, block_count), SHOW(plan, conv_count), SHOW(plan, dense_count);
    SHOW(plan, tap_count), SHOW(plan, step_count), SHOW(plan, precision), SHOW(plan, threads);
    SHOW(plan, predictor_count), SHOW(plan, map_count), SHOW(plan, columns);
    SHOW(plan, arena_bytes), SHOW(plan, weight_bytes);
    fputc('\n', file);
    show_stem(file, &plan->stem);
    for (int32_t i = 0; i < plan->block_count; i++) show_block(file, i, &plan->blocks[i]);
    for (int32_t i = 0; i < plan->conv_count; i++) show_conv(file, i, &plan->convs[i]);
    show_head(file, &plan->head);
    for (int32_t i = 0; i < plan->dense_count; i++) show_dense(file, i, &plan->dense[i]);
    for (int32_t i = 0; i < plan->map_count; i++) show_map(file, i, &plan->maps[i]);
    for (int32_t i = 0; i < plan->step_count; i++) show_step(file, i, &plan->steps[i]);
}
