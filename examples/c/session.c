#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"
#include "mnv2.h"

/* The named instruction set, or the best that this CPU has. */
static bool choose_isa(const mnv2_isa **chosen, const char *name, mnv2_precision precision,
                       refusal *why) {
    char all[256] = "";
    size_t at = 0;
    const mnv2_isa *isa;
    for (int32_t i = 0; (isa = mnv2_isa_at(i)); i++) {
        const bool is_named = name && strcmp(name, mnv2_isa_name(isa)) == 0;
        const bool wanted = name ? is_named : mnv2_isa_own(isa, (int32_t)precision);
        if (wanted && mnv2_isa_computes(isa, (int32_t)precision) && mnv2_isa_supported(isa)) {
            *chosen = isa;
            return true;
        }
        if (is_named)
            return refuse(why, "--isa %s: this CPU does not have it; leave the option out", name);
        if (at < sizeof all)
            at += (size_t)snprintf(all + at, sizeof all - at, " %s", mnv2_isa_name(isa));
    }
    if (name) return refuse(why, "--isa %s: this build has%s", name, all);
    return refuse(why, "this CPU has none of the instruction sets that were built:%s", all);
}

static bool start_pool(session *s, int32_t threads, refusal *why) {
    if (threads == 1) return true;
    const size_t bytes = (size_t)mnv2_pool_bytes(threads);
    void *memory = aligned_alloc(ARENA_ALIGNMENT, (bytes + 63) / 64 * 64);
    if (!memory) return refuse(why, "no memory for %d threads", threads);
    if (mnv2_pool_start(memory, threads) != MNV2_OK) {
        free(memory);
        return refuse(why, "the system gives no %d threads; ask for fewer", threads);
    }
    s->pool = memory;
    return true;
}

bool session_start(session *s, const common_options *said, refusal *why) {
    if (!model_file_open(&s->model, said->model, why)) return false;
    network *net = &s->model.net;
    if (said->verify && !model_file_verify(&s->model, why))
        return refuse_within(why, "%.200s: ", said->model);
    if (said->bfloat16 && net->precision != MNV2_BFLOAT16_WEIGHTS)
        return refuse(why, "--bfloat16: %.200s has other weights; leave the option out",
                      said->model);
    if (said->bfloat16) net->precision = MNV2_BFLOAT16;
    if (!choose_isa(&s->isa, said->isa, net->precision, why)) return false;
    plan_network(&s->planned, net, s->model.buffer_bytes, (int32_t)said->threads,
                 mnv2_cpu_family());
    const int64_t arena = s->planned.plan.arena_bytes;
    const char *fault = NULL;
    if (mnv2_check_plan(s->isa, &s->planned.plan, &fault) != MNV2_OK)
        return refuse(why, "%.200s: %s", said->model, fault);
    s->arena = aligned_alloc(ARENA_ALIGNMENT, (size_t)(arena + 63) / 64 * 64);
    if (!s->arena) return refuse(why, "no memory for an arena of %" PRId64 " bytes", arena);
    return start_pool(s, (int32_t)said->threads, why);
}

uint8_t *session_pixels(session *s, const char *image, photo_size *size, refusal *why) {
    const mnv2_stem *stem = &s->model.net.stem;
    const photo_room room = {s->arena, s->planned.plan.arena_bytes};
    *size = (photo_size){stem->in_width, stem->in_height};
    if (!photo_is(image)) return image_read(image, stem->in_height, stem->in_width, why);
    return photo_read(image, &s->model.net, s->isa, room, size, why);
}

void session_describe(const session *s) {
    static const char *const weights[] = {"float32", "float16", "bfloat16", "bfloat16", "int8"};
    const network *net = &s->model.net;
    printf("input         %d x %d RGB (height x width)\n", net->stem.in_height, net->stem.in_width);
    const int32_t stored = net->dense_count > 0 ? net->dense[0].stored : 0;
    printf("weights       %" PRId64 " bytes of %s%s%s, %s\n", s->model.weight_bytes,
           weights[net->precision], stored ? "+" : "", stored ? weights[stored] : "",
           s->model.is_mapped ? "mapped" : "copied");
    printf("arena         %" PRId64 " bytes, %d steps\n", s->planned.plan.arena_bytes,
           s->planned.plan.step_count);
    printf("isa           %s\n", mnv2_isa_name(s->isa));
}

/* What Linux counts: VmHWM is the most that was resident, RssAnon what is this process's alone. */
static void print_memory(const session *s) {
    char line[128];
    FILE *status = fopen("/proc/self/status", "r");
    fprintf(stderr, "arena: %" PRId64 " bytes\nweights: %" PRId64 " bytes\n",
            s->planned.plan.arena_bytes, s->model.weight_bytes);
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, "VmHWM:", 6) == 0 || strncmp(line, "VmRSS:", 6) == 0 ||
            strncmp(line, "RssAnon:", 8) == 0 || strncmp(line, "RssFile:", 8) == 0)
            fputs(line, stderr);
    if (status) fclose(status);
}

int session_end(session *s, const common_options *said, bool done, refusal *why) {
    if (done && said->memory) print_memory(s);
    if (s->pool) mnv2_pool_stop(s->pool);
    free(s->pool);
    free(s->arena);
    model_file_close(&s->model);
    if (done && (fflush(stdout) != 0 || ferror(stdout)))
        done = refuse(why, "cannot write the answer: %s", strerror(errno));
    if (!done) fprintf(stderr, "%s: %s\n", said->program, why->text);
    return done ? 0 : FAILED;
}
