// The kernels of one precision: LENET_PRECISION is Half, BrainFloat or TensorFloat.
//
// Three programs, by batch size, each for both kinds of input. Their names and shapes stand in
// lenet_export/cuda/programs.py.
#include "latency.cuh"
#include "throughput.cuh"

using Precision = LENET_PRECISION;
#if defined(LENET_TILE) && defined(LENET_WARPS)
constexpr unsigned TILE = LENET_TILE, TILE_WARPS = LENET_WARPS;
#else
constexpr unsigned TILE = Precision::BYTES == 2 ? 32 : 16, TILE_WARPS = Precision::BYTES == 2 ? 8 : 4;
#endif

#define PROGRAM(name, blocks, ...)                                                                   \
    using name##_program = __VA_ARGS__;                                                              \
    extern "C" __device__ const unsigned name##_shape[3] = {                                         \
        name##_program::IMAGES, name##_program::THREADS, name##_program::SHARED_BYTES};              \
    KERNEL(name##_program::THREADS, blocks) name(const Arguments in) { name##_program::run(in); }

PROGRAM(lenet_one, 1, Latency<Precision, 1, Normalised>)
PROGRAM(lenet_few, 1, Latency<Precision, 8, Normalised>)
PROGRAM(lenet_many, 2, Throughput<Precision, TILE, TILE_WARPS, Normalised>)
PROGRAM(lenet_one_raw, 1, Latency<Precision, 1, Raw>)
PROGRAM(lenet_few_raw, 1, Latency<Precision, 8, Raw>)
PROGRAM(lenet_many_raw, 2, Throughput<Precision, TILE, TILE_WARPS, Raw>)

constexpr unsigned WEIGHT_WORDS = Packed<Precision>::WORDS;
