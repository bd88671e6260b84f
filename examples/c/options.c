#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mnv2.h"

static int misuse(const common_options *said, const char *given, const char *expected) {
    fprintf(stderr, "%s: %s: expected %s\n\n%s", said->program, given, expected, said->usage);
    return MISUSED;
}

static const option *find(const option *options, const char *name) {
    for (; options->name; options++)
        if (strcmp(options->name, name) == 0) return options;
    return NULL;
}

/* Whether the text is a value of the option. */
static bool take(const option *to, const char *text) {
    char *end = NULL;
    if (to->text) {
        *to->text = text;
        return *text != '\0';
    }
    if (to->count) *to->count = strtol(text, &end, 10);
    if (to->share) *to->share = strtod(text, &end);
    if (end == text || *end) return false;
    return to->count ? *to->count >= 1 && *to->count <= to->most
                     : *to->share >= 0 && *to->share <= 1; /* NaN is not */
}

int options_read(common_options *made, int count, char **arguments, const option *own) {
    const option common[] = {
        {.name = "--memory", .flag = &made->memory},
        {.name = "--verify", .flag = &made->verify},
        {.name = "--bfloat16", .flag = &made->bfloat16},
        {.name = "--plan", .flag = &made->plan},
        {.name = "--isa", .text = &made->isa, .expected = "the name of an instruction set"},
        {.name = "--threads",
         .count = &made->threads,
         .most = MNV2_MAX_THREADS,
         .expected = "a count from 1 to 64"},
        {.name = NULL},
    };
    for (int i = 1; i < count; i++) {
        const char *given = arguments[i];
        const option *found = find(own, given);
        if (!found) found = find(common, given);
        if (found && found->flag)
            *found->flag = true;
        else if (found && (i + 1 == count || !take(found, arguments[++i])))
            return misuse(made, given, found->expected);
        else if (!found && given[0] == '-' && given[1])
            return misuse(made, given, "an option as below");
        else if (!found && made->image)
            return misuse(made, given, "one image");
        else if (!found)
            *(made->model ? &made->image : &made->model) = given;
    }
    return made->model ? 0 : misuse(made, "no argument", "a model file");
}
