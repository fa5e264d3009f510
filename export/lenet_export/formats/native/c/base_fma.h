#if defined(__aarch64__)
#define base_fma(a, b, c) vfmaq_f32(c, a, b)
#elif defined(__wasm_relaxed_simd__) /* where the engine fuses, which lenet.js looks at */
#define base_fma(a, b, c) ((base_vec)__builtin_wasm_relaxed_madd_f32x4(a, b, c))
#elif defined(__FMA__)
#define base_fma(a, b, c) _mm_fmadd_ps(a, b, c)
#else
/* As lenet_fma: the sum in double, rounded once more, which is wrong at most where it lies half-way
 * between two floats (its low 29 bits tell) or the float is subnormal. */
typedef double base_wide __attribute__((vector_size(32)));
typedef uint64_t base_long __attribute__((vector_size(32)));
#if defined(__x86_64__)
#define base_any(bits) (_mm_movemask_epi8((__m128i)(bits)) != 0)
#elif defined(__wasm_simd128__)
#define base_any(bits) wasm_v128_any_true(bits)
#else
static inline int base_any(base_bits bits)
{
    uint64_t half[2];
    memcpy(half, &bits, sizeof half);
    return (half[0] | half[1]) != 0;
}
#endif
static base_vec base_fma_again(base_vec a, base_vec b, base_vec c)
{
    for (int i = 0; i < 4; i++)
        c[i] = lenet_fma(a[i], b[i], c[i]);
    return c;
}
static inline base_vec base_fma(base_vec a, base_vec b, base_vec c)
{
    const base_wide sum =
        __builtin_convertvector(a, base_wide) * __builtin_convertvector(b, base_wide) +
        __builtin_convertvector(c, base_wide);
    const base_vec r = __builtin_convertvector(sum, base_vec);
    const base_words low = __builtin_convertvector((base_long)sum, base_words);
    /* Twice the bits of r, less 1, are from 0 to 0xffffff; and signed, as SSE2 compares. */
    const base_words twice = (base_words)r + (base_words)r + 0x7fffffffu;
    const base_bits rare = (base_bits)((low & 0x1fffffffu) == 0x10000000u) |
                           (base_bits)((base_bits)twice < (int32_t)-0x7f000000);
    if (base_any(rare))
        return base_fma_again(a, b, c);
    return r;
}
#endif
