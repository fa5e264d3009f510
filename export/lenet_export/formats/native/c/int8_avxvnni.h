/* clang 14 and 16 cannot ask the CPU for it at no cost; they leave it to AVX2. */
#if defined(__clang__) && __clang_major__ < 19
#define avxvnni_here() 0
#else
#define avxvnni_here() __builtin_cpu_supports("avxvnni")
#endif

#include "int8_ymm.h"
#define ISA_dot(sum, v, w) _mm256_dpbusd_avx_epi32(sum, v, w)
#define ISA_pairs(sum, v, w) _mm256_dpwssd_avx_epi32(sum, v, w)
#define ISA_quad(a, b, c, d) \
    _mm256_or_si256(ISA_pair(a, c), _mm256_slli_epi32(ISA_pair(b, d), 8))
#define ISA_twos(to, a) \
    _mm_storeu_si128((__m128i *)(void *)(to), \
                     _mm_packus_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1)))
#define ISA_put(to, a) \
    _mm_storel_epi64((__m128i *)(void *)(to), _mm_packus_epi16(ISA_half(a), _mm_setzero_si128()))
