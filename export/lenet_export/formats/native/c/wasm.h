/* Kernels are written for sixteen lanes that do the same, and run here for some of them at a time, as
 * many as the engine's registers have: four with SIMD, or one. That keeps the code small. Of a
 * function NAME_lanes, NAME runs all lanes in turn; which, words are told by these. An instance of a
 * module has one thread. */
static size_t wasm_lane;
static int wasm_all_columns; /* whether conv1 has done all others of the row by now */

#if defined(__wasm_simd128__)
typedef float wasm_vec __attribute__((vector_size(16)));
enum { WASM_WIDTH = 4 };
#define wasm_every(p) ((wasm_vec)wasm_v128_load32_splat(p))
#define wasm_at(p) ((wasm_vec)wasm_v128_load(p))
#define wasm_put(p, a) wasm_v128_store(p, (v128_t)(a))
#define wasm_zero() ((wasm_vec){0, 0, 0, 0})
#define wasm_max(a, b) ((wasm_vec)wasm_f32x4_pmax((v128_t)(b), (v128_t)(a)))
#else
typedef float wasm_vec;
enum { WASM_WIDTH = 1 };
#define wasm_every(p) (*(p))
#define wasm_at(p) (*(p))
#define wasm_put(p, a) (*(p) = (a))
#define wasm_zero() 0.0f
#define wasm_max(a, b) wasm_most(a, b)
static inline float wasm_most(float a, float b) { return a > b ? a : b; }
#endif

#if defined(__wasm_relaxed_simd__) /* fused, or lenet.js takes another variant */
#define wasm_fma(a, b, c) ((wasm_vec)__builtin_wasm_relaxed_madd_f32x4(a, b, c))
#elif defined(__wasm_simd128__)
static __attribute__((noinline)) wasm_vec wasm_again(wasm_vec a, wasm_vec b, wasm_vec c)
{
    for (int i = 0; i < 4; i++)
        c[i] = lenet_fma(a[i], b[i], c[i]);
    return c;
}
#define WASM_UPPER(a) wasm_i64x2_shuffle(a, a, 1, 0)
#define WASM_WIDE(a) wasm_f64x2_promote_low_f32x4(a)
/* The sum in double, rounded once more, which is wrong at most where it lies half-way between two
 * floats (its low 29 bits tell) or the float is subnormal. The first factor is one value in all lanes,
 * as in all that is generated; a constant is a power of two of Winograd's, whose product is exact. */
static inline wasm_vec wasm_fma(wasm_vec x, wasm_vec y, wasm_vec z)
{
    if (__builtin_constant_p(x[0]))
        return x * y + z;
    const v128_t a = WASM_WIDE((v128_t)x), b = (v128_t)y, c = (v128_t)z;
    const v128_t low = wasm_f64x2_add(wasm_f64x2_mul(a, WASM_WIDE(b)), WASM_WIDE(c));
    const v128_t high =
        wasm_f64x2_add(wasm_f64x2_mul(a, WASM_WIDE(WASM_UPPER(b))), WASM_WIDE(WASM_UPPER(c)));
    const v128_t r = wasm_i64x2_shuffle(
        wasm_f32x4_demote_f64x2_zero(low), wasm_f32x4_demote_f64x2_zero(high), 0, 2);
    const v128_t half = wasm_i32x4_eq(wasm_i32x4_shl(wasm_i32x4_shuffle(low, high, 0, 2, 4, 6), 3),
                                      wasm_i32x4_const_splat(INT32_MIN));
    /* Twice the bits of r, less 1, are from 0 to 0xffffff; and signed, as engines compare. */
    const v128_t tiny = wasm_i32x4_lt(
        wasm_i32x4_add(wasm_i32x4_add(r, r), wasm_i32x4_const_splat(INT32_MAX)),
        wasm_i32x4_const_splat(-0x7f000000));
    if (__builtin_expect(wasm_v128_any_true(wasm_v128_or(half, tiny)), 0))
        return wasm_again(x, y, z);
    return (wasm_vec)r;
}
#else
static __attribute__((noinline)) float wasm_again(float a, float b, float c)
{
    return lenet_fma(a, b, c);
}
static inline float wasm_fma(float a, float b, float c)
{
    return __builtin_constant_p(a) ? a * b + c : wasm_again(a, b, c);
}
#endif

#define wasm_load(p) wasm_at((p) + wasm_lane)
#define wasm_store(p, a) wasm_put((p) + wasm_lane, a)
#define wasm_splat(p) wasm_every(p)
#define wasm_add(a, b) ((a) + (b))
#define wasm_sub(a, b) ((a) - (b))
#define wasm_mul(a, b) ((a) * (b))
#define wasm_keep(a) ((void)(a))
static inline uint16_t wasm_nonzero(const float *p)
{
    unsigned bits = 0;
    for (int i = 0; i < 16; i++)
        bits |= (unsigned)(p[i] != 0) << i;
    return (uint16_t)bits;
}

#include "base_largest.c"
#define wasm_largest base_largest
