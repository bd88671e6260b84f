/* Memory of whole pages for a while: the system takes it back at once, where the heap would keep a
 * hole. */
#ifndef PAGES_H
#define PAGES_H

#include <stddef.h>

/* Zeros, or NULL. */
void *pages_take(size_t bytes);
void pages_give(void *taken, size_t bytes);

#endif
