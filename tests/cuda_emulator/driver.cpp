// The kernels of one precision as a shared library: lenet.cu, compiled for the emulator.
#include "primitives.cuh"

#include "lenet.cu"

struct Entry {
    const char *name;
    void (*kernel)(Arguments);
};
static const Entry entries[] = {
    {"lenet_one", lenet_one},         {"lenet_few", lenet_few},         {"lenet_many", lenet_many},
    {"lenet_one_raw", lenet_one_raw}, {"lenet_few_raw", lenet_few_raw}, {"lenet_many_raw", lenet_many_raw},
};

struct Launch {
    const char *kernel;
    unsigned blocks, threads, shared_bytes;
    const void *images;
    const void *weights;
    void *logits;
    std::uint64_t image_bytes, weight_bytes, logit_bytes; // what may be touched
    unsigned count;
    std::uint64_t seed;
    int lost_block_barrier, lost_warp_barrier; // -1: none
};

// Runs a kernel block by block; 0, or 1 with the reason in `message`.
extern "C" int emulate(const Launch *launch, char *message, std::size_t size)
{
    for (const Entry &entry : entries) {
        if (std::strcmp(entry.name, launch->kernel))
            continue;
        machine::Block block(launch->threads, launch->shared_bytes, launch->seed);
        block.lost_block_barrier = launch->lost_block_barrier;
        block.lost_warp_barrier = launch->lost_warp_barrier;
        auto region = [](const void *p, std::uint64_t bytes, bool writable) {
            const auto at = reinterpret_cast<std::uintptr_t>(p);
            return machine::Region{at, at + bytes, writable};
        };
        block.regions = {region(launch->images, launch->image_bytes, false),
                         region(launch->weights, launch->weight_bytes, false),
                         region(launch->logits, launch->logit_bytes, true)};
        const Arguments in{launch->images, static_cast<const unsigned *>(launch->weights),
                           static_cast<float *>(launch->logits), launch->count};
        machine::block = &block;
        for (unsigned i = 0; i < launch->blocks; i++)
            if (!block.run(i, [&] { entry.kernel(in); }))
                break;
        machine::block = nullptr;
        std::snprintf(message, size, "%s", block.failure.c_str());
        return !block.failure.empty();
    }
    std::snprintf(message, size, "no kernel %s", launch->kernel);
    return 1;
}
