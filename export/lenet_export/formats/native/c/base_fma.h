#if defined(__aarch64__)
#define base_fma(a, b, c) vfmaq_f32(c, a, b)
#elif defined(__wasm_relaxed_simd__) /* where the engine fuses, which lenet.js looks at */
#define base_fma(a, b, c) ((base_vec)__builtin_wasm_relaxed_madd_f32x4(a, b, c))
#elif defined(__FMA__)
#define base_fma(a, b, c) _mm_fmadd_ps(a, b, c)
#else
/* As lenet_fma: the sum in double is rounded once more, which is wrong at most where it lies
 * half-way between two floats (its low 29 bits tell) or the float is subnormal. */
#if defined(__x86_64__)
#define BASE_FMA static LENET_APART /* a call costs 4%, and halves the section */
typedef __m128d base_pair; /* lanes 0 and 1, or 2 and 3, in double */
#define base_low(a) _mm_cvtps_pd(a)
#define base_high(a) _mm_cvtps_pd(_mm_movehl_ps(a, a))
#define base_narrow(low, high) _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high))
#define base_words_of(low, high) \
    (base_bits)_mm_shuffle_ps(_mm_castpd_ps(low), _mm_castpd_ps(high), 0x88)
#define base_any(bits) (_mm_movemask_epi8((__m128i)(bits)) != 0)
#else
#define BASE_FMA static inline
typedef double base_pair __attribute__((vector_size(16)));
#define base_low(a) (base_pair)wasm_f64x2_promote_low_f32x4((v128_t)(a))
#define base_high(a) \
    (base_pair)wasm_f64x2_promote_low_f32x4(wasm_i64x2_shuffle((v128_t)(a), (v128_t)(a), 1, 1))
#define base_narrow(low, high) \
    (base_vec)wasm_i64x2_shuffle(wasm_f32x4_demote_f64x2_zero((v128_t)(low)), \
                                 wasm_f32x4_demote_f64x2_zero((v128_t)(high)), 0, 2)
#define base_words_of(low, high) \
    (base_bits)wasm_i32x4_shuffle((v128_t)(low), (v128_t)(high), 0, 2, 4, 6)
#define base_any(bits) wasm_v128_any_true((v128_t)(bits))
#endif

static LENET_APART base_vec base_fma_again(base_vec a, base_vec b, base_vec c)
{
    for (int i = 0; i < 4; i++)
        c[i] = lenet_fma(a[i], b[i], c[i]);
    return c;
}

BASE_FMA base_vec base_fma(base_vec a, base_vec b, base_vec c)
{
    const base_pair low = base_low(a) * base_low(b) + base_low(c);
    const base_pair high = base_high(a) * base_high(b) + base_high(c);
    const base_vec r = base_narrow(low, high);
    /* Twice the bits of r, less 1, are from 0 to 0xffffff; as signed numbers, which SSE2 compares. */
    const base_bits twice = (base_bits)((base_words)r + (base_words)r + 0x7fffffffu);
    const base_bits half = (base_bits)((base_words)base_words_of(low, high) << 3);
    const base_bits rare =
        (base_bits)(half == INT32_MIN) | (base_bits)(twice < INT32_MIN + 0x1000000);
    return base_any(rare) ? base_fma_again(a, b, c) : r;
}
#endif
