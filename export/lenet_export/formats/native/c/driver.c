/* Logits to stdout of the images on stdin, as many as the argument says, in one call. */
#include "lenet.h"

#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments)
{
    const size_t batch = count > 1 ? strtoul(arguments[1], NULL, 10) : 1;
    float *const images = malloc(batch * LENET_PIXELS * sizeof *images);
    float *const logits = malloc(batch * LENET_LOGITS * sizeof *logits);
    void *const workspace = malloc(lenet_workspace_size());
    if (!images || !logits || !workspace ||
        fread(images, LENET_PIXELS * sizeof *images, batch, stdin) != batch ||
        lenet_run(images, logits, batch, workspace) != LENET_OK ||
        fwrite(logits, LENET_LOGITS * sizeof *logits, batch, stdout) != batch)
        return 1;
    free(images);
    free(logits);
    free(workspace);
    return 0;
}
