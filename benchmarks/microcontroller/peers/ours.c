/* Our own C for microcontrollers. */
#include "harness.h"
#include "lenet.h"

static lenet_workspace workspace;

int setup(void) { return 0; }

void classify(const uint8_t *pixels, LOGIT *logits) { lenet_classify(pixels, logits, &workspace); }
