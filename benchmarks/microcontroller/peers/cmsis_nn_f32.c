/* The network by calls to CMSIS-NN's float32 functions; see `cmsis_nn.c`. */
#include <float.h>

#include "arm_nnfunctions.h"
#include "harness.h"
#include "network_f32.h"

static float large[30 * 30 * 6], small[15 * 15 * 6];
static float patches[PATCHES / 4]; /* what conv2 asks for; conv1 asks for less */

#define CONVOLUTION_PARTS(SIDE, CHANNELS, PAD, OUT, OUTPUTS)                                       \
    const cmsis_nn_conv_params_f32 how = {{1, 1}, {PAD, PAD}, {1, 1}, {0.0f, FLT_MAX}};            \
    const cmsis_nn_dims in = {1, SIDE, SIDE, CHANNELS}, filter = {OUTPUTS, 3, 3, CHANNELS};        \
    const cmsis_nn_dims out = {1, OUT, OUT, OUTPUTS}

/* Convolution, ReLU and 2x2 max pooling. */
#define CONVOLUTION(NAME, SIDE, CHANNELS, PAD, OUT, OUTPUTS, from, sums, to)                       \
    do {                                                                                           \
        const cmsis_nn_context scratch = {patches, sizeof patches};                                \
        CONVOLUTION_PARTS(SIDE, CHANNELS, PAD, OUT, OUTPUTS);                                      \
        const cmsis_nn_dims bias = {1, 1, 1, OUTPUTS};                                             \
        arm_convolve_wrapper_f32(&scratch, &how, &in, from, &filter, NAME##_weight, &bias,         \
                                 NAME##_bias, &out, sums);                                         \
        const cmsis_nn_pool_params_f32 pool = {{2, 2}, {0, 0}, {-FLT_MAX, FLT_MAX}};               \
        const cmsis_nn_dims window = {1, 2, 2, 1}, half = {1, OUT / 2, OUT / 2, OUTPUTS};          \
        arm_max_pool_f32(&scratch, &pool, &out, sums, &window, &half, to);                         \
    } while (0)

#define DENSE(NAME, INPUTS, OUTPUTS, least, from, to)                                              \
    do {                                                                                           \
        const cmsis_nn_context none = {0, 0};                                                      \
        const cmsis_nn_fc_params_f32 how = {{least, FLT_MAX}};                                     \
        const cmsis_nn_dims in = {1, 1, 1, INPUTS}, filter = {INPUTS, 1, 1, OUTPUTS};              \
        const cmsis_nn_dims out = {1, 1, 1, OUTPUTS};                                              \
        arm_fully_connected_nhwc_f32(&none, &how, &in, from, &filter, NAME##_weight, &out,         \
                                     NAME##_bias, &out, to);                                       \
    } while (0)

int setup(void) {
    CONVOLUTION_PARTS(15, 6, 0, 13, 16);
    const int size = (int)arm_convolve_wrapper_f32_get_buffer_size(&how, &in, &filter, &out);
    return size == sizeof patches ? 0 : size + 1;
}

void classify(const uint8_t *pixels, LOGIT *logits) {
    for (int i = 0; i < 784; i++)
        small[i] = (float)pixels[i] / 255.0f;
    CONVOLUTION(conv1, 28, 1, 2, 30, 6, small, large, small);
    CONVOLUTION(conv2, 15, 6, 0, 13, 16, small, large, small);
    DENSE(fc1, 576, 120, 0.0f, small, large);
    DENSE(fc2, 120, 84, 0.0f, large, small);
    DENSE(fc3, 84, 10, -FLT_MAX, small, logits);
}
