#include "int8_ymm.h"
#define ISA_sub(a, b) _mm256_sub_epi32(a, b)
#define ISA_add16(a, b) _mm256_add_epi16(a, b)
#define ISA_sub16(a, b) _mm256_sub_epi16(a, b)
#define ISA_quarter(a) _mm256_srai_epi32(a, 2)
#define ISA_dot(sum, v, w) _mm256_add_epi32(sum, _mm256_madd_epi16(v, w))
#define ISA_pairs(sum, v, w) ISA_dot(sum, v, w)
#define ISA_product(v, w) _mm256_madd_epi16(v, w)
#define ISA_put(to, a) _mm_storeu_si128((__m128i *)(void *)(to), ISA_half(a))
