/* Our own C for hosts, its portable section: what `--target host` makes of a microcontroller. */
#include "harness.h"
#include "lenet.h"
#include "padded.h"

static uint32_t workspace[WORKSPACE / 4];

/* The workspace is just as large as it must be. */
int setup(void) {
    const int size = (int)lenet_workspace_size();
    return size == sizeof workspace ? 0 : size;
}

void classify(const uint8_t *pixels, LOGIT *logits) {
    normalise(pixels);
    lenet_run(image, logits, 1, workspace);
}
