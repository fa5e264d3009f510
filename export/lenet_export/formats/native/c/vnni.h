/* Four neighbouring bytes in every lane. */
#define vnni_splat(p) _mm512_set1_epi32(lenet_load32(p))
/* Codes of the next layer, clipped by packing, but for what is too large to convert: it would
   become the least integer. */
#define vnni_rescale(sum, scale) \
    _mm512_cvtps_epi32(_mm512_min_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale), \
                                     _mm512_set1_ps(32767.0f)))

static inline int32_t lenet_load32(const void *p)
{
    int32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

static inline ATTRIBUTE void vnni_store16(uint8_t *y, __m512i codes)
{
    const __m512i positive = _mm512_max_epi32(codes, _mm512_setzero_si512());
    _mm_storeu_si128((__m128i *)(void *)y, _mm512_cvtusepi32_epi8(positive));
}

/* Codes of the pixels, and the bits of the largest magnitude. */
static KERNEL uint32_t vnni_input(const float *image, int16_t *codes)
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
