#ifndef LENET_APART
#if defined(__GNUC__)
#define LENET_APART __attribute__((noinline))
#else
#define LENET_APART
#endif

/* a * b + c, rounded once, whatever the CPU. The product of two floats is exact in double, and so
 * the float of the sum in double is right, unless that sum was rounded to half-way between two
 * floats or the float is subnormal: then the sum is made odd where it is not exact, which no
 * second rounding takes for half-way. */
static LENET_APART float lenet_fma_odd(double product, double c)
{
    double sum = product + c;
    const double back = sum - product;
    const double error = (product - (sum - back)) + (c - back);
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    if (error != 0 && !(bits & 1) && sum - sum == 0) {
        bits += (error > 0) == (sum > 0) ? 1 : UINT64_MAX;
        memcpy(&sum, &bits, sizeof sum);
    }
    return (float)sum;
}

static inline float lenet_fma(float a, float b, float c)
{
#if defined(__GNUC__) && (defined(__FMA__) || defined(__aarch64__) || defined(__FP_FAST_FMAF))
    (void)lenet_fma_odd;
    return __builtin_fmaf(a, b, c);
#else
    const double product = (double)a * (double)b, sum = product + (double)c;
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    if ((bits & 0x1fffffff) == 0x10000000 || (bits << 1) - 1 < (uint64_t)0x381 << 53)
        return lenet_fma_odd(product, (double)c);
    return (float)sum;
#endif
}
#endif

