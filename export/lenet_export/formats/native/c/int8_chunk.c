/* At most LENET_CHUNK images, from pixels to logits. */
static ATTRIBUTE int ISA_chunk(
    const float *images, float *logits, size_t n, uint8_t *work)
{
    int16_t *const codes = (int16_t *)(void *)(work + CODES);
    int32_t *const sums = (int32_t *)(void *)(work + SUMS);
#include "arrays.c"
    uint32_t largest[LENET_CHUNK];
    for (size_t i = 0; i < n; i++) {
        largest[i] = ISA_input(images + LENET_PIXELS * i, codes);
        ISA_conv1(codes, work + POOLED);
        /* The next image's pages are new to the hardware's prefetcher; one image alone would have
           to wait for the first weights. */
        const void *const next = i + 1 < n ? (const void *)(images + LENET_PIXELS * (i + 1))
                                           : (const void *)FIRST_WEIGHTS;
        const size_t bytes = i + 1 < n ? sizeof(float) * LENET_PIXELS : n == 1 ? AHEAD : 0;
        ISA_conv2(work, x0 + INPUTS * i, next, bytes);
    }
    for (size_t i = 0; i < n; i += TURN) {
        const size_t m = n - i < TURN ? n - i : TURN;
#include "layers.c"
    }
    return lenet_poison(logits, largest, n);
}
