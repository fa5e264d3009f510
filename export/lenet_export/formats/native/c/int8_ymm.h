typedef __m256i ISA_vec;
typedef __m256 ISA_f32;
#define ISA_load(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define ISA_store(p, a) _mm256_storeu_si256((__m256i *)(void *)(p), a)
#define ISA_splat(p) _mm256_set1_epi32(lenet_load32(p))
#define ISA_zero() _mm256_setzero_si256()
#define ISA_add(a, b) _mm256_add_epi32(a, b)
#define ISA_max(a, b) _mm256_max_epi32(a, b)
#define ISA_pair(a, b) _mm256_or_si256(a, _mm256_slli_epi32(b, 16))
#define ISA_firsts(a, b) _mm256_blend_epi16(a, _mm256_slli_epi32(b, 16), 0xaa)
#define ISA_nonzero(p) \
    (0xff & ~(unsigned)_mm256_movemask_ps( \
                _mm256_castsi256_ps(_mm256_cmpeq_epi32(ISA_load(p), ISA_zero()))))
#define ISA_floats(p) _mm256_loadu_ps(p)
#define ISA_float(p) _mm256_broadcast_ss(p)
#define ISA_code(sum, scale) \
    _mm256_cvtps_epi32(_mm256_max_ps( \
        _mm256_min_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale), _mm256_set1_ps(255.0f)), \
        _mm256_setzero_ps()))
#define ISA_half(a) \
    _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1))

/* A load into a register, not into each instruction that uses it. */
static inline ATTRIBUTE ISA_vec ISA_hold(const void *p)
{
    ISA_vec a = ISA_load(p);
    __asm__("" : "+x"(a));
    return a;
}

/* Codes of the pixels, and the bits of the largest magnitude. */
static KERNEL uint32_t ISA_input(const float *image, int16_t *codes)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    const __m256 scale = _mm256_set1_ps(LENET_INPUT_SCALE), limit = _mm256_set1_ps(32767.0f);
    __m256i most = _mm256_setzero_si256();
    for (int i = 0; i < LENET_PIXELS; i += 16) {
        const __m256 a = _mm256_loadu_ps(image + i), b = _mm256_loadu_ps(image + i + 8);
        most = _mm256_max_epu32(most, _mm256_and_si256(magnitude, _mm256_castps_si256(a)));
        most = _mm256_max_epu32(most, _mm256_and_si256(magnitude, _mm256_castps_si256(b)));
        /* What is too large to convert becomes the least integer: right for negatives alone. */
        const __m256i u = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_mul_ps(a, scale), limit));
        const __m256i v = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_mul_ps(b, scale), limit));
        ISA_store(codes + i, _mm256_permute4x64_epi64(_mm256_packs_epi32(u, v), 0xd8));
    }
    uint32_t lanes[8], largest = 0;
    memcpy(lanes, &most, sizeof lanes);
    for (int i = 0; i < 8; i++)
        largest = lanes[i] > largest ? lanes[i] : largest;
    return largest;
}
