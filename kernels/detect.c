/* Objects out of what a detector gives: boxes decoded, scores converted, and of each class the boxes
 * that do not overlap a better one too much.
 *
 * Candidates of all classes may be kept as the run makes them, row by row; then they are put in
 * order, class by class. Where they do not fit, all scores have to be held, and a class after the
 * other gathers its candidates in the caller's room, a heap whose root is the worst, so that the best
 * stay where there are more than fit; then puts them in order and takes them, the best first. What
 * all classes took stands in front of them, the best first, and no more than are asked for.
 * Everything is in float32, each operation rounded. */
#include <math.h>
#include <stddef.h>

#include "candidates.h"

/* Whether a stands before b: the lower class; the better score; of equal ones the lower anchor. */
static int is_before(const mnv2_object *a, const mnv2_object *b) {
    if (a->index != b->index) return a->index < b->index;
    return a->score > b->score || (a->score == b->score && a->anchor < b->anchor);
}

static void swap(mnv2_object *a, mnv2_object *b) {
    const mnv2_object kept = *a;
    *a = *b;
    *b = kept;
}

/* Of a heap in which no entry stands before one below it, lets the entry `at` sink to its place. */
static void sink(mnv2_object *heap, int32_t count, int32_t at) {
    for (int32_t below = 2 * at + 1; below < count; below = 2 * at + 1) {
        if (below + 1 < count && is_before(&heap[below], &heap[below + 1])) below++;
        if (!is_before(&heap[at], &heap[below])) return;
        swap(&heap[at], &heap[below]);
        at = below;
    }
}

static void rise(mnv2_object *heap, int32_t at) {
    for (int32_t above; at > 0; at = above) {
        above = (at - 1) / 2;
        if (!is_before(&heap[above], &heap[at])) return;
        swap(&heap[at], &heap[above]);
    }
}

/* (y, x, height, width), coded, as corners (top, left, bottom, right). */
static int decode(const mnv2_detection *how, const float *anchor, const float *codes, float *box) {
    float part[4];
    for (int i = 0; i < 4; i++) part[i] = codes[i] / how->coding[i];
    for (int i = 0; i < 2; i++) {
        const float centre = part[i] * anchor[2 + i] + anchor[i];
        const float half = expf(part[2 + i]) * anchor[2 + i] / 2.0f;
        box[i] = centre - half;
        box[2 + i] = centre + half;
        if (!isfinite(box[i]) || !isfinite(box[2 + i])) return 0;
    }
    return 1;
}

/* A row's scores, before the background is left out. */
static void convert(const mnv2_detection *how, float *scores) {
    if (!how->is_softmax) {
        for (int32_t i = 0; i < how->columns; i++) scores[i] = 1.0f / (1.0f + expf(-scores[i]));
        return;
    }
    float most = scores[0], sum = 0.0f;
    for (int32_t i = 1; i < how->columns; i++)
        if (scores[i] > most || isnan(scores[i])) most = scores[i];
    for (int32_t i = 0; i < how->columns; i++) {
        scores[i] = expf(scores[i] - most);
        sum += scores[i];
    }
    for (int32_t i = 0; i < how->columns; i++) scores[i] /= sum;
}

static float least(float a, float b) { return a < b ? a : b; }
static float most(float a, float b) { return a > b ? a : b; }

/* Intersection over union; 0 where one has no area. Corners may be exchanged. */
static float overlap(const float *a, const float *b) {
    float shared = 1.0f, area = 1.0f, other = 1.0f;
    for (int i = 0; i < 2; i++) {
        const float low = least(a[i], a[2 + i]), high = most(a[i], a[2 + i]);
        const float low_other = least(b[i], b[2 + i]), high_other = most(b[i], b[2 + i]);
        area *= high - low;
        other *= high_other - low_other;
        shared *= most(least(high, high_other) - most(low, low_other), 0.0f);
    }
    const float part = shared / (area + other - shared);
    return area > 0.0f && other > 0.0f && isfinite(part) ? part : 0.0f;
}

/* Adds a copy of what was taken to the `count` best, of at most max_objects, behind its equals. */
static int32_t add_object(const mnv2_detection *how, mnv2_object *best, int32_t count,
                          const mnv2_object *taken) {
    mnv2_object object = *taken;
    for (int i = 0; i < 4; i++) object.box[i] = least(most(object.box[i], 0.0f), 1.0f);
    if (!((object.box[2] - object.box[0]) * (object.box[3] - object.box[1]) > 0.0f)) return count;
    int32_t at = count;
    while (at > 0 && best[at - 1].score < object.score) at--;
    if (at == how->max_objects) return count;
    if (count < how->max_objects) count++;
    for (int32_t i = count - 1; i > at; i--) best[i] = best[i - 1];
    best[at] = object;
    return count;
}

