/* For the tests of kernels/model/ and kernels/plan/: reads the `meta` members of model files from
 * standard input and says of each what it is refused for, or plans it. A record is four
 * little-endian uint32 (bytes of the JSON, threads, mnv2_precision to compute in, or 0 for that of
 * the weights, family of CPUs), then the JSON. Each answer ends with an empty line. */
#include <stdio.h>
#include <stdlib.h>

#include "model/meta.h"
#include "planner.h"
#include "show_plan.h"

static const char *const families[] = {"any", "amx"}; /* FAMILIES of c_plans.py */

static void answer(char *text, const uint32_t *record, reading_room left) {
    static network net;
    static network_plan made;
    label_texts labels;
    refusal why;
    if (!meta_read(&net, &labels, text, record[0], &left, &why)) {
        printf("refused: %s\n\n", why.text);
        return;
    }
    if (record[2]) net.precision = (mnv2_precision)record[2];
    plan_network(&made, &net, 0, (int32_t)record[1], families[record[3]]);
    show_plan(stdout, &made.plan);
    puts("");
}

int main(void) {
    uint32_t record[4];
    while (fread(record, sizeof record, 1, stdin) == 1) {
        char *text = malloc((size_t)record[0] + 1); /* exactly, for the sanitizer to see */
        if (!text || fread(text, 1, record[0], stdin) != record[0]) return 1;
        text[record[0]] = '\0';
        const size_t room = 64 * (size_t)record[0] + (1 << 20);
        uint8_t *memory = malloc(room);
        if (!memory) return 1;
        answer(text, record, (reading_room){memory, memory + room});
        free(memory);
        free(text);
    }
    return fflush(stdout) != 0;
}
