/* Classifies an image with a model file: mnv2_engine's core, and nothing but the C library.
 *
 * It shows how a C program uses the core: open a model file, plan it, give it an arena, run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answers.h"
#include "mnv2.h"
#include "session.h"
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

enum { MOST_TOP = 1 << 20 };

typedef struct {
    common_options common;
    long top;
    bool logits, features;
} options;

/* 0 or MISUSED. */
static int read_options(int count, char **arguments, options *made) {
    *made = (options){.common = {.program = "classify", .usage = usage, .threads = 1}, .top = 5};
    const option own[] = {
        {.name = "--logits", .flag = &made->logits},
        {.name = "--features", .flag = &made->features},
        {.name = "--top", .count = &made->top, .most = MOST_TOP, .expected = "a count from 1"},
        {.name = NULL},
    };
    return options_read(&made->common, count, arguments, own);
}

static void describe(const session *s) {
    static const char *const answers[] = {"softmax", "sigmoid", "numbers", "features"};
    const network *net = &s->model.net;
    printf("architecture  %s\n", net->name);
    printf("classes       %d, %s\n", network_classes(net),
           s->model.labels ? "labelled" : "no labels");
    printf("answer        %s\n", answers[network_classes(net) > 0 ? (int)net->answer : 3]);
    session_describe(s);
}

static void print_label(const model_file *model, int32_t index) {
    if (!model->labels)
        printf("class %d\n", index);
    else if (model->label_count > 1 || network_classes(&model->net) > 1)
        printf("%s\n", model_file_label(model, index));
    else /* one label of one sigmoid is that of class 1 */
        printf("%s%s\n", index ? "" : "not ", model->labels);
}

static bool print_top(const session *s, const float *logits, int32_t top, refusal *why) {
    const int32_t classes = answer_classes(&s->model.net), count = top < classes ? top : classes;
    class_answer *found = malloc((size_t)count * sizeof *found);
    const bool fits = found && answers_of(&s->model.net, logits, count, found);
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

/* Runs the image; `outputs` has room for the features and then the logits. */
static bool run(session *s, const options *said, float *outputs, refusal *why) {
    const network *net = &s->model.net;
    float *const features = outputs, *const logits = outputs + net->head.features;
    const int32_t classes = network_classes(net);
    photo_size size;
    uint8_t *pixels = session_pixels(s, said->common.image, &size, why);
    if (!pixels) return false;
    const int32_t status =
        mnv2_run(s->isa, &s->planned.plan, s->pool, s->model.weights, s->arena, pixels, 0,
                 features, said->features || classes == 0 ? NULL : logits, NULL);
    free(pixels);
    if (status != MNV2_OK) return refuse(why, "the core refused the plan (code %d)", status);
    if (said->features)
        print_exactly(features, net->head.features);
    else if (said->logits)
        print_exactly(logits, classes);
    else
        return print_top(s, logits, (int32_t)said->top, why);
    return true;
}

static bool answer(session *s, const options *said, refusal *why) {
    const network *net = &s->model.net;
    if (!check_answer(s, said, why)) return false;
    const size_t count = (size_t)net->head.features + (size_t)network_classes(net);
    float *outputs = malloc(count * sizeof *outputs);
    const bool done = outputs ? run(s, said, outputs, why)
                              : refuse(why, "no memory for %zu numbers", count);
    free(outputs);
    return done;
}

static bool check_kind(const session *s, refusal *why) {
    return s->model.net.answer != ANSWER_BOXES ||
           refuse(why, "%.200s is a detector, which has no classes of whole images; run detect",
                  s->model.net.name);
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
    bool done = session_start(&running, &said.common, &why) && check_kind(&running, &why);
    if (done && said.common.plan) show_plan(stdout, &running.planned.plan);
    if (done && !said.common.image && !said.common.plan) describe(&running);
    if (done && said.common.image && !said.common.plan) done = answer(&running, &said, &why);
    return session_end(&running, &said.common, done, &why);
}
