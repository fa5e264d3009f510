typedef __m512 v4_vec;
#define v4_load(p) _mm512_loadu_ps(p)
#define v4_store(p, a) _mm512_storeu_ps(p, a)
#define v4_zero() _mm512_setzero_ps()
#define v4_splat(p) _mm512_set1_ps(*(p))
#define v4_add(a, b) _mm512_add_ps(a, b)
#define v4_sub(a, b) _mm512_sub_ps(a, b)
#define v4_mul(a, b) _mm512_mul_ps(a, b)
#define v4_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define v4_max(a, b) _mm512_max_ps(a, b)
/* The compiler must keep a in a register: read from memory by each of its FMAs, it would compete
   with their other operand for the two loads of a cycle. */
#define v4_keep(a) __asm__("" : "+v"(a))
#define v4_nonzero(p) \
    ((uint16_t)_mm512_cmp_ps_mask(_mm512_loadu_ps(p), _mm512_setzero_ps(), _CMP_NEQ_UQ))
/* Of eight even and eight odd columns, (a, b), those one tile further, (c, d); and F(2,3)'s
   products of them, (a - c, b + c) and (c - b, d - b). */
#define v4_next(a) \
    _mm512_permutexvar_ps( \
        _mm512_setr_epi32(1, 2, 3, 4, 5, 6, 7, 7, 9, 10, 11, 12, 13, 14, 15, 15), a)
#define v4_first_products(a, next) \
    _mm512_fmadd_ps(_mm512_shuffle_f32x4(next, next, 0x44), \
                    _mm512_setr_ps(-1, -1, -1, -1, -1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1, 1), a)
#define v4_last_products(a, next) _mm512_sub_ps(next, _mm512_shuffle_f32x4(a, a, 0xee))

static inline ATTRIBUTE uint32_t v4_largest(const float *image)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i most = _mm512_setzero_si512();
    for (int i = 0; i < WHOLE; i += 16) {
        const __m512i bits = _mm512_castps_si512(_mm512_loadu_ps(image + i));
        most = _mm512_max_epu32(most, _mm512_and_si512(magnitude, bits));
    }
#include "v4_tail.c"
    return _mm512_reduce_max_epu32(most);
}
