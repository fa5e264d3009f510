#define LENET_FINITE 0x7f800000u /* bits of infinity */

/* NaN for each image that holds a value which is not finite, since integers cannot carry it.
 * Returns whether there was none. */
static int lenet_poison(float *logits, const uint32_t *largest, size_t n)
{
    static const uint32_t bits = 0x7fc00000;
    int finite = 1;
    for (size_t i = 0; i < n; i++)
        if (largest[i] >= LENET_FINITE) {
            finite = 0;
            for (int j = 0; j < LENET_LOGITS; j++)
                memcpy(logits + LENET_LOGITS * i + j, &bits, sizeof bits);
        }
    return finite;
}

