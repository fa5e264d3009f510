#define v3_div(a, b) _mm256_div_ps(a, b)
#define v3_min(a, b) _mm256_min_ps(a, b)
#define v3_power(t) \
    _mm256_castsi256_ps(_mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(t), 23), \
                                         _mm256_set1_epi32(0x3f800000)))

/* The larger, or NaN where either is. */
static inline ATTRIBUTE __m256 v3_larger(__m256 a, __m256 b)
{
    return _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}
