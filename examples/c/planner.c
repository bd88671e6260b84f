#include "planner.h"

#include <string.h>

void plan_network(network_plan *made, const network *net, int64_t weight_bytes, int32_t threads,
                  const char *cpu) {
    memcpy(made->blocks, net->blocks, (size_t)net->block_count * sizeof *net->blocks);
    made->plan = (mnv2_plan){
        .stem = net->stem,
        .head = net->head,
        .blocks = made->blocks,
        .convs = net->conv_count ? net->convs : NULL,
        .dense = net->dense_count ? net->dense : NULL,
        .block_count = net->block_count,
        .conv_count = net->conv_count,
        .dense_count = net->dense_count,
        .maps = net->map_count ? net->maps : NULL,
        .predictor_count = net->predictor_count,
        .map_count = net->map_count,
        .columns = net->detection.columns,
        .precision = (int32_t)net->precision,
        .threads = threads,
        .weight_bytes = weight_bytes,
    };
    mnv2_make_plan(&made->plan, made->blocks, made->steps, cpu);
}
