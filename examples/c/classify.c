/* Classifies an image with a model file: mnv2_engine's core, and nothing but the C library.
 *
 * It shows how a C program uses the core: open a model file, plan it, give it an arena, run. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answers.h"
#include "image.h"
#include "mnv2.h"
#include "model_file.h"
#include "photo.h"
#include "planner.h"
#include "show_plan.h"

static const char usage[] =
    "usage: classify MODEL.npz [IMAGE|-] [options]\n"
    "\n"
    "Prints the most probable classes of an image: a JPEG or PNG file; or the network's own height\n"
    "x width x 3 bytes of RGB, or a binary PPM of that size, from a file or from standard input\n"
    "(-). Without an image, says what the model is.\n"
    "\n"
    "  --top N        classes to print (5)\n"
    "  --logits       print all logits instead, exactly, as hexadecimal floats\n"
    "  --features     print the pooled features instead, in the same way\n"
    "  --threads N    threads that share the work, 1 to 64 (1)\n"
    "  --isa NAME     instruction set, instead of the best that this CPU has\n"
    "  --bfloat16     compute in bfloat16, too, what has bfloat16 weights\n"
    "  --plan         print the whole plan, a line for each step and block, and run nothing\n"
    "  --memory       say on standard error how much memory the process has used\n"
    "  --verify       check every weight first, which reads the whole file\n";

enum { FAILED = 1, MISUSED = 2, MOST_TOP = 1 << 20 };

typedef struct {
    const char *model, *image, *isa;
    long top, threads;
    bool logits, features, memory, verify, bfloat16, plan;
} options;

/* What a run needs. */
typedef struct {
    model_file model;
    network_plan planned;
    const mnv2_isa *isa;
    mnv2_pool *pool;
    void *arena;
    float *logits;   /* NULL where the network gives features */
    float *features;
} session;

static int misuse(const char *given, const char *expected) {
    fprintf(stderr, "classify: %s: expected %s\n\n%s", given, expected, usage);
    return MISUSED;
}

/* 0 or MISUSED. */
static int read_options(int count, char **arguments, options *made) {
    *made = (options){.top = 5, .threads = 1};
    const struct {
        const char *name;
        bool *is_given;
    } flags[] = {{"--logits", &made->logits},     {"--features", &made->features},
                 {"--memory", &made->memory},     {"--verify", &made->verify},
                 {"--bfloat16", &made->bfloat16}, {"--plan", &made->plan}};
    enum { FLAGS = sizeof flags / sizeof *flags };
    for (int i = 1; i < count; i++) {
        const char *given = arguments[i];
        int flag = 0;
        while (flag < FLAGS && strcmp(given, flags[flag].name) != 0) flag++;
        const bool is_top = strcmp(given, "--top") == 0;
        const bool is_threads = strcmp(given, "--threads") == 0;
        if (is_top || is_threads) {
            const long most = is_top ? MOST_TOP : MNV2_MAX_THREADS;
            const char *text = i + 1 < count ? arguments[++i] : "";
            char *end;
            const long value = strtol(text, &end, 10);
            if (end == text || *end || value < 1 || value > most)
                return misuse(given, is_top ? "a count from 1" : "a count from 1 to 64");
            *(is_top ? &made->top : &made->threads) = value;
        } else if (strcmp(given, "--isa") == 0) {
            if (i + 1 == count) return misuse(given, "the name of an instruction set");
            made->isa = arguments[++i];
        } else if (flag < FLAGS) {
            *flags[flag].is_given = true;
        } else if (given[0] == '-' && given[1]) {
            return misuse(given, "an option as below");
        } else if (!made->model) {
            made->model = given;
        } else if (!made->image) {
            made->image = given;
        } else {
            return misuse(given, "one image");
        }
    }
    return made->model ? 0 : misuse("no argument", "a model file");
}

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

/* `s` is zero. */
static bool start(session *s, const options *said, refusal *why) {
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
    s->arena = aligned_alloc(ARENA_ALIGNMENT, (size_t)(arena + 63) / 64 * 64);
    const char *fault = NULL;
    if (mnv2_check_plan(s->isa, &s->planned.plan, &fault) != MNV2_OK)
        return refuse(why, "%.200s: %s", said->model, fault);
    const int32_t classes = network_classes(net);
    if (classes > 0) s->logits = malloc((size_t)classes * sizeof *s->logits);
    s->features = malloc((size_t)net->head.features * sizeof *s->features);
    if (!s->arena || !s->features || (classes > 0 && !s->logits))
        return refuse(why, "no memory for an arena of %" PRId64 " bytes", arena);
    return start_pool(s, (int32_t)said->threads, why);
}

