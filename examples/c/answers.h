/* What a network's logits say: classes with probabilities, by softmax or by sigmoid. */
#ifndef ANSWERS_H
#define ANSWERS_H

#include "model/network.h"

typedef struct {
    int32_t index; /* of the class */
    double probability;
} class_answer;

/* How many classes there are to name: one sigmoid tells two apart, class 1 and class 0; 0 where the
 * network gives features or numbers. */
int32_t answer_classes(const network *net);

/* The `count` most probable classes, most probable first, ties to the lower index; `count` up to
 * answer_classes. False where there is no memory. */
bool answers_of(const network *net, const float *logits, int32_t count, class_answer *found);

#endif
