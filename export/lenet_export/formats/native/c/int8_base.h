#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && __FLT_EVAL_METHOD__ == 0 && \
    !defined(LENET_PLAIN_C)
typedef int32_t base_vec __attribute__((vector_size(16)));
typedef uint32_t base_u32 __attribute__((vector_size(16)));
typedef int16_t base_i16 __attribute__((vector_size(16)));
typedef uint16_t base_u16 __attribute__((vector_size(16)));
typedef float base_f32 __attribute__((vector_size(16)));
#define base_add(a, b) (base_vec)((base_u32)(a) + (base_u32)(b))
#define base_sub(a, b) (base_vec)((base_u32)(a) - (base_u32)(b))
#define base_add16(a, b) (base_vec)((base_u16)(a) + (base_u16)(b))
#define base_sub16(a, b) (base_vec)((base_u16)(a) - (base_u16)(b))
#define base_quarter(a) ((a) >> 2)
#define base_zero() ((base_vec){0, 0, 0, 0})
#define base_high(a) (base_vec)((base_u32)(a) << 16)
#define base_pair(a, b) ((a) | base_high(b))
#define base_firsts(a, b) ((base_high(a) >> 16 & 0xffff) | base_high(b))
#define base_all(x) ((base_f32){x, x, x, x})
static inline base_vec base_max(base_vec a, base_vec b)
{
    const base_vec more = a > b;
    return (a & more) | (b & ~more);
}
static inline base_vec base_dot(base_vec sum, base_vec v, base_vec w)
{
#if defined(__SSE2__)
    return base_add(sum, (base_vec)_mm_madd_epi16((__m128i)v, (__m128i)w));
#else
    const base_vec low = (base_high(v) >> 16) * (base_high(w) >> 16);
    return base_add(sum, base_add(low, (v >> 16) * (w >> 16)));
#endif
}
/* a, rounded to the nearest integer of [low, high], ties to even, by adding 1.5 * 2^23: the sum
 * holds an integer in its low bits. What is selected before cannot be fused with the addition. */
static inline base_vec base_nearest(base_f32 a, float low, float high)
{
    const base_vec under = a < base_all(low), over = a > base_all(high);
    const base_vec ends = ((base_vec)base_all(low) & under) | ((base_vec)base_all(high) & over);
    const base_f32 inside = (base_f32)(((base_vec)a & ~(under | over)) | ends);
    return ((base_vec)(inside + base_all(12582912.0f)) & 0x7fffff) - 0x400000;
}
static inline base_f32 base_floats(const float *p)
{
    base_f32 r;
    memcpy(&r, p, sizeof r);
    return r;
}
#define base_float(p) base_all(*(p))
#define base_code(sum, scale) \
    base_nearest(__builtin_convertvector(sum, base_f32) * (scale), 0.0f, 255.0f)
#define base_rounded(p, scale) \
    base_nearest(base_floats(p) * base_all(scale), -32768.0f, 32767.0f)
#define base_magnitude(p) ((base_vec)base_floats(p) & 0x7fffffff)
#else
/* value * scale, rounded to float32 and then to the nearest integer of [low, high], ties to even.
 * The product of two floats is exact in double, so the cast is its only rounding, and no compiler
 * may fuse it with the addition: 1.5 * 2^23, whose sum with an integer holds it in the low bits. */
static int32_t base_round(float value, float scale, double low, double high)
{
    const double product = (double)value * (double)scale, most = product > high ? high : product;
    const float shifted = (float)(most < low ? low : most) + 12582912.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return (int32_t)(bits & 0x7fffff) - 0x400000;
}

typedef struct { int32_t lane[4]; } base_vec;
typedef struct { int16_t half[8]; } base_halves;
typedef struct { float lane[4]; } base_f32;
static inline base_halves base_split(base_vec a)
{
    base_halves r;
    memcpy(&r, &a, sizeof r);
    return r;
}
static inline base_vec base_join(base_halves a)
{
    base_vec r;
    memcpy(&r, &a, sizeof r);
    return r;
}
/* A word of the same expression for each of four lanes, or of eight halves. */
#define BASE_WORD(name, expression) \
    static inline base_vec name(base_vec a, base_vec b) \
    { \
        base_vec r; \
        for (int i = 0; i < 4; i++) \
            r.lane[i] = expression; \
        return r; \
    }
#define BASE_HALVES(name, expression) \
    static inline base_vec name(base_vec c, base_vec d) \
    { \
        const base_halves a = base_split(c), b = base_split(d); \
        base_halves r; \
        for (int i = 0; i < 8; i++) \
            r.half[i] = (int16_t)(expression); \
        return base_join(r); \
    }