/* The candidates of class `index` at `heap`, as many as fit; *dropped counts those that do not. */
static int32_t gather(const mnv2_detection *how, const float *anchors, const float *codes,
                      const float *scores, int32_t index, mnv2_object *heap, int32_t fit,
                      int32_t *dropped) {
    int32_t count = 0;
    for (int32_t anchor = 0; anchor < how->anchors; anchor++) {
        const float score = scores[(int64_t)anchor * how->columns + how->has_background + index];
        if (!(score > how->score_threshold) || !isfinite(score)) continue;
        mnv2_object found = {.score = score, .anchor = anchor, .index = index};
        if (!decode(how, anchors + 4 * (int64_t)anchor, codes + 4 * (int64_t)anchor, found.box))
            continue;
        if (count < fit) {
            heap[count] = found;
            rise(heap, count++);
            continue;
        }
        ++*dropped;
        if (fit == 0 || !is_before(&found, &heap[0])) continue;
        heap[0] = found;
        sink(heap, count, 0);
    }
    return count;
}

/* Puts a heap in order, from its root's opposite on. */
static void sort_heap(mnv2_object *heap, int32_t count) {
    for (int32_t end = count - 1; end > 0; end--) { /* the worst to the end */
        swap(&heap[0], &heap[end]);
        sink(heap, end, 0);
    }
}

/* Takes of the candidates of a class, in order, those that no better one overlaps too much, and adds
 * them to the `count` best. What is taken moves to the front. */
static int32_t take_class(const mnv2_detection *how, mnv2_object *candidates, int32_t found,
                          mnv2_object *best, int32_t count) {
    int32_t taken = 0;
    for (int32_t i = 0; i < found && taken < how->max_per_class; i++) {
        int is_free = 1;
        for (int32_t n = 0; n < taken && is_free; n++)
            is_free = !(overlap(candidates[n].box, candidates[i].box) > how->iou_threshold);
        if (!is_free) continue;
        candidates[taken] = candidates[i];
        count = add_object(how, best, count, &candidates[taken++]);
    }
    return count;
}

int64_t mnv2_detect_room(const mnv2_detection *how) {
    return (int64_t)how->max_objects + how->anchors;
}

int32_t mnv2_detect(const mnv2_detection *how, const float *anchors, const float *codes,
                    float *scores, mnv2_object *room, int32_t places, int32_t *dropped) {
    const int32_t classes = how->columns - how->has_background;
    int32_t count = 0, lost = 0;
    if (how->max_objects < 1 || places < how->max_objects || classes < 1) return 0;
    mnv2_object *heap = room + how->max_objects;
    for (int32_t i = 0; i < how->anchors; i++) convert(how, scores + (int64_t)i * how->columns);
    for (int32_t index = 0; index < classes; index++) {
        const int32_t found = gather(how, anchors, codes, scores, index, heap,
                                     places - how->max_objects, &lost);
        sort_heap(heap, found);
        count = take_class(how, heap, found, room, count);
    }
    if (dropped) *dropped = lost;
    return count;
}

/* More than fit are counted no further than they need be: there may be 2^32. */
static mnv2_object *place_of(mnv2_candidates *found) {
    const int32_t fit = found->places - found->how->max_objects;
    if (__atomic_load_n(&found->count, __ATOMIC_RELAXED) > fit) return NULL;
    const int32_t at = __atomic_fetch_add(&found->count, 1, __ATOMIC_RELAXED);
    return at < fit ? &found->room[found->how->max_objects + at] : NULL;
}

void mnv2_keep(mnv2_candidates *found, int32_t anchor, const float *codes, float *scores) {
    const mnv2_detection *how = found->how;
    mnv2_object object = {.anchor = anchor};
    int is_decoded = 0;
    convert(how, scores);
    for (int32_t i = how->has_background; i < how->columns; i++) {
        if (!(scores[i] > how->score_threshold) || !isfinite(scores[i])) continue;
        if (!is_decoded &&
            !decode(how, found->anchors + 4 * (int64_t)anchor, codes, object.box))
            return;
        is_decoded = 1;
        mnv2_object *place = place_of(found);
        if (!place) return;
        object.score = scores[i];
        object.index = i - how->has_background;
        *place = object;
    }
}

int32_t mnv2_detect_candidates(mnv2_candidates *found) {
    const mnv2_detection *how = found->how;
    if (found->count < 0 || found->count > found->places - how->max_objects) return -1;
    mnv2_object *candidates = found->room + how->max_objects;
    for (int32_t i = 1; i < found->count; i++) rise(candidates, i);
    sort_heap(candidates, found->count);
    int32_t count = 0;
    for (int32_t first = 0, end; first < found->count; first = end) {
        for (end = first + 1;
             end < found->count && candidates[end].index == candidates[first].index;)
            end++;
        count = take_class(how, candidates + first, end - first, found->room, count);
    }
    return count;
}
