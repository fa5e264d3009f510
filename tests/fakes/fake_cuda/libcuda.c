/* A CUDA driver without a GPU, for tests: device memory is host memory.
 *
 * What is put on a stream runs only when somebody waits for it, so an answer that is read too early
 * is the poison that the memory held before. Misuse that a real driver punishes is an error here:
 * no current context, copies outside an allocation, waiting while a graph is captured. Kernels are
 * functions that a test registers. Times are not measured: a launch takes 5 us, a copy 1 us and
 * 10 bytes a nanosecond.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100,
    INVALID_DEVICE = 101, INVALID_IMAGE = 200, INVALID_CONTEXT = 201, INVALID_HANDLE = 400,
    NOT_FOUND = 500, NOT_READY = 600, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901
};
typedef unsigned long long Pointer;
typedef void (*Kernel)(void **arguments, unsigned blocks, unsigned threads, unsigned shared);

#define MAX_ARGUMENTS 32
#define MAX_KERNELS 32
#define MAX_STEPS 1023

typedef struct { char name[128]; Kernel call; int count; int sizes[MAX_ARGUMENTS]; } Function;
typedef struct Event { int done; double at; struct Stream *stream; } Event;
typedef struct Op {
    struct Op *next;
    enum { COPY, LAUNCH, RECORD, WAIT } kind;
    void *target; const void *source; size_t size; void *aside;
    Function *function; unsigned blocks, threads, shared;
    unsigned char values[MAX_ARGUMENTS][16];
    Event *event;
} Op;
typedef struct { Op *first, **end; } Queue;
typedef struct Stream { Queue queue; int capturing, invalid; Queue graph; pthread_t owner; } Stream;
typedef struct Block { struct Block *next; Pointer at; size_t size; int pinned; } Block;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int devices, initialized, major_version, minor_version, shared_limit;
static size_t memory, used;
static double now;
static Block *blocks;
static Stream default_stream;
static Function functions[MAX_KERNELS];
static int function_count, live;
static char fail_name[64];
static int fail_after, fail_code;
static long counts[2];
static char steps[MAX_STEPS + 1];
static int step_count;
static __thread void *stack[64];
static __thread int depth;
static __thread int capturing_here;

/* ---- what tests set and ask ---- */

void fake_reset(int count, unsigned long long bytes, int major, int minor, int shared) {
    pthread_mutex_lock(&lock);
    devices = count; memory = bytes; major_version = major; minor_version = minor;
    shared_limit = shared;
    initialized = 0; function_count = 0; fail_name[0] = 0; now = 0; depth = 0;
    capturing_here = 0;
    memset(counts, 0, sizeof counts);
    memset(steps, 0, sizeof steps);
    step_count = 0;
    pthread_mutex_unlock(&lock);
}

void fake_kernel(const char *name, Kernel call, int count, const int *sizes) {
    Function *f = &functions[function_count++];
    snprintf(f->name, sizeof f->name, "%s", name);
    f->call = call; f->count = count;
    memcpy(f->sizes, sizes, count * sizeof *sizes);
}

/* The call number `after` (from 0) of the function `name` fails with `code`, and all later ones
 * until the next fake_fail. */
void fake_fail(const char *name, int after, int code) {
    snprintf(fail_name, sizeof fail_name, "%s", name);
    fail_after = after; fail_code = code;
}

long fake_count(int which) { return counts[which]; } /* 0 graph launches, 1 captures */
int fake_live(void) { return live; }
unsigned long long fake_used(void) { return used; }
int fake_depth(void) { return depth; }
int fake_capturing(void) { return capturing_here; }

/* What was put on streams, and waited for, since this was last called: upload, download, kernel,
 * graph, synchronize; one letter each. */
void fake_steps(char *letters) {
    memcpy(letters, steps, sizeof steps);
    memset(steps, 0, sizeof steps);
    step_count = 0;
}
static void step(char letter) {
    if (capturing_here || step_count >= MAX_STEPS) return;
    steps[__sync_fetch_and_add(&step_count, 1)] = letter;
}

static int failing(const char *name) {
    return strcmp(name, fail_name) == 0 && fail_after-- <= 0 ? fail_code : OK;
}

#define ENTER(name) \
    int code_ = failing(name); \
    if (code_) return code_
#define IN_CONTEXT(name) \
    ENTER(name); \
    if (!depth) return INVALID_CONTEXT

/* ---- devices and contexts ---- */

