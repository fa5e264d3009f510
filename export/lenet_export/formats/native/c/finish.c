#include "fma.c"
/* e^x for x up to 0; NaN for NaN. */
static float lenet_power(float x)
{
    static const float polynomial[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f,
                                       1.6666665459e-1f, 5.0000001201e-1f};
    const float cut = x < -87.0f ? -87.0f : x;
    const float t = lenet_fma(cut, 1.44269504f, 12582912.0f), n = t - 12582912.0f;
    const float r = lenet_fma(n, 2.12194440e-4f, lenet_fma(n, -0.693359375f, cut));
    float p = 1.9875691500e-4f, power;
    for (int i = 0; i < 5; i++)
        p = lenet_fma(p, r, polynomial[i]);
    const float e = lenet_fma(r * r, p, r) + 1.0f;
    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits << 23) + 0x3f800000u;
    memcpy(&power, &bits, sizeof power);
    return e * power;
}

