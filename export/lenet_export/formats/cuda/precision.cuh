// The types that tensor cores multiply. Sums are float32 in all of them.
//
// A `Pair` is two neighbouring elements, in one register or two. Fragments of a k-step of the first
// operand are four registers in each type: 16 rows by 32 bytes of k.
#pragma once

#include "primitives.cuh"

struct Half {
    using Pair = unsigned;
    static constexpr unsigned BYTES = 2; // of an element
    // Halves end at 65504. What is beyond, infinities too, is taken for that; NaN stays NaN.
    static DEVICE Pair round(float low, float high)
    {
        return max_nan_f16x2(min_nan_f16x2(pack_f16(low, high), 0x7bff7bffu), 0xfbfffbffu);
    }
    static DEVICE Pair relu(float low, float high)
    {
        return min_nan_f16x2(pack_relu_f16(low, high), 0x7bff7bffu);
    }
    static DEVICE void multiply(float (&sum)[4], const uint4 &a, unsigned b0, unsigned b1,
                                const float (&start)[4])
    {
        mma_f16(sum, a, b0, b1, start);
    }
};

struct BrainFloat {
    using Pair = unsigned;
    static constexpr unsigned BYTES = 2;
    static DEVICE Pair round(float low, float high) { return pack_bf16(low, high); }
    static DEVICE Pair relu(float low, float high) { return pack_relu_bf16(low, high); }
    static DEVICE void multiply(float (&sum)[4], const uint4 &a, unsigned b0, unsigned b1,
                                const float (&start)[4])
    {
        mma_bf16(sum, a, b0, b1, start);
    }
};

struct TensorFloat {
    using Pair = uint2;
    static constexpr unsigned BYTES = 4;
    static DEVICE Pair round(float low, float high)
    {
        return Pair{round_tf32(low), round_tf32(high)};
    }
    static DEVICE Pair relu(float low, float high)
    {
        return round(max_nan(low, 0.0f), max_nan(high, 0.0f));
    }
    static DEVICE void multiply(float (&sum)[4], const uint4 &a, unsigned b0, unsigned b1,
                                const float (&start)[4])
    {
        mma_tf32(sum, a, b0, b1, start);
    }
};