int cuInit(unsigned flags) {
    ENTER("cuInit");
    if (devices == 0) return NO_DEVICE;
    initialized = 1;
    return OK;
}
int cuDriverGetVersion(int *version) { *version = 13020; return OK; }
int cuDeviceGetCount(int *count) {
    ENTER("cuDeviceGetCount");
    if (!initialized) return NOT_INITIALIZED;
    *count = devices;
    return OK;
}
int cuDeviceGet(int *device, int index) {
    ENTER("cuDeviceGet");
    if (index < 0 || index >= devices) return INVALID_DEVICE;
    *device = index;
    return OK;
}
int cuDeviceGetName(char *name, int size, int device) {
    snprintf(name, size, "Fake GPU %d", device);
    return OK;
}
int cuDeviceGetUuid(unsigned char *uuid, int device) {
    memset(uuid, 0xf0 + device, 16);
    return OK;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = memory; return OK; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
    case 16: *value = 132; return OK;
    case 75: *value = major_version; return OK;
    case 76: *value = minor_version; return OK;
    case 97: *value = shared_limit; return OK;
    }
    return INVALID_VALUE;
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
    ENTER("cuDevicePrimaryCtxRetain");
    *context = (void *)(intptr_t)(0x1000 + device);
    __sync_add_and_fetch(&live, 1);
    return OK;
}
int cuDevicePrimaryCtxRelease_v2(int device) { __sync_sub_and_fetch(&live, 1); return OK; }
int cuCtxPushCurrent_v2(void *context) {
    ENTER("cuCtxPushCurrent_v2");
    if (depth == 64) return INVALID_VALUE;
    stack[depth++] = context;
    return OK;
}
int cuCtxPopCurrent_v2(void **context) {
    if (!depth) return INVALID_CONTEXT;
    *context = stack[--depth];
    return OK;
}

/* ---- memory ---- */

static int allocate(Pointer *pointer, size_t size, int pinned) {
    void *at;
    if (!size) return INVALID_VALUE;
    if (capturing_here) return CAPTURE_UNSUPPORTED;
    if (posix_memalign(&at, 256, size)) return OUT_OF_MEMORY;
    memset(at, 0xa5, size);
    pthread_mutex_lock(&lock);
    if (!pinned && used + size > memory) {
        pthread_mutex_unlock(&lock);
        free(at);
        return OUT_OF_MEMORY;
    }
    Block *block = malloc(sizeof *block);
    *block = (Block){blocks, (Pointer)(uintptr_t)at, size, pinned};
    blocks = block;
    if (!pinned) used += size;
    live++;
    pthread_mutex_unlock(&lock);
    *pointer = block->at;
    return OK;
}
static int release(Pointer pointer, int pinned) {
    int code = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (Block **b = &blocks; *b; b = &(*b)->next)
        if ((*b)->at == pointer && (*b)->pinned == pinned) {
            Block *dead = *b;
            *b = dead->next;
            if (!pinned) used -= dead->size;
            memset((void *)(uintptr_t)dead->at, 0xdd, dead->size);
            free((void *)(uintptr_t)dead->at);
            free(dead);
            live--;
            code = OK;
            break;
        }
    pthread_mutex_unlock(&lock);
    return code;
}
static int on_device(Pointer at, size_t size) {
    int found = 0;
    pthread_mutex_lock(&lock);
    for (Block *b = blocks; b; b = b->next)
        found |= !b->pinned && at >= b->at && at + size <= b->at + b->size;
    pthread_mutex_unlock(&lock);
    return found;
}
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    IN_CONTEXT("cuMemGetInfo_v2");
    *free_bytes = memory - used; *total = memory;
    return OK;
}
int cuMemAlloc_v2(Pointer *pointer, size_t size) {
    IN_CONTEXT("cuMemAlloc_v2");
    return allocate(pointer, size, 0);
}
int cuMemFree_v2(Pointer pointer) { IN_CONTEXT("cuMemFree_v2"); return release(pointer, 0); }
int cuMemHostAlloc(void **pointer, size_t size, unsigned flags) {
    IN_CONTEXT("cuMemHostAlloc");
    Pointer at = 0;
    int code = allocate(&at, size, 1);
    *pointer = (void *)(uintptr_t)at;
    return code;
}
int cuMemFreeHost(void *pointer) {
    IN_CONTEXT("cuMemFreeHost");
    return release((Pointer)(uintptr_t)pointer, 1);
}
static void put(Stream *stream, Op op);
int cuMemcpyHtoD_v2(Pointer target, const void *source, size_t size) {
    IN_CONTEXT("cuMemcpyHtoD_v2");
    if (capturing_here) return CAPTURE_UNSUPPORTED;
    if (!on_device(target, size)) return INVALID_VALUE;
    void *aside = memcpy(malloc(size), source, size);
    if (!default_stream.queue.end) default_stream.queue.end = &default_stream.queue.first;
    put(&default_stream, (Op){.kind = COPY, .target = (void *)(uintptr_t)target,
                              .source = aside, .size = size, .aside = aside});
    return OK;
}

