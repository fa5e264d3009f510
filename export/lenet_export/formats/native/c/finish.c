/* e^x for x up to 0; NaN for NaN. */
static float lenet_power(float x)
{
    const float cut = x < -87.0f ? -87.0f : x;
    const float t = cut * 1.44269504f + 12582912.0f, n = t - 12582912.0f;
    const float r = cut - n * 0.693359375f + n * 2.12194440e-4f;
    const float p = ((((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r +
                      4.1665795894e-2f) * r + 1.6666665459e-1f) * r + 5.0000001201e-1f;
    const float e = r * r * p + r + 1.0f;
    uint32_t bits;
    float power;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits << 23) + 0x3f800000u;
    memcpy(&power, &bits, sizeof power);
    return e * power;
}

