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
