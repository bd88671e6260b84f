#include "answers.h"

#include <math.h>
#include <stdlib.h>

int32_t answer_classes(const network *net) {
    const int32_t classes = network_classes(net);
    if (net->answer == ANSWER_LINEAR) return 0;
    return classes == 1 ? 2 : classes; /* of softmax there are two and more */
}

/* 1 / (1 + exp(-x)), without overflow. */
static double sigmoid(double x) {
    if (x >= 0) return 1 / (1 + exp(-x));
    const double grown = exp(x);
    return grown / (1 + grown);
}

static int compare(const void *a, const void *b) {
    const class_answer *x = a, *y = b;
    if (x->probability != y->probability) return x->probability < y->probability ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

static bool by_softmax(const float *logits, int32_t classes, int32_t count, class_answer *found) {
    int32_t *indices = malloc((size_t)count * sizeof *indices);
    double *probabilities = malloc((size_t)count * sizeof *probabilities);
    const bool fits = indices && probabilities;
    if (fits) mnv2_top_k(logits, classes, count, indices, probabilities);
    for (int32_t i = 0; fits && i < count; i++)
        found[i] = (class_answer){indices[i], probabilities[i]};
    free(indices);
    free(probabilities);
    return fits;
}

bool answers_of(const network *net, const float *logits, int32_t count, class_answer *found) {
    const int32_t classes = answer_classes(net);
    if (net->answer == ANSWER_SOFTMAX && network_classes(net) > 1)
        return by_softmax(logits, classes, count, found);
    class_answer *all = malloc((size_t)classes * sizeof *all);
    if (!all) return false;
    for (int32_t i = 0; i < classes; i++) {
        const bool is_missing = network_classes(net) == 1 && i == 0;
        const double p = sigmoid(logits[network_classes(net) == 1 ? 0 : i]);
        all[i] = (class_answer){i, is_missing ? 1 - p : p};
    }
    qsort(all, (size_t)classes, sizeof *all, compare);
    for (int32_t i = 0; i < count; i++) found[i] = all[i];
    free(all);
    return true;
}