static void stop(session *s) {
    if (s->pool) mnv2_pool_stop(s->pool);
    free(s->pool);
    free(s->arena);
    free(s->logits);
    free(s->features);
    model_file_close(&s->model);
}

static void describe(const session *s) {
    static const char *const weights[] = {"float32", "float16", "bfloat16", "bfloat16", "int8"};
    static const char *const answers[] = {"softmax", "sigmoid", "numbers", "features"};
    const network *net = &s->model.net;
    printf("architecture  %s\n", net->name);
    printf("classes       %d, %s\n", network_classes(net),
           s->model.labels ? "labelled" : "no labels");
    printf("answer        %s\n", answers[network_classes(net) > 0 ? (int)net->answer : 3]);
    printf("input         %d x %d RGB (height x width)\n", net->stem.in_height, net->stem.in_width);
    const int32_t stored = net->dense_count > 0 ? net->dense[0].stored : 0;
    printf("weights       %" PRId64 " bytes of %s%s%s, %s\n", s->model.weight_bytes,
           weights[net->precision], stored ? "+" : "", stored ? weights[stored] : "",
           s->model.is_mapped ? "mapped" : "copied");
    printf("arena         %" PRId64 " bytes, %d steps\n", s->planned.plan.arena_bytes,
           s->planned.plan.step_count);
    printf("isa           %s\n", mnv2_isa_name(s->isa));
}

static void print_label(const model_file *model, int32_t index) {
    if (!model->labels)
        printf("class %d\n", index);
    else if (model->label_count > 1 || network_classes(&model->net) > 1)
        printf("%s\n", model_file_label(model, index));
    else /* one label of one sigmoid is that of class 1 */
        printf("%s%s\n", index ? "" : "not ", model->labels);
}

static bool print_top(const session *s, int32_t top, refusal *why) {
    const int32_t classes = answer_classes(&s->model.net), count = top < classes ? top : classes;
    class_answer *found = malloc((size_t)count * sizeof *found);
    const bool fits = found && answers_of(&s->model.net, s->logits, count, found);
    for (int32_t i = 0; fits && i < count; i++) {
        printf("%6.2f %%  ", 100 * found[i].probability);
        print_label(&s->model, found[i].index);
    }
    free(found);
    return fits || refuse(why, "no memory for %d classes", count);
}

static void print_exactly(const float *x, int32_t count) {
    for (int32_t i = 0; i < count; i++) printf("%a\n", (double)x[i]);
}

/* Whether the network answers what is asked for. */
static bool check_answer(const session *s, const options *said, refusal *why) {
    const network *net = &s->model.net;
    if (said->features) return true;
    if (network_classes(net) == 0)
        return refuse(why, "%.200s has no classifier; --features prints its pooled features",
                      net->name);
    return said->logits || net->answer != ANSWER_LINEAR ||
           refuse(why, "%.200s answers with numbers, not with classes; --logits prints them",
                  net->name);
}

static bool answer(session *s, const options *said, refusal *why) {
    const network *net = &s->model.net;
    if (!check_answer(s, said, why)) return false;
    const photo_room room = {s->arena, s->planned.plan.arena_bytes};
    uint8_t *pixels = photo_is(said->image)
                          ? photo_read(said->image, net, s->isa, room, why)
                          : image_read(said->image, net->stem.in_height, net->stem.in_width, why);
    if (!pixels) return false;
    const int32_t status =
        mnv2_run(s->isa, &s->planned.plan, s->pool, s->model.weights, s->arena, pixels, 0,
                 s->features, said->features ? NULL : s->logits, NULL);
    free(pixels);
    if (status != MNV2_OK) return refuse(why, "the core refused the plan (code %d)", status);
    if (said->features)
        print_exactly(s->features, net->head.features);
    else if (said->logits)
        print_exactly(s->logits, network_classes(net));
    else
        return print_top(s, (int32_t)said->top, why);
    return true;
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

int main(int count, char **arguments) {
    options said;
    if (count == 2 && strcmp(arguments[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    const int misused = read_options(count, arguments, &said);
    if (misused) return misused;

    static session running; /* 50 KB, too much for a small stack */
    refusal why;
    bool done = start(&running, &said, &why);
    if (done && said.plan) show_plan(stdout, &running.planned.plan);
    if (done && !said.image && !said.plan) describe(&running);
    if (done && said.image && !said.plan) done = answer(&running, &said, &why);
    if (done && said.memory) print_memory(&running);
    stop(&running);
    if (done && (fflush(stdout) != 0 || ferror(stdout)))
        done = refuse(&why, "cannot write the answer: %s", strerror(errno));
    if (!done) fprintf(stderr, "classify: %s\n", why.text);
    return done ? 0 : FAILED;
}
