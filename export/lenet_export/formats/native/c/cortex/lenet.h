/* LeNet for microcontrollers, compiled by lenet-deploy VERSION. Weights: SHA-256 WEIGHTS.
 *
 * Two files, lenet.c and lenet.h, for any C99 compiler: nothing is allocated, no global is
 * written, nothing recurs, and no library is called but memset and memcpy. All constants are const,
 * so that they stay in flash. Memory is the caller's, static or on its stack, and may hold anything
 * between two calls:
 *
 *     static lenet_workspace workspace;
 *     float logits[LENET_LOGITS];
 *     const int class = lenet_classify(pixels, logits, &workspace);
 *
 * Pixels are white ink on black, row by row, one byte each; centred as MNIST's digits are.
 *
 *     LABELS
 *
 * KERNELS
 * Logits are floats in every precision, the very ones that lenet_run of the host answers in int8;
 * their bits are computed on integers there, so that no floating-point library is linked.
 */
#ifndef LENET_H
#define LENET_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LENET_ERROR_NULL (-1) /* a pointer is NULL */
#define LENET_SIDE SIDE       /* rows, and pixels of a row */
#define LENET_PIXELS (LENET_SIDE * LENET_SIDE)
#define LENET_LOGITS CLASSES

/* The version of lenet-deploy that wrote the file, and the SHA-256 of the weights in it. */
extern const char lenet_version[];
extern const char lenet_weights_sha256[];

/* What lenet_classify works in, BYTES bytes; never read before it is written. */
typedef struct {
    uint32_t word[WORDS];
} lenet_workspace;

/* The class of an image, 0 to CLASSES - 1, which has the largest logit, the first of equals; or
 * LENET_ERROR_NULL, and then nothing was written. Softmax makes probabilities of the logits.
 * Nothing else can go wrong: every byte is a pixel, and no sum can overflow. */
int lenet_classify(const uint8_t pixels[LENET_PIXELS], float logits[LENET_LOGITS],
                   lenet_workspace *workspace);

#ifdef __cplusplus
}
#endif

#endif
