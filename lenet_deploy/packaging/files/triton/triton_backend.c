/* A backend of NVIDIA's Triton that is one network: lenet.c behind Triton's C API.
 *
 * Linux and glibc 2.17 or later; nothing but libc is linked. Compile it where it lies:
 *
 *     gcc -std=c11 -O2 -fPIC -shared -fvisibility=hidden -o libtriton_lenet.so lenet.c triton_backend.c
 *
 * The model takes one input, FP32 (N, C, H, W), and answers one output, FP32 (N, K), under the
 * names of its config.pbtxt. Any Triton whose backend API is 1.4 or later (2021) loads it.
 */
#define _POSIX_C_SOURCE 199309L /* clock_gettime */

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

static TRITONSERVER_Error *internal(const char *message)
{
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, message);
}

static TRITONSERVER_Error *invalid(const char *message)
{
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INVALID_ARG, message);
}

EXPORT TRITONSERVER_Error *TRITONBACKEND_Initialize(TRITONBACKEND_Backend *backend)
{
    uint32_t major, minor;
    (void)backend;
    TRY(TRITONBACKEND_ApiVersion(&major, &minor));
    return major == 1 && minor >= 4 ? NULL : internal("expected backend API 1.4 or later");
}

static TRITONSERVER_Error *compute(const float *images, float *logits, uint64_t batch,
                                   void *workspace)
{
    switch (lenet_run_finite(images, logits, batch, workspace)) {
    case LENET_OK: return NULL;
    case LENET_ERROR_NOT_FINITE:
        return invalid("images: expected finite numbers, found NaN or infinity");
    case LENET_ERROR_CPU: return internal("none of the network's kernels runs on this CPU");
    default: return internal("the network did not run");
    }
}

/* An instance runs one batch at a time, so one workspace is enough. A black image shows at once
 * whether this CPU can run the network. */
EXPORT TRITONSERVER_Error *TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance *self)
{
    static const float black[LENET_PIXELS];
    float logits[LENET_LOGITS];
    void *workspace = malloc(lenet_workspace_size());
    if (!workspace) return internal("out of memory");
    TRITONSERVER_Error *error = compute(black, logits, 1, workspace);
    if (!error) error = TRITONBACKEND_ModelInstanceSetState(self, workspace);
    if (error) free(workspace);
    return error;
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
            return invalid("images: expected CPU memory, found a GPU's");
        if (size > bytes - filled) return invalid("images: more bytes than their shape says");
        filled += size;
        if (filled == bytes && filled == size && (uintptr_t)buffer % sizeof(float) == 0) {
            *images = buffer;
            return NULL;
        }
        if (!*copy && !(*copy = malloc(bytes))) return internal("out of memory");
        memcpy(*copy + filled - size, buffer, size);
    }
    if (filled != bytes) return invalid("images: fewer bytes than their shape says");
    *images = (const float *)*copy;
    return NULL;
}

static TRITONSERVER_Error *answer(TRITONBACKEND_Request *request, TRITONBACKEND_Response *response,
                                  void *workspace, uint64_t *batch, char **copy)
{
    TRITONBACKEND_Input *input;
    TRITONBACKEND_Output *output;
    const char *name;
    const int64_t *shape;
    uint32_t dims, buffers, outputs;
    uint64_t bytes;
    const float *images = NULL;
    void *logits;
    int datatype, type = TRITONSERVER_MEMORY_CPU;
    int64_t id = 0;
    TRY(TRITONBACKEND_RequestInputByIndex(request, 0, &input));
    TRY(TRITONBACKEND_InputProperties(input, NULL, &datatype, &shape, &dims, &bytes, &buffers));
    /* Triton has checked this against config.pbtxt, which may be another network's. */
    *batch = bytes / (LENET_PIXELS * sizeof(float));
    if (datatype != TRITONSERVER_TYPE_FP32 || dims != 4 || (uint64_t)shape[0] != *batch ||
        bytes % (LENET_PIXELS * sizeof(float)) != 0)
        return invalid("images: expected FP32 of this network's shape; config.pbtxt is another's");
    TRY(gather(input, bytes, buffers, &images, copy));
    TRY(TRITONBACKEND_RequestOutputCount(request, &outputs));
    if (outputs == 0) return NULL;
    TRY(TRITONBACKEND_RequestOutputName(request, 0, &name));
    int64_t logits_shape[] = {shape[0], LENET_LOGITS};
    TRY(TRITONBACKEND_ResponseOutput(response, &output, name, TRITONSERVER_TYPE_FP32, logits_shape,
                                     2));
    const uint64_t size = *batch * LENET_LOGITS * sizeof(float);
    TRY(TRITONBACKEND_OutputBuffer(output, &logits, size, &type, &id));
    if (type == TRITONSERVER_MEMORY_GPU) return internal("logits: expected CPU memory");
    /* Shared memory of a client's may begin anywhere. */
    float *aligned = (uintptr_t)logits % sizeof(float) ? malloc(size) : logits;
    if (!aligned) return internal("out of memory");
    TRITONSERVER_Error *error = compute(images, aligned, *batch, workspace);
    if (aligned != logits) {
        if (!error) memcpy(logits, aligned, size);
        free(aligned);
    }
    return error;
}

/* The requests of a batch are answered one after the other: lenet.c gains nothing by putting their
 * images together, and the first need not wait for the last. */
EXPORT TRITONSERVER_Error *TRITONBACKEND_ModelInstanceExecute(
    TRITONBACKEND_ModelInstance *self, TRITONBACKEND_Request **requests, uint32_t count)
{
    void *workspace;
    uint64_t images = 0, begin = now_ns();
    TRY(TRITONBACKEND_ModelInstanceState(self, &workspace));
    for (uint32_t i = 0; i < count; i++) {
        TRITONBACKEND_Response *response;
        char *copy = NULL;
        uint64_t batch = 1, start = now_ns();
        TRITONSERVER_Error *error = TRITONBACKEND_ResponseNew(&response, requests[i]);
        const bool answers = !error;
        if (answers) error = answer(requests[i], response, workspace, &batch, &copy);
        free(copy);
        const uint64_t end = now_ns();
        images += batch;
        TRITONBACKEND_ModelInstanceReportStatistics(self, requests[i], !error, start, start, end,
                                                    end);
        if (answers)
            TRITONBACKEND_ResponseSend(response, TRITONSERVER_RESPONSE_COMPLETE_FINAL, error);
        if (error) TRITONSERVER_ErrorDelete(error);
        TRITONBACKEND_RequestRelease(requests[i], TRITONSERVER_REQUEST_RELEASE_ALL);
    }
    const uint64_t end = now_ns();
    TRITONBACKEND_ModelInstanceReportBatchStatistics(self, images, begin, begin, end, end);
    return NULL;
}
