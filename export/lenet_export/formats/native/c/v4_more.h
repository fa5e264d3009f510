#define v4_div(a, b) _mm512_div_ps(a, b)
#define v4_min(a, b) _mm512_min_ps(a, b)
#define v4_power(t) \
    _mm512_castsi512_ps(_mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(t), 23), \
                                         _mm512_set1_epi32(0x3f800000)))
/* Two pixels of eight channels: lanes 2k and 2k+1 are channel k of both. */
#define v4_twin(p) \
    _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), \
                          _mm512_castps256_ps512(_mm256_loadu_ps(p)))
#define v4_swap(a) _mm512_permute_ps(a, 0xb1)
#define v4_store_even(p, a) v4_store_half(p, a, 0)
#define v4_store_odd(p, a) v4_store_half(p, a, 1)

/* The larger, or NaN where either is. */
static inline ATTRIBUTE __m512 v4_larger(__m512 a, __m512 b)
{
    return _mm512_mask_max_ps(a, _mm512_cmp_ps_mask(a, a, _CMP_ORD_Q), a, b);
}

static inline ATTRIBUTE __m512 v4_pair(const float *p)
{
    double both;
    memcpy(&both, p, sizeof both);
    return _mm512_castpd_ps(_mm512_set1_pd(both));
}

static inline ATTRIBUTE void v4_store_half(float *p, __m512 a, int odd)
{
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 0, 2, 4, 6, 8, 10, 12, 14);
    const __m512i lanes = _mm512_add_epi32(even, _mm512_set1_epi32(odd));
    _mm256_storeu_ps(p, _mm512_castps512_ps256(_mm512_permutexvar_ps(lanes, a)));
}
