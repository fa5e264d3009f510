// The kernels of one precision, LENET_PRECISION: Half, BrainFloat, TensorFloat or Float.
//
// Three programs by batch size, each for both kinds of input; `programs.py` says from which batch
// size on each is used.
#include "exact.cuh"
#include "latency.cuh"
#include "throughput.cuh"

using Precision = LENET_PRECISION;

// Images and warps of a large batch's block; benchmarks/fused_sweep.py tries others.
#ifndef LENET_TILE
#define LENET_TILE (Precision::BYTES == 2 ? 32 : 16)
#define LENET_WARPS (Precision::BYTES == 2 ? 8 : 4)
#define LENET_BLOCKS (Programs<Precision, Normalised>::BLOCKS) // of a multiprocessor, at least
#endif

template <class P, template <unsigned> class Input> struct Programs {
    using One = Latency<P, 1, Input>;
    using Few = Latency<P, 8, Input>;
    using Many = Throughput<P, LENET_TILE, LENET_WARPS, Input>;
    static constexpr unsigned BLOCKS = 2;
};
template <template <unsigned> class Input> struct Programs<Float, Input> {
    using One = Exact<1, 1, 16, 3, 2, 24, Input>;
    using Few = Exact<4, 4, 16, 6, 8, 8, Input>;
    using Many = Exact<8, 4, 9, 6, 8, 4, Input>;
    static constexpr unsigned BLOCKS = 2;
};

#define PROGRAM(name, blocks, ...)                                                                   \
    using name##_program = __VA_ARGS__;                                                              \
    KERNEL(name##_program::THREADS, blocks)                                                          \
    name(const void *images, const unsigned *weights, float *logits, unsigned count)                 \
    {                                                                                                \
        name##_program::run(Arguments{images, weights, logits, count});                              \
    }

PROGRAM(lenet_one, 1, Programs<Precision, Normalised>::One)
PROGRAM(lenet_few, 1, Programs<Precision, Normalised>::Few)
PROGRAM(lenet_many, LENET_BLOCKS, Programs<Precision, Normalised>::Many)
PROGRAM(lenet_one_raw, 1, Programs<Precision, Raw>::One)
PROGRAM(lenet_few_raw, 1, Programs<Precision, Raw>::Few)
PROGRAM(lenet_many_raw, LENET_BLOCKS, Programs<Precision, Raw>::Many)

// Of each kernel above: images of a block, threads of a block, bytes of shared memory. The exporter
// reads them in the PTX.
#define SHAPE(name) name##_program::IMAGES, name##_program::THREADS, name##_program::SHARED_BYTES
extern "C" {
DEVICE_DATA unsigned lenet_shapes[] = {SHAPE(lenet_one),     SHAPE(lenet_few),     SHAPE(lenet_many),
                                       SHAPE(lenet_one_raw), SHAPE(lenet_few_raw), SHAPE(lenet_many_raw)};
DEVICE_DATA unsigned lenet_weight_bytes = Packed<Precision>::WORDS * 4;
}
