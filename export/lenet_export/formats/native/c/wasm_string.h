/* All that lenet.c needs of a C library, which WebAssembly's bulk instructions are. */
#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int byte, size_t size);
