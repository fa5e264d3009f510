typedef __m256 v3_vec;
#define v3_load(p) _mm256_loadu_ps(p)
#define v3_store(p, a) _mm256_storeu_ps(p, a)
#define v3_zero() _mm256_setzero_ps()
#define v3_splat(p) _mm256_broadcast_ss(p)
#define v3_add(a, b) _mm256_add_ps(a, b)
#define v3_sub(a, b) _mm256_sub_ps(a, b)
#define v3_mul(a, b) _mm256_mul_ps(a, b)
#define v3_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define v3_max(a, b) _mm256_max_ps(a, b)
#define v3_keep(a) __asm__("" : "+x"(a))
#define v3_nonzero8(p) \
    _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(p), _mm256_setzero_ps(), _CMP_NEQ_UQ))
#define v3_nonzero(p) ((uint16_t)(v3_nonzero8(p) | v3_nonzero8((p) + 8) << 8))
#define v3_two(p) \
    _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps((p) + 16), 1)
#define v3_next(a) \
    _mm256_permutevar8x32_ps(a, _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 7))

static inline ATTRIBUTE uint32_t v3_largest(const float *image)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i most = _mm256_setzero_si256(), other = most;
    uint32_t lanes[8], largest = 0;
    for (int i = 0; i < WHOLE; i += 16) { /* two chains, as each step waits for the one before */
        const __m256i bits = _mm256_castps_si256(_mm256_loadu_ps(image + i));
        const __m256i more = _mm256_castps_si256(_mm256_loadu_ps(image + i + 8));
        most = _mm256_max_epu32(most, _mm256_and_si256(magnitude, bits));
        other = _mm256_max_epu32(other, _mm256_and_si256(magnitude, more));
    }
    most = _mm256_max_epu32(most, other);
#include "v3_tail.c"
    memcpy(lanes, &most, sizeof lanes);
    for (int i = 0; i < 8; i++)
        largest = lanes[i] > largest ? lanes[i] : largest;
    return largest;
}
