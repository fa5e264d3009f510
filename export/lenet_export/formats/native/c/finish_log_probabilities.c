/* A product that no compiler fuses with an addition, as some do on some CPUs. */
static double lenet_product(double a, double b)
{
    const volatile double product = a * b;
    return product;
}

/* The natural logarithm of x from 1 on; NaN for NaN. */
static double lenet_logarithm(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    const double exponent = (double)(bits >> 52) - 1023.0;
    bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
    double m, sum = 0;
    memcpy(&m, &bits, sizeof m);
    const double s = (m - 1.0) / (m + 1.0); /* m from 1 to 2, s from 0 to 1/3 */
    for (int i = 21; i > 0; i -= 2)
        sum = lenet_product(sum * s, s) + 1.0 / i;
    return x - x + lenet_product(exponent, 0.693147180559945309) + lenet_product(2.0 * s, sum);
}

/* Logits become the logarithms of probabilities. */
static void lenet_finish(float *logits, size_t n)
{
    for (size_t i = 0; i < n; i++, logits += LENET_LOGITS) {
        float most = logits[0];
        double sum = 0;
        for (int k = 1; k < LENET_LOGITS; k++)
            most = logits[k] > most ? logits[k] : most;
        for (int k = 0; k < LENET_LOGITS; k++)
            sum += (double)lenet_power(logits[k] - most);
        const float whole = (float)lenet_logarithm(sum);
        for (int k = 0; k < LENET_LOGITS; k++)
            logits[k] = logits[k] - most - whole;
    }
}

