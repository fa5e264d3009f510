/* The network by calls to CMSIS-NN alone: what a careful engineer writes with Arm's library.
 *
 * No framework, no flatbuffer, padding inside conv1, two buffers that take turns. The weights and
 * scales are those of TensorFlow Lite's converter (`tflite.py`), so the int8 logits equal its.
 */
#include "arm_nnfunctions.h"
#include "harness.h"
#include "network.h"

static int8_t large[30 * 30 * 6], small[15 * 15 * 6];
static int32_t patches[4 * 64 / 4]; /* the larger of what DSP and Helium ask for */

/* Convolution, ReLU (the output's zero is -128) and 2x2 max pooling. */
#define CONVOLUTION(NAME, SIDE, CHANNELS, PAD, OUT, OUTPUTS, from, sums, to)                       \
    do {                                                                                           \
        const cmsis_nn_context scratch = {patches, sizeof patches};                                \
        const cmsis_nn_conv_params how = {128, -128, {1, 1}, {PAD, PAD}, {1, 1}, {-128, 127}};     \
        const cmsis_nn_per_channel_quant_params scale = {                                          \
            (int32_t *)NAME##_multiplier, (int32_t *)NAME##_shift};                                \
        const cmsis_nn_dims in = {1, SIDE, SIDE, CHANNELS}, filter = {OUTPUTS, 3, 3, CHANNELS};    \
        const cmsis_nn_dims bias = {1, 1, 1, OUTPUTS}, out = {1, OUT, OUT, OUTPUTS};               \
        arm_convolve_wrapper_s8(&scratch, &how, &scale, &in, from, &filter, NAME##_weight, &bias,  \
                                NAME##_bias, &out, sums);                                          \
        const cmsis_nn_pool_params pool = {{2, 2}, {0, 0}, {-128, 127}};                           \
        const cmsis_nn_dims window = {1, 2, 2, 1}, half = {1, OUT / 2, OUT / 2, OUTPUTS};          \
        arm_max_pool_s8(&scratch, &pool, &out, sums, &window, &half, to);                          \
    } while (0)

#define DENSE(NAME, INPUTS, OUTPUTS, zero, from, to)                                               \
    do {                                                                                           \
        const cmsis_nn_context sums = {(int32_t *)NAME##_sums, 4 * OUTPUTS};                       \
        const cmsis_nn_fc_params how = {128, 0, zero, {-128, 127}};                                \
        const cmsis_nn_per_channel_quant_params scale = {                                          \
            (int32_t *)NAME##_multiplier, (int32_t *)NAME##_shift};                                \
        const cmsis_nn_dims in = {1, 1, 1, INPUTS}, filter = {INPUTS, 1, 1, OUTPUTS};              \
        const cmsis_nn_dims out = {1, 1, 1, OUTPUTS};                                              \
        arm_fully_connected_per_channel_s8(&sums, &how, &scale, &in, from, &filter, NAME##_weight, \
                                           &out, NAME##_bias, &out, to);                           \
    } while (0)

int setup(void) { return 0; }

void classify(const uint8_t *pixels, LOGIT *logits) {
    for (int i = 0; i < 784; i++)
        small[i] = (int8_t)(pixels[i] ^ 0x80);
    CONVOLUTION(conv1, 28, 1, 2, 30, 6, small, large, small);
    CONVOLUTION(conv2, 15, 6, 0, 13, 16, small, large, small);
    DENSE(fc1, 576, 120, -128, small, large);
    DENSE(fc2, 120, 84, -128, large, small);
    DENSE(fc3, 84, 10, LOGIT_ZERO, small, logits);
}
