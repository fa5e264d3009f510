/* The number of bits of a value up to its highest one. */
static int lenet_bits(uint64_t value)
{
#if defined(__GNUC__)
    return value ? 64 - __builtin_clzll(value) : 0;
#else
    int bits = 0;
    for (; value; value >>= 1)
        bits++;
    return bits;
#endif
}

/* value / 2^by to the nearest integer, ties to even; by may be 0 or less, and then nothing is. */
static uint64_t lenet_nearest(uint64_t value, int by)
{
    if (by <= 0)
        return value;
    if (by > 62)
        return 0;
    const uint64_t half = (uint64_t)1 << (by - 1), whole = value >> by;
    return (value + half - 1 + (whole & 1)) >> by;
}

/* |sum| * scale as float32 arithmetic gives it, the sum rounded to a float and the product once
 * more: a mantissa of up to 25 bits and the exponent of two. */
static uint32_t lenet_product(int32_t sum, uint32_t scale, int *exponent)
{
    const uint32_t size = sum < 0 ? -(uint32_t)sum : (uint32_t)sum;
    int by = lenet_bits(size) - 24;
    by = by > 0 ? by : 0;
    const uint64_t product =
        (lenet_nearest(size, by) << by) * (uint64_t)((scale & 0x7fffff) | 0x800000);
    by = lenet_bits(product) - 24;
    by = by > 0 ? by : 0;
    *exponent = (int)(scale >> 23) - 150 + by;
    return (uint32_t)lenet_nearest(product, by);
}

/* The bits of the float sum * scale. */
static int32_t lenet_logit(int32_t sum, uint32_t scale)
{
    int exponent;
    uint32_t mantissa = lenet_product(sum, scale, &exponent);
    if (mantissa == 0)
        return 0;
    while (mantissa < 0x800000) {
        mantissa <<= 1;
        exponent--;
    }
    if (mantissa > 0xffffff) {
        mantissa >>= 1;
        exponent++;
    }
    const uint32_t bits = (uint32_t)(exponent + 150) << 23 | (mantissa & 0x7fffff);
    return (int32_t)(sum < 0 ? bits | 0x80000000u : bits);
}

/* The code of a sum, exactly as float32 arithmetic rounds it. */
static uint8_t lenet_exact(int32_t sum, uint32_t scale)
{
    int exponent;
    const uint32_t mantissa = lenet_product(sum, scale, &exponent);
    const uint64_t code = sum < 0 ? 0 : exponent > 0 ? 255 : lenet_nearest(mantissa, -exponent);
    return (uint8_t)(code > 255 ? 255 : code);
}

/* The upper word of a product, b not negative. */
static inline int32_t lenet_upper(int32_t a, int32_t b)
{
#if defined(__thumb__) && !defined(__thumb2__) /* where a product has one word alone */
    const uint32_t low = (uint32_t)a & 0xffff, factor = (uint32_t)b & 0xffff;
    const int32_t high = a >> 16, other = b >> 16;
    const int32_t middle = high * (int32_t)factor + (int32_t)(low * factor >> 16);
    const int32_t rest = (int32_t)(low * (uint32_t)other) + (middle & 0xffff);
    return high * other + (middle >> 16) + (rest >> 16);
#else
    return (int32_t)((int64_t)a * b >> 32);
#endif
}

/* The code of a sum, which comes times 2^SHIFT: a product in fixed point, unless its fraction is so
 * close to a half that the roundings of float32 decide. The multiplier is the scale times
 * 2^(44 - SHIFT), so the upper word of the product has 12 bits of fraction. */
static inline uint8_t lenet_code(int32_t sum, int shift, const lenet_output *output)
{
    const int32_t code = lenet_upper(sum, output->multiplier) + (1 << 11) + 8;
    if ((code & 0xff0) == 0)
        return lenet_exact(sum >> shift, output->scale);
#if defined(__ARM_FEATURE_SAT)
    return (uint8_t)__usat(code >> 12, 8);
#else
    const int32_t whole = code >> 12;
    return (uint8_t)(whole < 0 ? 0 : whole > 255 ? 255 : whole);
#endif
}

/* The largest of a pooling window. */
static inline int32_t lenet_largest(int32_t a, int32_t b, int32_t c, int32_t d)
{
    const int32_t e = a > b ? a : b, f = c > d ? c : d;
    return e > f ? e : f;
}