/* ---- streams, graphs, events ---- */

static void append(Queue *queue, Op op) {
    Op *copy = malloc(sizeof *copy);
    *copy = op;
    copy->next = NULL;
    *queue->end = copy;
    queue->end = &copy->next;
}
static void put(Stream *stream, Op op) {
    append(stream->capturing ? &stream->graph : &stream->queue, op);
}
static void drain(Stream *stream, Event *until);
static void run(Op *op) {
    void *arguments[MAX_ARGUMENTS];
    switch (op->kind) {
    case COPY:
        memcpy(op->target, op->source, op->size);
        free(op->aside);
        now += 1 + op->size / 1e4;
        break;
    case LAUNCH:
        for (int i = 0; i < op->function->count; i++) arguments[i] = op->values[i];
        op->function->call(arguments, op->blocks, op->threads, op->shared);
        now += 5;
        break;
    case RECORD:
        op->event->done = 1;
        op->event->at = now;
        break;
    case WAIT:
        if (!op->event->done && op->event->stream) drain(op->event->stream, op->event);
        break;
    }
}
static void drain(Stream *stream, Event *until) {
    while (stream->queue.first && !(until && until->done)) {
        Op *op = stream->queue.first;
        stream->queue.first = op->next;
        if (!op->next) stream->queue.end = &stream->queue.first;
        run(op);
        free(op);
    }
}
int cuStreamCreate(void **handle, unsigned flags) {
    IN_CONTEXT("cuStreamCreate");
    Stream *stream = calloc(1, sizeof *stream);
    stream->queue.end = &stream->queue.first;
    stream->graph.end = &stream->graph.first;
    __sync_add_and_fetch(&live, 1);
    *handle = stream;
    return OK;
}
int cuStreamDestroy_v2(Stream *stream) {
    drain(stream, NULL);
    free(stream);
    __sync_sub_and_fetch(&live, 1);
    return OK;
}
int cuStreamSynchronize(Stream *stream) {
    IN_CONTEXT("cuStreamSynchronize");
    if (!stream) stream = &default_stream;
    if (stream->capturing) { stream->invalid = 1; return CAPTURE_UNSUPPORTED; }
    step('s');
    drain(stream, NULL);
    return OK;
}
int cuStreamWaitEvent(Stream *stream, Event *event, unsigned flags) {
    IN_CONTEXT("cuStreamWaitEvent");
    put(stream, (Op){.kind = WAIT, .event = event});
    return OK;
}
int cuMemcpyHtoDAsync_v2(Pointer target, const void *source, size_t size, Stream *stream) {
    IN_CONTEXT("cuMemcpyHtoDAsync_v2");
    if (!on_device(target, size) || on_device((Pointer)(uintptr_t)source, 1)) return INVALID_VALUE;
    step('u');
    put(stream, (Op){.kind = COPY, .target = (void *)(uintptr_t)target, .source = source,
                     .size = size});
    return OK;
}
int cuMemcpyDtoHAsync_v2(void *target, Pointer source, size_t size, Stream *stream) {
    IN_CONTEXT("cuMemcpyDtoHAsync_v2");
    if (!on_device(source, size) || on_device((Pointer)(uintptr_t)target, 1)) return INVALID_VALUE;
    step('d');
    put(stream, (Op){.kind = COPY, .target = target, .source = (void *)(uintptr_t)source,
                     .size = size});
    return OK;
}
int cuMemcpyDtoDAsync_v2(Pointer target, Pointer source, size_t size, Stream *stream) {
    IN_CONTEXT("cuMemcpyDtoDAsync_v2");
    if (!on_device(source, size) || !on_device(target, size)) return INVALID_VALUE;
    put(stream, (Op){.kind = COPY, .target = (void *)(uintptr_t)target,
                     .source = (void *)(uintptr_t)source, .size = size});
    return OK;
}
int cuStreamBeginCapture_v2(Stream *stream, int mode) {
    IN_CONTEXT("cuStreamBeginCapture_v2");
    if (stream->capturing) return INVALID_VALUE;
    stream->capturing = 1;
    stream->invalid = 0;
    capturing_here++;
    return OK;
}
static void discard(Op *op) {
    while (op) { Op *next = op->next; free(op); op = next; }
}
int cuStreamEndCapture(Stream *stream, void **graph) {
    if (!stream->capturing) return INVALID_VALUE;
    stream->capturing = 0;
    capturing_here--;
    Op *first = stream->graph.first;
    stream->graph.first = NULL;
    stream->graph.end = &stream->graph.first;
    *graph = NULL;
    if (stream->invalid) { discard(first); return CAPTURE_INVALIDATED; }
    int code = failing("cuStreamEndCapture");
    if (code) { discard(first); return code; }
    Queue *made = calloc(1, sizeof *made);
    made->first = first;
    *graph = made;
    __sync_add_and_fetch(&live, 1);
    __sync_add_and_fetch(&counts[1], 1);
    return OK;
}
int cuGraphInstantiateWithFlags(void **handle, Queue *graph, unsigned long long flags) {
    IN_CONTEXT("cuGraphInstantiateWithFlags");
    Queue *made = calloc(1, sizeof *made);
    made->end = &made->first;
    for (Op *op = graph->first; op; op = op->next) append(made, *op);
    __sync_add_and_fetch(&live, 1);
    *handle = made;
    return OK;
}
int cuGraphLaunch(Queue *graph, Stream *stream) {
    IN_CONTEXT("cuGraphLaunch");
    __sync_add_and_fetch(&counts[0], 1);
    step('g');
    for (Op *op = graph->first; op; op = op->next) put(stream, *op);
    return OK;
}
int cuGraphDestroy(Queue *graph) {
    discard(graph->first);
    free(graph);
    __sync_sub_and_fetch(&live, 1);
    return OK;
}
int cuGraphExecDestroy(Queue *graph) { return cuGraphDestroy(graph); }
int cuEventCreate(void **handle, unsigned flags) {
    IN_CONTEXT("cuEventCreate");
    *handle = calloc(1, sizeof(Event));
    __sync_add_and_fetch(&live, 1);
    return OK;
}
int cuEventDestroy_v2(Event *event) {
    free(event);
    __sync_sub_and_fetch(&live, 1);
    return OK;
}
int cuEventRecord(Event *event, Stream *stream) {
    IN_CONTEXT("cuEventRecord");
    event->done = 0;
    event->stream = stream;
    put(stream, (Op){.kind = RECORD, .event = event});
    return OK;
}
int cuEventSynchronize(Event *event) {
    IN_CONTEXT("cuEventSynchronize");
    if (event->stream && !event->done) drain(event->stream, event);
    return OK;
}
int cuEventQuery(Event *event) {
    IN_CONTEXT("cuEventQuery");
    return event->done ? OK : NOT_READY;
}
int cuEventElapsedTime(float *milliseconds, Event *start, Event *end) {
    IN_CONTEXT("cuEventElapsedTime");
    if (!start->done || !end->done) return NOT_READY;
    *milliseconds = (end->at - start->at) / 1e3;
    return OK;
}

