typedef __m512i ISA_vec;
typedef __m512 ISA_f32;
#define ISA_load(p) _mm512_loadu_si512(p)
#define ISA_store(p, a) _mm512_storeu_si512(p, a)
#define ISA_splat(p) _mm512_set1_epi32(lenet_load32(p))
#define ISA_zero() _mm512_setzero_si512()
#define ISA_max(a, b) _mm512_max_epi32(a, b)
#define ISA_dot(sum, v, w) _mm512_dpbusd_epi32(sum, v, w)
#define ISA_pairs(sum, v, w) _mm512_dpwssd_epi32(sum, v, w)
#define ISA_add(a, b) _mm512_add_epi32(a, b)
#define ISA_pair(a, b) _mm512_or_si512(a, _mm512_slli_epi32(b, 16))
#define ISA_quad(a, b, c, d) \
    _mm512_or_si512(ISA_pair(a, c), _mm512_slli_epi32(ISA_pair(b, d), 8))
#define ISA_firsts(a, b) _mm512_mask_blend_epi16(0xaaaaaaaa, a, _mm512_slli_epi32(b, 16))
#define ISA_nonzero(p) \
    (unsigned)_mm512_test_epi32_mask(ISA_load(p), ISA_load(p))
#define ISA_floats(p) _mm512_loadu_ps(p)
#define ISA_float(p) _mm512_set1_ps(*(p))
#define ISA_code(sum, scale) \
    _mm512_cvtps_epi32(_mm512_max_ps( \
        _mm512_min_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale), _mm512_set1_ps(255.0f)), \
        _mm512_setzero_ps()))
#define ISA_twos(to, a) _mm256_storeu_si256((__m256i *)(void *)(to), _mm512_cvtepi32_epi16(a))
#define ISA_put(to, a) _mm_storeu_si128((__m128i *)(void *)(to), _mm512_cvtepi32_epi8(a))

/* A load into a register, not into each instruction that uses it. */
static inline ATTRIBUTE ISA_vec ISA_hold(const void *p)
{
    ISA_vec a = ISA_load(p);
    __asm__("" : "+v"(a));
    return a;
}

/* Codes of the pixels, and the bits of the largest magnitude. */
static KERNEL uint32_t ISA_input(const float *image, int16_t *codes)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    const __m512 scale = _mm512_set1_ps(LENET_INPUT_SCALE), limit = _mm512_set1_ps(32767.0f);
    __m512i most = _mm512_setzero_si512();
    for (int i = 0; i < LENET_PIXELS; i += 32) {
        const __m512 a = _mm512_loadu_ps(image + i), b = _mm512_loadu_ps(image + i + 16);
        most = _mm512_max_epu32(most, _mm512_and_si512(magnitude, _mm512_castps_si512(a)));
        most = _mm512_max_epu32(most, _mm512_and_si512(magnitude, _mm512_castps_si512(b)));
        /* What is too large to convert becomes the least integer: right for negatives alone. */
        const __m512i u = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_mul_ps(a, scale), limit));
        const __m512i v = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_mul_ps(b, scale), limit));
        const __m512i packed = _mm512_permutexvar_epi64(order, _mm512_packs_epi32(u, v));
        _mm512_storeu_si512(codes + i, packed);
    }
    return _mm512_reduce_max_epu32(most);
}
