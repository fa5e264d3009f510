/* At most LENET_CHUNK images, from pixels to logits. */
static ATTRIBUTE int vnni_chunk(
    const float *images, float *logits, size_t n, uint8_t *work)
{
    int16_t *const codes = (int16_t *)(void *)(work + CODES);
    uint8_t *const pooled = work + POOLED;
#include "arrays.c"
    uint32_t largest[LENET_CHUNK];
    for (size_t i = 0; i < n; i++) {
        largest[i] = vnni_input(images + LENET_PIXELS * i, codes);
        vnni_conv1(codes, pooled);
        const char *const weights = (const char *)lenet_dense0_bytes[0][0];
        const char *const next = (const char *)(images + LENET_PIXELS * (i + 1));
        vnni_conv2(pooled, x0 + INPUTS * i,
                   i + 1 < n ? next : weights,
                   i + 1 < n ? IMAGE_STEP : n == 1 ? WEIGHTS_STEP : 0);
    }
    const size_t parts = (n + TURNS - 1) / TURNS;
    for (size_t part = 0, i = 0; part < parts; part++) {
        const size_t end = n * (part + 1) / parts, m = end - i;
#include "vnni_layers.c"
        i = end;
    }
    return lenet_poison(logits, largest, n);
}
