/* A backend of NVIDIA's Triton that is one network: lenet.c behind Triton's C API.
 *
 *     gcc -O2 -fPIC -shared -fvisibility=hidden -I. -o libtriton_lenet.so triton_backend.c lenet.c
 *
 * The model takes "images" FP32 (N, 1, 32, 32) and answers "logits" FP32 (N, 10). Triton has
 * checked name, datatype and shape against the model's config.pbtxt before it calls.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lenet.h"
#include "triton_backend.h"

#define EXPORT __attribute__((visibility("default")))
#define TRY(call)                          \
    do {                                   \
        TRITONSERVER_Error *error = (call); \
        if (error) return error;           \
    } while (0)

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

EXPORT TRITONSERVER_Error *TRITONBACKEND_Initialize(TRITONBACKEND_Backend *backend)
{
    uint32_t major, minor;
    (void)backend;
    TRY(TRITONBACKEND_ApiVersion(&major, &minor));
    return major == 1 && minor >= 4 ? NULL
        : TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "expected backend API 1.4 or later");
}

/* An instance runs one request at a time, so one workspace is enough. */
EXPORT TRITONSERVER_Error *TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance *self)
{
    void *workspace = malloc(lenet_workspace_size());
    if (!workspace) return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "out of memory");
    return TRITONBACKEND_ModelInstanceSetState(self, workspace);
}

EXPORT TRITONSERVER_Error *TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance *self)
{
    void *workspace;
    TRY(TRITONBACKEND_ModelInstanceState(self, &workspace));
    free(workspace);
    return NULL;
}

/* The images in one piece and aligned: where they lie, or in *copy, which the caller frees. */
static TRITONSERVER_Error *gather(TRITONBACKEND_Input *input, uint64_t bytes, uint32_t buffers,
                                  const float **images, char **copy)
{
    uint64_t filled = 0;
    for (uint32_t i = 0; i < buffers; i++) {
        const void *buffer;
        uint64_t size;
        int type = TRITONSERVER_MEMORY_CPU;
        int64_t id = 0;
        TRY(TRITONBACKEND_InputBuffer(input, i, &buffer, &size, &type, &id));
        if (type == TRITONSERVER_MEMORY_GPU)
            return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INVALID_ARG,
                                         "images: expected CPU memory, found a GPU's");
        *images = buffer;
        if (buffers == 1 && (uintptr_t)buffer % sizeof(float) == 0) return NULL;
        if (!*copy && !(*copy = malloc(bytes)))
            return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "out of memory");
        memcpy(*copy + filled, buffer, size);
        filled += size;
    }
    *images = (const float *)*copy;
    return NULL;
}

static TRITONSERVER_Error *answer(TRITONBACKEND_Request *request, TRITONBACKEND_Response *response,
                                  void *workspace, uint64_t *batch, char **copy)
{
    TRITONBACKEND_Input *input;
    TRITONBACKEND_Output *output;
    const int64_t *shape;
    uint32_t buffers, outputs;
    uint64_t bytes;
    const float *images = NULL;
    void *logits;
    int type = TRITONSERVER_MEMORY_CPU;
    int64_t id = 0;
    TRY(TRITONBACKEND_RequestInputByIndex(request, 0, &input));
    TRY(TRITONBACKEND_InputProperties(input, NULL, NULL, &shape, NULL, &bytes, &buffers));
    TRY(gather(input, bytes, buffers, &images, copy));
    *batch = (uint64_t)shape[0];
    TRY(TRITONBACKEND_RequestOutputCount(request, &outputs));
    if (outputs == 0) return NULL;
    int64_t logits_shape[] = {shape[0], LENET_LOGITS};
    TRY(TRITONBACKEND_ResponseOutput(response, &output, "logits", TRITONSERVER_TYPE_FP32,
                                     logits_shape, 2));
    TRY(TRITONBACKEND_OutputBuffer(output, &logits, *batch * LENET_LOGITS * sizeof(float), &type,
                                   &id));
    switch (lenet_run_finite(images, logits, *batch, workspace)) {
    case LENET_OK: return NULL;
    case LENET_ERROR_NOT_FINITE:
        return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INVALID_ARG,
                                     "images: expected finite numbers, found NaN or infinity");
    default: return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "the network did not run");
    }
}

EXPORT TRITONSERVER_Error *TRITONBACKEND_ModelInstanceExecute(
    TRITONBACKEND_ModelInstance *self, TRITONBACKEND_Request **requests, uint32_t count)
{
    void *workspace;
    TRY(TRITONBACKEND_ModelInstanceState(self, &workspace));
    for (uint32_t i = 0; i < count; i++) {
        TRITONBACKEND_Response *response;
        TRY(TRITONBACKEND_ResponseNew(&response, requests[i]));
        char *copy = NULL;
        uint64_t batch = 1, start = now_ns();
        TRITONSERVER_Error *error = answer(requests[i], response, workspace, &batch, &copy);
        uint64_t end = now_ns();
        free(copy);
        TRITONBACKEND_ModelInstanceReportStatistics(self, requests[i], !error, start, start, end,
                                                    end);
        TRITONBACKEND_ModelInstanceReportBatchStatistics(self, batch, start, start, end, end);
        TRITONBACKEND_ResponseSend(response, TRITONSERVER_RESPONSE_COMPLETE_FINAL, error);
        if (error) TRITONSERVER_ErrorDelete(error);
        TRITONBACKEND_RequestRelease(requests[i], TRITONSERVER_REQUEST_RELEASE_ALL);
    }
    return NULL;
}
