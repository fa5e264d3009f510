// The kernels of one precision as a shared library: lenet.cu, compiled for the emulator.
#include "primitives.cuh"

#include "lenet.cu"

using Kernel = void (*)(const void *, const unsigned *, float *, unsigned);

static thread_local std::string failure; // of this thread's last launch
static std::string driver_failure;       // of the fake driver's launches, the first

struct Run {
    unsigned blocks, threads, shared_bytes;
    std::uint64_t seed;
    int lost_block_barrier, lost_warp_barrier;    // -1: none
    mutable unsigned block_barriers, warp_barriers; // answers: how many there are
};

// Runs a kernel block by block. It may touch the images and logits that `count` says, and no others.
static bool launch(Kernel kernel, const void *images, unsigned image_bytes, const unsigned *weights,
                   float *logits, unsigned count, const Run &run)
{
    machine::Block block(run.threads, run.shared_bytes, run.seed);
    block.lost_block_barrier = run.lost_block_barrier;
    block.lost_warp_barrier = run.lost_warp_barrier;
    auto region = [](const void *p, std::uint64_t bytes, bool writable) {
        const auto at = reinterpret_cast<std::uintptr_t>(p);
        return machine::Region{at, at + bytes, writable};
    };
    block.regions = {region(images, std::uint64_t{count} * image_bytes, false),
                     region(weights, lenet_weight_bytes, false),
                     region(logits, std::uint64_t{count} * LOGITS * 4, true)};
    machine::block = &block;
    for (unsigned i = 0; i < run.blocks; i++)
        if (!block.run(i, [&] { kernel(images, weights, logits, count); }))
            break;
    run.block_barriers = block.block_barriers();
    run.warp_barriers = block.warp_barriers();
    machine::block = nullptr;
    failure = block.failure;
    return failure.empty();
}

// What is wrong with these launches; empty where nothing is.
extern "C" const char *emulated_failure() { return failure.c_str(); }
extern "C" const char *emulated_driver_failure() { return driver_failure.c_str(); }

// Of each kernel, a function for tests that choose everything, and one for the fake CUDA driver.
#define EMULATED(name, image_bytes)                                                                  \
    extern "C" int emulate_##name(const void *images, const unsigned *weights, float *logits,        \
                                  unsigned count, const Run *run)                                    \
    {                                                                                                \
        return launch(name, images, image_bytes, weights, logits, count, *run);                      \
    }                                                                                                \
    extern "C" void launched_##name(void **arguments, unsigned blocks, unsigned threads,             \
                                    unsigned shared_bytes)                                           \
    {                                                                                                \
        const Run run{blocks, threads, shared_bytes, 1, -1, -1, 0, 0};                                     \
        if (!launch(name, *static_cast<const void **>(arguments[0]), image_bytes,                    \
                    *static_cast<const unsigned **>(arguments[1]),                                   \
                    *static_cast<float **>(arguments[2]), *static_cast<unsigned *>(arguments[3]),    \
                    run) &&                                                                          \
            driver_failure.empty())                                                                  \
            driver_failure = failure;                                                                \
    }

EMULATED(lenet_one, 4096)
EMULATED(lenet_few, 4096)
EMULATED(lenet_many, 4096)
EMULATED(lenet_one_raw, 784)
EMULATED(lenet_few_raw, 784)
EMULATED(lenet_many_raw, 784)
