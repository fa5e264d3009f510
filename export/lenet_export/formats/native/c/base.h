#if defined(LENET_VECTORS)
typedef float base_vec __attribute__((vector_size(16)));
typedef uint32_t base_words __attribute__((vector_size(16)));
typedef int32_t base_bits __attribute__((vector_size(16)));
#define base_add(a, b) ((a) + (b))
#define base_sub(a, b) ((a) - (b))
#define base_mul(a, b) ((a) * (b))
#include "base_fma.h"
static inline base_vec base_max(base_vec a, base_vec b)
{
    const base_bits greater = (base_bits)(a > b);
    return (base_vec)(((base_bits)a & greater) | ((base_bits)b & ~greater));
}
#define base_splat(p) ((base_vec){*(p), *(p), *(p), *(p)})
#else
typedef struct { float lane[4]; } base_vec;
#define BASE_WORD(name, expression) \
    static inline base_vec name(base_vec a, base_vec b) \
    { \
        base_vec r; \
        for (int i = 0; i < 4; i++) \
            r.lane[i] = expression; \
        return r; \
    }
BASE_WORD(base_add, a.lane[i] + b.lane[i])
BASE_WORD(base_sub, a.lane[i] - b.lane[i])
BASE_WORD(base_mul, a.lane[i] * b.lane[i])
BASE_WORD(base_max, a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i])
static LENET_APART base_vec base_fma(base_vec a, base_vec b, base_vec c)
{
    for (int i = 0; i < 4; i++)
        c.lane[i] = lenet_fma(a.lane[i], b.lane[i], c.lane[i]);
    return c;
}
static inline base_vec base_splat(const float *p)
{
    const base_vec r = {{*p, *p, *p, *p}};
    return r;
}
#endif
static inline base_vec base_load(const float *p)
{
    base_vec r;
    memcpy(&r, p, sizeof r);
    return r;
}
static inline void base_store(float *p, base_vec a) { memcpy(p, &a, sizeof a); }
static const float base_zeros[4] = {0, 0, 0, 0};
#define base_zero() base_load(base_zeros)
#define base_keep(a) ((void)(a))
static inline uint16_t base_nonzero(const float *p)
{
    unsigned bits = 0;
    for (int i = 0; i < 16; i++)
        bits |= (unsigned)(p[i] != 0) << i;
    return (uint16_t)bits;
}

#include "base_largest.c"