/* ---- kernels ---- */

int cuModuleLoadData(void **module, const char *image) {
    IN_CONTEXT("cuModuleLoadData");
    if (memcmp(image, "\x7f" "ELF", 4) && memcmp(image, "//", 2)) return INVALID_IMAGE;
    *module = (void *)(intptr_t)0x2000;
    __sync_add_and_fetch(&live, 1);
    return OK;
}
int cuModuleUnload(void *module) { __sync_sub_and_fetch(&live, 1); return OK; }
int cuModuleGetFunction(void **handle, void *module, const char *name) {
    IN_CONTEXT("cuModuleGetFunction");
    for (int i = 0; i < function_count; i++)
        if (!strcmp(functions[i].name, name)) { *handle = &functions[i]; return OK; }
    return NOT_FOUND;
}
int cuFuncSetAttribute(Function *function, int attribute, int value) {
    IN_CONTEXT("cuFuncSetAttribute");
    return value > shared_limit ? INVALID_VALUE : OK;
}
int cuLaunchKernel(Function *function, unsigned x, unsigned y, unsigned z, unsigned threads,
                   unsigned ty, unsigned tz, unsigned shared, Stream *stream, void **arguments,
                   void **extra) {
    IN_CONTEXT("cuLaunchKernel");
    if (!x || y != 1 || z != 1 || !threads || threads > 1024 || ty != 1 || tz != 1)
        return INVALID_VALUE;
    if (shared > (unsigned)shared_limit) return INVALID_VALUE;
    Op op = {.kind = LAUNCH, .function = function, .blocks = x, .threads = threads,
             .shared = shared};
    for (int i = 0; i < function->count; i++) /* by value, as CUDA takes them */
        memcpy(op.values[i], arguments[i], function->sizes[i]);
    put(stream, op);
    step('k');
    return OK;
}
int cuGetErrorName(int code, const char **name) {
    *name = code == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY"
          : code == NO_DEVICE ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_FAKE";
    return OK;
}
int cuGetErrorString(int code, const char **text) {
    *text = code == OUT_OF_MEMORY ? "out of memory" : code == NO_DEVICE ? "no device" : "fake";
    return OK;
}
