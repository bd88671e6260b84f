/* The command line of the programs: a model file, an image, and options in any order. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>

/* One of the four says where its value goes; a flag has none. */
typedef struct {
    const char *name;
    bool *flag;
    const char **text;
    long *count; /* 1 to `most` */
    double *share; /* 0 to 1 */
    long most;
    const char *expected; /* for people */
} option;

enum { FAILED = 1, MISUSED = 2 }; /* exit codes */

/* What every program takes. */
typedef struct {
    const char *program, *usage; /* its name and what it says of itself */
    const char *model, *image, *isa;
    long threads;
    bool memory, verify, bfloat16, plan;
} common_options;

/* Reads the arguments: those of every program, and `own`, which ends with a NULL name. 0; or MISUSED,
 * and what was wrong stands on standard error. */
int options_read(common_options *made, int count, char **arguments, const option *own);

#endif
