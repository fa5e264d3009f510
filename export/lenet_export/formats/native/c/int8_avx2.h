#include "int8_ymm.h"
#define ISA_sub(a, b) _mm256_sub_epi32(a, b)
#define ISA_add16(a, b) _mm256_add_epi16(a, b)
#define ISA_sub16(a, b) _mm256_sub_epi16(a, b)
#define ISA_quarter(a) _mm256_srai_epi32(a, 2)
static inline ATTRIBUTE ISA_vec ISA_dot(ISA_vec sum, ISA_vec v, ISA_vec w)
{
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(v, w));
    __asm__("" : "+x"(sum)); /* added in this order: gcc 12 would run out of registers in its own */
    return sum;
}
#define ISA_pairs(sum, v, w) ISA_dot(sum, v, w)
#define ISA_put(to, a) _mm_storeu_si128((__m128i *)(void *)(to), ISA_half(a))