BASE_WORD(base_add, (int32_t)((uint32_t)a.lane[i] + (uint32_t)b.lane[i]))
BASE_WORD(base_sub, (int32_t)((uint32_t)a.lane[i] - (uint32_t)b.lane[i]))
BASE_WORD(base_max, a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i])
BASE_HALVES(base_add16, a.half[i] + b.half[i])
BASE_HALVES(base_sub16, a.half[i] - b.half[i])
BASE_HALVES(base_firsts, i & 1 ? b.half[i - 1] : a.half[i])
static inline base_vec base_pair(base_vec a, base_vec b)
{
    base_halves r;
    for (int i = 0; i < 4; i++) {
        r.half[2 * i] = (int16_t)a.lane[i];
        r.half[2 * i + 1] = (int16_t)b.lane[i];
    }
    return base_join(r);
}
static inline base_vec base_dot(base_vec sum, base_vec v, base_vec w)
{
    const base_halves a = base_split(v), b = base_split(w);
    base_vec r;
    for (int i = 0; i < 4; i++)
        r.lane[i] = a.half[2 * i] * b.half[2 * i] + a.half[2 * i + 1] * b.half[2 * i + 1];
    return base_add(sum, r);
}
static inline base_vec base_quarter(base_vec a)
{
    for (int i = 0; i < 4; i++)
        a.lane[i] /= 4; /* without remainder */
    return a;
}
static inline base_vec base_zero(void)
{
    const base_vec r = {{0, 0, 0, 0}};
    return r;
}
static inline base_f32 base_floats(const float *p)
{
    const base_f32 r = {{p[0], p[1], p[2], p[3]}};
    return r;
}
static inline base_f32 base_float(const float *p)
{
    const base_f32 r = {{*p, *p, *p, *p}};
    return r;
}
static inline base_vec base_code(base_vec sum, base_f32 scale)
{
    for (int i = 0; i < 4; i++)
        sum.lane[i] = base_round((float)sum.lane[i], scale.lane[i], 0.0, 255.0);
    return sum;
}
static inline base_vec base_rounded(const float *p, float scale)
{
    base_vec r;
    for (int i = 0; i < 4; i++)
        r.lane[i] = base_round(p[i], scale, -32768.0, 32767.0);
    return r;
}
static inline base_vec base_magnitude(const float *p)
{
    base_vec r;
    memcpy(&r, p, sizeof r);
    for (int i = 0; i < 4; i++)
        r.lane[i] &= 0x7fffffff;
    return r;
}
#endif
#define base_pairs(sum, v, w) base_dot(sum, v, w)
static inline base_vec base_load(const void *p)
{
    base_vec r;
    memcpy(&r, p, sizeof r);
    return r;
}
#define base_hold(p) base_load(p)
static inline void base_store(void *p, base_vec a) { memcpy(p, &a, sizeof a); }
static inline base_vec base_splat(const void *p)
{
    const int32_t x = lenet_load32(p), lanes[4] = {x, x, x, x};
    return base_load(lanes);
}
static inline void base_put(int16_t *to, base_vec a)
{
#if defined(__SSE2__) && !defined(LENET_PLAIN_C)
    _mm_storel_epi64((__m128i *)(void *)to, _mm_packs_epi32((__m128i)a, (__m128i)a));
#else
    int32_t lanes[4];
    memcpy(lanes, &a, sizeof lanes);
    for (int i = 0; i < 4; i++)
        to[i] = (int16_t)lanes[i];
#endif
}
static inline unsigned base_nonzero(const int16_t *p)
{
    unsigned bits = 0;
    for (int i = 0; i < 4; i++)
        bits |= (unsigned)((p[2 * i] | p[2 * i + 1]) != 0) << i;
    return bits;
}

/* Codes of the pixels, and the bits of the largest magnitude. */
static uint32_t base_input(const float *image, int16_t *codes)
{
    base_vec most = base_zero();
    for (int i = 0; i < LENET_PIXELS; i += 4) {
        base_put(codes + i, base_rounded(image + i, LENET_INPUT_SCALE));
        most = base_max(most, base_magnitude(image + i));
    }
    uint32_t lanes[4], largest = 0;
    memcpy(lanes, &most, sizeof lanes);
    for (int i = 0; i < 4; i++)
        largest = lanes[i] > largest ? lanes[i] : largest;
    return largest;
}
