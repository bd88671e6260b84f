/* The C program's reader of model files as a function, for fuzz.py and for libFuzzer:
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -DFUZZER -Iexamples/c -Ikernels \
 *         tests/fuzz/reader.c <the sources of fuzz.py's _c_reader> -lm -o reader && ./reader SEEDS/ */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "model_file.h"

int fuzz_read(const char *path, char *why, int size);

/* 1 if the file is opened and found sound, 0 and why if not. */
int fuzz_read(const char *path, char *why, int size) {
    refusal said = {{0}};
    model_file model;
    if (!model_file_open(&model, path, &said)) {
        snprintf(why, (size_t)size, "%s", said.text);
        return 0;
    }
    const bool is_sound = model_file_verify(&model, &said);
    snprintf(why, (size_t)size, "%s", said.text);
    model_file_close(&model);
    return is_sound;
}

#ifdef FUZZER
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64], why[1024];
    const int file = memfd_create("model", 0);
    if (file < 0 || write(file, data, size) != (ssize_t)size) return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    fuzz_read(path, why, sizeof why);
    close(file);
    return 0;
}
#endif
