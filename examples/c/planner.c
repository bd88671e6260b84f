#include "planner.h"

#include "model/mnv2_model.h"

void plan_network(network_plan *made, const network *net, int64_t weight_bytes, int32_t threads,
                  const char *cpu) {
    mnv2_plan_network(net, net->precision == MNV2_BFLOAT16, weight_bytes, threads, cpu, &made->plan,
                      made->blocks, made->steps);
}
