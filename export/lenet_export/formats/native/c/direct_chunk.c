/* At most LENET_CHUNK images, from pixels to logits; returns whether all are finite. */
static ATTRIBUTE int ISA_chunk(
    const float *images, float *logits, size_t n, float *work)
{
    uint32_t largest = 0;
#include "arrays.c"
    for (size_t i = 0; i < n; i++) {
        const float *const image = images + LENET_PIXELS * i;
        float *const features = x0 + FEATURES * i;
        const uint32_t own = ISA_largest(image);
        largest = own > largest ? own : largest;
#include "convolutions.c"
        for (int v = 0; v < FEATURES / 16; v++)
            m0[FEATURES / 16 * i + (size_t)v] = ISA_nonzero(features + 16 * v);
#include "beyond.c"
    }
#include "layers.c"
    for (size_t i = 0; i < n; i++)
        memcpy(logits + LENET_LOGITS * i, RESULT + STRIDE * i,
               LENET_LOGITS * sizeof *logits);
    return largest < LENET_FINITE;
}
