#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "pages.h"

#include <sys/mman.h>

void *pages_take(size_t bytes) {
    void *taken = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return taken == MAP_FAILED ? NULL : taken;
}

void pages_give(void *taken, size_t bytes) {
    if (taken) munmap(taken, bytes);
}
