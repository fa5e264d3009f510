#include "finish.c"
enum level { LEVELS };

static enum level lenet_level(void)
{
#include "choices.c"
    return LAST;
}

static int lenet_chunk(
    enum level level, const float *images, float *logits, size_t n, WORK *work)
{
    switch (level) {
#include "cases.c"
    default:
        return FALLBACK_chunk(images, logits, n, work);
    }
}

static int lenet_batch(
    const float *images, float *logits, size_t batch, void *workspace, int must_be_finite)
{
    const enum level level = lenet_level();
    if (batch == 0)
        return LENET_OK;
    if (images == NULL || logits == NULL || workspace == NULL)
        return LENET_ERROR_NULL;
#include "refusal.c"
    WORK *const work = (WORK *)(void *)((char *)workspace + (-(uintptr_t)workspace & 63));
    for (size_t i = 0; i < batch; i += LENET_CHUNK) {
        const size_t n = batch - i < LENET_CHUNK ? batch - i : LENET_CHUNK;
        const int finite = lenet_chunk(
            level, images + LENET_PIXELS * i, logits + LENET_LOGITS * i, n, work);
#include "finished.c"
        if (must_be_finite && !finite)
            return LENET_ERROR_NOT_FINITE;
    }
    return LENET_OK;
}

const char *lenet_isa(void)
{
    static const char *const names[] = {TITLES};
    return names[lenet_level()];
}

size_t lenet_workspace_size(void)
{
    return BYTES; /* with room to begin at a cache line */
}

int lenet_all_finite(const float *images, size_t batch)
{
    for (size_t i = 0; i < batch * LENET_PIXELS; i++)
        if (images[i] - images[i] != 0) /* NaN, as infinity minus itself is */
            return 0;
    return 1;
}

int lenet_run(const float *images, float *logits, size_t batch, void *workspace)
{
    return lenet_batch(images, logits, batch, workspace, 0);
}

int lenet_run_finite(const float *images, float *logits, size_t batch, void *workspace)
{
    return lenet_batch(images, logits, batch, workspace, 1);
}
