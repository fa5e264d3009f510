/* a * b + c, rounded once, whatever the CPU. The product of two floats is exact in double. The sum in
 * double, made odd where it is not exact, rounds to the float that the exact one rounds to. */
static inline float lenet_fma(float a, float b, float c)
{
#if defined(__GNUC__) && (defined(__FMA__) || defined(__aarch64__))
    return __builtin_fmaf(a, b, c);
#else
    const double product = (double)a * (double)b;
    double sum = product + (double)c;
    const double back = sum - product;
    const double error = (product - (sum - back)) + ((double)c - back);
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    if (error != 0 && sum - sum == 0 && !(bits & 1)) {
        bits += (error > 0) == (sum > 0) ? 1 : UINT64_MAX;
        memcpy(&sum, &bits, sizeof sum);
    }
    return (float)sum;
#endif
}

