/* Finds objects on a photograph with a detector's model file: mnv2_engine's core, and nothing but the
 * C library. As classify.c, with mnv2_run_candidates, of whose candidates mnv2_detect_candidates makes
 * objects; where they are too many, or all numbers are asked for, with mnv2_run_detector. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mnv2.h"
#include "objects.h"
#include "session.h"
#include "show_plan.h"

static const char usage[] =
    "usage: detect MODEL.npz [IMAGE|-] [options]\n"
    "\n"
    "Prints what a detector finds, a line for each object, the best first: its score, its box in\n"
    "pixels of the upright picture (left, top, right, bottom), its label. The image is a JPEG or PNG\n"
    "file; or the network's own height x width x 3 bytes of RGB, or a binary PPM of that size, from a\n"
    "file or from standard input (-). Without an image, says what the model is.\n"
    "\n"
    "  --threshold X    leave out what scores so much or less, 0 to 1 (0.5)\n"
    "  --max-objects N  the best so many at most (the model's own bound)\n"
    "  --exactly        print numbers exactly, as hexadecimal floats, and of labels their index\n"
    "  --outputs        print the codes and scores of all anchors instead, in the same way\n"
    "  --threads N      threads that share the work, 1 to 64 (1)\n"
    "  --isa NAME       instruction set, instead of the best that this CPU has\n"
    "  --bfloat16       compute in bfloat16, too, what has bfloat16 weights\n"
    "  --plan           print the whole plan, a line for each step and block, and run nothing\n"
    "  --memory         say on standard error how much memory the process has used\n"
    "  --verify         check every weight first, which reads the whole file\n";

enum { MOST_OBJECTS = 1 << 16, CANDIDATES = 400 };

typedef struct {
    common_options common;
    double threshold;
    long most;
    bool exactly, outputs;
} options;

/* What the network gives. */
typedef struct {
    float *codes;  /* [anchors][4] */
    float *scores; /* [anchors][columns] */
} outputs;

/* 0 or MISUSED. */
static int read_options(int count, char **arguments, options *made) {
    *made = (options){.common = {.program = "detect", .usage = usage, .threads = 1},
                      .threshold = 0.5,
                      .most = MOST_OBJECTS};
    const option own[] = {
        {.name = "--exactly", .flag = &made->exactly},
        {.name = "--outputs", .flag = &made->outputs},
        {.name = "--threshold", .share = &made->threshold, .expected = "a number from 0 to 1"},
        {.name = "--max-objects",
         .count = &made->most,
         .most = MOST_OBJECTS,
         .expected = "a count from 1 to 65536"},
        {.name = NULL},
    };
    return options_read(&made->common, count, arguments, own);
}

static void describe(const session *s) {
    const network *net = &s->model.net;
    printf("architecture  %s\n", net->name);
    printf("classes       %d, %s\n", network_classes(net),
           s->model.labels ? "labelled" : "no labels");
    printf("anchors       %d, at %d feature maps\n", net->detection.anchors, net->map_count);
    session_describe(s);
}

static void print_object(const session *s, const placement *where, const mnv2_object *found,
                         bool exactly) {
    const object_box box = placement_box(where, found);
    const char *label = model_file_label(&s->model, found->index);
    if (exactly) {
        printf("%d %a %a %a %a %a\n", found->index, (double)found->score, box.left, box.top,
               box.right, box.bottom);
        return;
    }
    printf("%5.1f %%  %.0f,%.0f,%.0f,%.0f  ", 100 * (double)found->score, box.left, box.top,
           box.right, box.bottom);
    if (label)
        printf("%s\n", label);
    else
        printf("class %d\n", found->index);
}

static void print_objects(const session *s, const options *said, photo_size size,
                          const mnv2_object *found, int32_t count) {
    const placement where = placement_of(&s->model.net, size);
    for (int32_t i = 0; i < count; i++) print_object(s, &where, &found[i], said->exactly);
}

static const float *anchors_of(const session *s) {
    return (const float *)(const void *)(s->model.weights + s->model.net.anchors);
}

