/* What surrounds a run when no array library is at hand: checking float input, ranking logits. */
#include <math.h>

#include "mnv2.h"

int64_t mnv2_first_not_finite(const float *x, int64_t count) {
    enum { CHUNK = 4096 };
    for (int64_t start = 0; start < count; start += CHUNK) {
        const int64_t end = start + CHUNK < count ? start + CHUNK : count;
        float zero = 0.0f; /* finite * 0 is 0; anything else is not a number */
        for (int64_t i = start; i < end; i++) zero += x[i] * 0.0f;
        if (zero == 0.0f) continue;
        for (int64_t i = start; i < end; i++)
            if (!isfinite(x[i])) return i;
    }
    return -1;
}

void mnv2_top_k(const float *logits, int32_t classes, int32_t k, int32_t *indices,
                double *probabilities) {
    /* Insertion into a sorted list: k is a handful, classes a thousand. */
    int32_t held = 0;
    for (int32_t i = 0; i < classes; i++) {
        int32_t at = held;
        while (at > 0 && logits[indices[at - 1]] < logits[i]) at--;
        if (at >= k) continue;
        if (held < k) held++;
        for (int32_t j = held - 1; j > at; j--) indices[j] = indices[j - 1];
        indices[at] = i;
    }
    double sum = 0.0;
    for (int32_t i = 0; i < classes; i++) sum += exp((double)logits[i] - logits[indices[0]]);
    for (int32_t i = 0; i < held; i++)
        probabilities[i] = exp((double)logits[indices[i]] - logits[indices[0]]) / sum;
}
