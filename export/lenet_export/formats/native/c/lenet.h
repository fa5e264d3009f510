/* LeNet, compiled by lenet-deploy VERSION. Weights: SHA-256 WEIGHTS.
 *
 * Two files, lenet.c and lenet.h, and libc: nothing is allocated, no global is written, and any
 * number of threads may run at once, each with a workspace of its own:
 *
 *     void *workspace = malloc(lenet_workspace_size());
 *     if (lenet_run(images, logits, batch, workspace) != LENET_OK) ...
 *     free(workspace);
 *
#include "layout.h"
 *
 *     LABELS
 *
 * MEANING
 *
 * Floating-point state: it is never changed, and answers are proven for the one that a program
 * starts with. Where the caller flushes tiny values to zero, values below 2^-126 count as 0. Where
 * the caller rounds otherwise than to nearest, the logits are not as exact, and not proven.
 */
#ifndef LENET_H
#define LENET_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LENET_OK 0
#define LENET_ERROR_NULL 1       /* a pointer is NULL and batch is not 0 */
#define LENET_ERROR_NOT_FINITE 2 /* of lenet_run_finite: a pixel is NaN or infinite */
#define LENET_ERROR_CPU 3        /* none of the kernels runs on this CPU; bf16 alone */
#define LENET_PIXELS PIXELS  /* floats of an image: SIDES, normalised */
#define LENET_LOGITS CLASSES
#define LENET_CHUNK CHUNK /* images that are worked on together; a larger batch takes turns */
#define LENET_MEAN MEAN
#define LENET_STD STD
#define LENET_PADDING PADDING

/* The version of lenet-deploy that wrote the file, and the SHA-256 of the weights in it. */
extern const char lenet_version[];
extern const char lenet_weights_sha256[];

/* Bytes that lenet_run works in, whatever the batch. */
size_t lenet_workspace_size(void);

/* Logits (batch, LENET_LOGITS) of images (batch, SHAPE), both row-major.
 * An image's logits do not depend on the others in the batch, to the bit. BEHAVIOUR
 * A batch may be 0 and has no limit but memory. Images and logits are aligned as any float is, the
 * workspace need not be, and none may overlap another.
 * Returns LENET_OK or an error code, and then wrote nothing. */
int lenet_run(const float *images, float *logits, size_t batch, void *workspace);

/* 1 if none of the batch's pixels is NaN or infinite, else 0. */
int lenet_all_finite(const float *images, size_t batch);

/* lenet_run, and LENET_ERROR_NOT_FINITE if any of the batch's pixels is NaN or infinite; the
 * logits then hold nothing of use. It costs no second look at the images. */
int lenet_run_finite(const float *images, float *logits, size_t batch, void *workspace);

/* The kernels that run on this CPU: TITLES. */
const char *lenet_isa(void);

#ifdef __cplusplus
}
#endif

#endif
