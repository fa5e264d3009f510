/* What onnx2c writes for our ONNX file, and its input. */
#include "harness.h"
#include "onnx2c_network.h"
#include "padded.h"

int setup(void) { return 0; }

void classify(const uint8_t *pixels, LOGIT *logits) {
    normalise(pixels);
    entry((const float(*)[1][32][32])image, (float(*)[10])logits);
}
