#include "winograd.c"
#include "fma.c"
#include "lowest.c"

/* Up to four masks of sixteen inputs each, as one word. */
static inline uint64_t lenet_word(const uint16_t *masks, int count)
{
    uint64_t word = masks[0];
    if (count > 1)
        word |= (uint64_t)masks[1] << 16;
    if (count > 2)
        word |= (uint64_t)masks[2] << 32;
    if (count > 3)
        word |= (uint64_t)masks[3] << 48;
    return word;
}