static bool has_run(int32_t status, refusal *why) {
    return status == MNV2_OK || refuse(why, "the core refused the plan (code %d)", status);
}

/* Runs and keeps candidates as they come, which takes no room for all scores; *is_crowded where they
 * are too many, and then nothing is printed. */
static bool run_kept(session *s, const options *said, const uint8_t *pixels, photo_size size,
                     bool *is_crowded, refusal *why) {
    const mnv2_detection how =
        objects_bounded(&s->model.net, said->threshold, (int32_t)said->most);
    const int32_t places = how.max_objects + CANDIDATES;
    mnv2_object *room = malloc((size_t)places * sizeof *room);
    if (!room) return refuse(why, "no memory for %d candidates", places);
    mnv2_candidates kept = {
        .how = &how, .anchors = anchors_of(s), .room = room, .places = places};
    const int32_t status = mnv2_run_candidates(s->isa, &s->planned.plan, s->pool, s->model.weights,
                                               s->arena, pixels, 0, &kept);
    const int32_t count = status == MNV2_OK ? mnv2_detect_candidates(&kept) : 0;
    print_objects(s, said, size, room, count);
    *is_crowded = count < 0;
    free(room);
    return has_run(status, why);
}

/* Candidates of all scores lie in the arena, whose content does not matter once the network has run,
 * unless it is too small. */
static bool find_in(session *s, const options *said, const outputs *found, photo_size size,
                    refusal *why) {
    const mnv2_detection how =
        objects_bounded(&s->model.net, said->threshold, (int32_t)said->most);
    const int64_t places = mnv2_detect_room(&how);
    const bool fits = places * (int64_t)sizeof(mnv2_object) <= s->planned.plan.arena_bytes;
    mnv2_object *own = fits ? NULL : malloc((size_t)places * sizeof *own);
    mnv2_object *room = fits ? s->arena : own;
    if (!room) return refuse(why, "no memory for %" PRId64 " candidates", places);
    const int32_t count = mnv2_detect(&how, anchors_of(s), found->codes, found->scores, room,
                                      (int32_t)places, NULL);
    print_objects(s, said, size, room, count);
    free(own);
    return true;
}

static void print_exactly(const float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++) printf("%a\n", (double)x[i]);
}

/* Runs, holds all numbers, and prints them or the objects in them. */
static bool run_whole(session *s, const options *said, const uint8_t *pixels, photo_size size,
                      const outputs *found, refusal *why) {
    const mnv2_detection *how = &s->model.net.detection;
    if (!found->codes || !found->scores)
        return refuse(why, "no memory for the outputs of %d anchors", how->anchors);
    const int32_t status =
        mnv2_run_detector(s->isa, &s->planned.plan, s->pool, s->model.weights, s->arena, pixels, 0,
                          found->codes, found->scores, NULL);
    if (!has_run(status, why)) return false;
    if (!said->outputs) return find_in(s, said, found, size, why);
    print_exactly(found->codes, (int64_t)how->anchors * 4);
    print_exactly(found->scores, (int64_t)how->anchors * how->columns);
    return true;
}

static bool answer(session *s, const options *said, refusal *why) {
    const mnv2_detection *how = &s->model.net.detection;
    photo_size size;
    uint8_t *pixels = session_pixels(s, said->common.image, &size, why);
    if (!pixels) return false;
    bool is_whole = said->outputs, done = true;
    if (!is_whole) done = run_kept(s, said, pixels, size, &is_whole, why);
    if (done && is_whole) {
        const size_t anchors = (size_t)how->anchors;
        const outputs found = {malloc(anchors * 4 * sizeof(float)),
                               malloc(anchors * (size_t)how->columns * sizeof(float))};
        done = run_whole(s, said, pixels, size, &found, why);
        free(found.codes);
        free(found.scores);
    }
    free(pixels);
    return done;
}

static bool check_kind(const session *s, refusal *why) {
    return s->model.net.answer == ANSWER_BOXES ||
           refuse(why, "%.200s is no detector, so it finds no boxes; run classify",
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
