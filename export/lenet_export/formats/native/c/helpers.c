#include "winograd.c"
/* The number of the lowest bit that is set. */
static inline int lenet_lowest(uint64_t bits)
{
#if defined(__GNUC__)
    return __builtin_ctzll(bits);
#else
    int number = 0;
    for (; !(bits & 1); bits >>= 1)
        number++;
    return number;
#endif
}

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

/* Inlined, this function's registers would be shared with its caller's and spilled. */
#if defined(__GNUC__)
#define LENET_APART __attribute__((noinline))
#else
#define LENET_APART
#endif
