/* What python_module.c calls, over one image at a time. */
#include "lenet.h"

#include <stddef.h>

#define LENET_PIXEL uint8_t
#define LENET_OK 0
#define LENET_ERROR_NOT_FINITE 2 /* no byte is that */

static int lenet_run(const uint8_t *images, float *logits, size_t batch, void *workspace)
{
    for (size_t i = 0; i < batch; i++)
        if (lenet_classify(images + LENET_PIXELS * i, logits + LENET_LOGITS * i, workspace) < 0)
            return LENET_ERROR_NULL;
    return LENET_OK;
}

static int lenet_run_finite(const uint8_t *images, float *logits, size_t batch, void *workspace)
{
    return lenet_run(images, logits, batch, workspace);
}

static size_t lenet_workspace_size(void)
{
    return sizeof(lenet_workspace);
}

static const char *lenet_isa(void)
{
    return "cortex-m";
}
