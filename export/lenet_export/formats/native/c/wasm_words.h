/* Four int32, eight int16 and four float32; loads of any alignment. */
#if defined(__wasm_simd128__)
typedef v128_t wasm_i4, wasm_i8, wasm_f4;
#define wasm_load_i4(p) wasm_v128_load(p)
#define wasm_load_f4(p) wasm_v128_load(p)
#define wasm_store_i4(p, a) wasm_v128_store(p, a)
#define wasm_splat(p) wasm_v128_load32_splat(p)
#define wasm_pair(p) wasm_v128_load32_splat(p)
#define wasm_widen(p) wasm_i16x8_load8x8(p)
#define wasm_add(a, b) wasm_i32x4_add(a, b)
#define wasm_max(a, b) wasm_i32x4_max(a, b)
#define wasm_pairs(a, b) wasm_i32x4_dot_i16x8(a, b)
#define wasm_dot(w, x) wasm_i32x4_dot_i16x8(w, wasm_v128_load(x))
#define wasm_float(a) wasm_f32x4_convert_i32x4(a)
/* value * scale, as an integer of [low, high], ties to even. */
static inline wasm_i4 wasm_round(wasm_f4 value, wasm_f4 scale, int low, int high)
{
    const v128_t product = wasm_f32x4_nearest(wasm_f32x4_mul(value, scale));
    const v128_t whole = wasm_i32x4_trunc_sat_f32x4(product);
    return wasm_i32x4_max(wasm_i32x4_min(whole, wasm_i32x4_splat(high)), wasm_i32x4_splat(low));
}
static inline void wasm_store_i16(int16_t *p, wasm_i4 a)
{
    wasm_v128_store64_lane(p, wasm_i16x8_narrow_i32x4(a, a), 0);
}
static inline void wasm_store_lanes(int16_t *p, int step, wasm_i4 a)
{
    wasm_v128_store16_lane(p, a, 0);
    wasm_v128_store16_lane(p + step, a, 2);
    wasm_v128_store16_lane(p + 2 * step, a, 4);
    wasm_v128_store16_lane(p + 3 * step, a, 6);
}
#else
typedef struct { int32_t lane[4]; } wasm_i4;
typedef struct { int16_t lane[8]; } wasm_i8;
typedef struct { float lane[4]; } wasm_f4;
static inline wasm_i4 wasm_load_i4(const int32_t *p)
{
    wasm_i4 r;
    memcpy(&r, p, sizeof r);
    return r;
}
static inline wasm_f4 wasm_load_f4(const float *p)
{
    wasm_f4 r;
    memcpy(&r, p, sizeof r);
    return r;
}
static inline void wasm_store_i4(int32_t *p, wasm_i4 a) { memcpy(p, &a, sizeof a); }
/* One int32, or a pair of int16, four times. */
static inline wasm_i4 wasm_splat(const int32_t *p)
{
    const wasm_i4 r = {{*p, *p, *p, *p}};
    return r;
}
static inline wasm_i8 wasm_pair(const int16_t *p)
{
    const wasm_i8 r = {{p[0], p[1], p[0], p[1], p[0], p[1], p[0], p[1]}};
    return r;
}
static inline wasm_i8 wasm_widen(const int8_t *p)
{
    const wasm_i8 r = {{p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]}};
    return r;
}
static inline wasm_i4 wasm_add(wasm_i4 a, wasm_i4 b)
{
    for (int i = 0; i < 4; i++)
        a.lane[i] += b.lane[i];
    return a;
}
static inline wasm_i4 wasm_max(wasm_i4 a, wasm_i4 b)
{
    for (int i = 0; i < 4; i++)
        a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
    return a;
}
static inline wasm_i4 wasm_pairs(wasm_i8 a, wasm_i8 b)
{
    wasm_i4 r;
    for (int i = 0; i < 4; i++)
        r.lane[i] = a.lane[2 * i] * b.lane[2 * i] + a.lane[2 * i + 1] * b.lane[2 * i + 1];
    return r;
}
static inline wasm_i4 wasm_dot(wasm_i4 w, const int16_t *x)
{
    wasm_i8 a, b;
    memcpy(&a, &w, sizeof a);
    memcpy(&b, x, sizeof b);
    return wasm_pairs(a, b);
}
static inline wasm_f4 wasm_float(wasm_i4 a)
{
    wasm_f4 r;
    for (int i = 0; i < 4; i++)
        r.lane[i] = (float)a.lane[i];
    return r;
}
/* value * scale, as an integer of [low, high], ties to even: 1.5 * 2^23, whose sum with an integer
 * holds it in the low bits. The product is exact in double, so that nothing can be fused. */
static inline wasm_i4 wasm_round(wasm_f4 value, wasm_f4 scale, int low, int high)
{
    wasm_i4 r;
    for (int i = 0; i < 4; i++) {
        const double product = (double)value.lane[i] * (double)scale.lane[i];
        const double most = product > high ? high : product;
        const float shifted = (float)(most < low ? low : most) + 12582912.0f;
        uint32_t bits;
        memcpy(&bits, &shifted, sizeof bits);
        r.lane[i] = (int32_t)(bits & 0x7fffff) - 0x400000;
    }
    return r;
}
static inline void wasm_store_lanes(int16_t *p, int step, wasm_i4 a)
{
    for (int i = 0; i < 4; i++)
        p[step * i] = (int16_t)a.lane[i];
}
static inline void wasm_store_i16(int16_t *p, wasm_i4 a) { wasm_store_lanes(p, 1, a); }
#endif
