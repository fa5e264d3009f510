// The operations of export/lenet_export/formats/cuda/device/primitives.cuh in software, for `machine::Block`.
//
// Fragments are as the PTX ISA has them: of m16n8k16, lane 4g + t holds of A the pairs of k from 2t
// (registers 0 and 1) and from 2t + 8 (2 and 3) of the rows g (0 and 2) and g + 8 (1 and 3); of B
// the pairs of k from 2t and 2t + 8 of column g; of C the columns 2t and 2t + 1 of row g, then of
// row g + 8. Of m16n8k8 (tf32), single elements of k, t and t + 4, in the same places.
//
// Products are exact and are added in double, then rounded to float32 once: a real tensor core keeps
// fewer bits of such a sum, in a way that NVIDIA does not document.
#pragma once

#include <cmath>
#include <limits>

#include "machine.hpp"

#define DEVICE inline
#define KERNEL(threads, blocks) extern "C" void
#define DEVICE_DATA

struct uint2 { unsigned x, y; };
struct uint4 { unsigned x, y, z, w; };
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };

inline unsigned thread_index() { return machine::block->current; }
inline unsigned block_index() { return machine::block->index; }
inline void sync_block() { machine::block->sync_block(); }
inline void sync_warp() { machine::block->sync_warp(); }

template <class T> constexpr unsigned aligned_to = sizeof(T); // as CUDA's vector types are

template <class T> T load_shared(unsigned offset)
{
    T value;
    std::memcpy(&value, machine::block->read(offset, sizeof value, aligned_to<T>), sizeof value);
    return value;
}
template <class T> void store_shared(unsigned offset, T value)
{
    std::memcpy(machine::block->write(offset, sizeof value, aligned_to<T>), &value, sizeof value);
}
template <class T> T load_global(const T *p)
{
    machine::block->check_global(p, sizeof(T), aligned_to<T>, false);
    return *p;
}
template <class T> void store_global(T *p, T value)
{
    machine::block->check_global(p, sizeof(T), aligned_to<T>, true);
    *p = value;
}

inline uint4 load_matrices(unsigned offset)
{
    uint4 mine;
    unsigned row[4]; // each lane reads the row that it addresses
    std::memcpy(row, machine::block->read(offset, 16, 16), sizeof row);
    machine::block->meet(2, row, &mine, [](const void *const *in, void *const *out) {
        for (unsigned lane = 0; lane < 32; lane++) {
            auto word = [&](unsigned matrix) {
                return static_cast<const unsigned *>(in[8 * matrix + lane / 4])[lane % 4];
            };
            *static_cast<uint4 *>(out[lane]) = uint4{word(0), word(1), word(2), word(3)};
        }
    });
    return mine;
}

inline float max_nan(float a, float b)
{
    if (a != a || b != b)
        return std::numeric_limits<float>::quiet_NaN();
    return a > b ? a : b;
}
inline float fused_multiply_add(float a, float b, float c) { return std::fma(a, b, c); }

inline unsigned bits_of(float a)
{
    unsigned bits;
    std::memcpy(&bits, &a, 4);
    return bits;
}
inline float float_of(unsigned bits)
{
    float a;
    std::memcpy(&a, &bits, 4);
    return a;
}

// IEEE 754 binary16, to nearest even. Both conversions go by way of exact float arithmetic.
inline unsigned to_f16(float a)
{
    const unsigned sign = bits_of(a) >> 16 & 0x8000u;
    const float size = std::fabs(a);
    if (!(size <= std::numeric_limits<float>::max()))
        return size != size ? 0x7fffu : sign | 0x7c00u;
    if (size >= 65520.0f) // halfway to what would be 65536
        return sign | 0x7c00u;
    if (size < 0x1p-14f) // subnormal: adding 1 puts the unit of the last place to 2^-24
        return sign | static_cast<unsigned>(std::nearbyint(static_cast<double>(size) * 0x1p24));
    const unsigned bits = bits_of(size);
    return sign | ((bits + 0xfffu + (bits >> 13 & 1u) - 0x38000000u) >> 13);
}
inline float from_f16(unsigned h)
{
    const unsigned exponent = h >> 10 & 31u, fraction = h & 1023u;
    float size;
    if (exponent == 31)
        size = fraction ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
    else
        size = std::ldexp(static_cast<float>(exponent ? fraction + 1024 : fraction),
                          static_cast<int>(exponent ? exponent : 1) - 25);
    return h & 0x8000u ? -size : size;
}
inline unsigned to_bf16(float a)
{
    if (a != a)
        return 0x7fffu;
    const unsigned bits = bits_of(a);
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}
inline unsigned pack_f16(float low, float high) { return to_f16(low) | to_f16(high) << 16; }
inline unsigned pack_bf16(float low, float high) { return to_bf16(low) | to_bf16(high) << 16; }
inline unsigned pack_relu_f16(float low, float high)
{
    return pack_f16(max_nan(low, 0.0f), max_nan(high, 0.0f));
}
inline unsigned pack_relu_bf16(float low, float high)
{
    return pack_bf16(max_nan(low, 0.0f), max_nan(high, 0.0f));
}
inline unsigned min_nan_f16x2(unsigned a, unsigned b)
{
    auto least = [](unsigned x, unsigned y) {
        return to_f16(-max_nan(-from_f16(x & 0xffffu), -from_f16(y & 0xffffu)));
    };
    return least(a, b) | least(a >> 16, b >> 16) << 16;
}
inline unsigned max_nan_f16x2(unsigned a, unsigned b)
{
    auto largest = [](unsigned x, unsigned y) {
        return to_f16(max_nan(from_f16(x & 0xffffu), from_f16(y & 0xffffu)));
    };
    return largest(a, b) | largest(a >> 16, b >> 16) << 16;
}
inline unsigned round_tf32(float a)
{
    if (a != a)
        return 0x7fffffffu;
    if (std::isinf(a))
        return bits_of(a);
    return (bits_of(a) + 0x1000u) & ~0x1fffu;
}

// The values of a register: two, or one of tf32, whose low 13 bits the tensor core does not read.
struct AsHalf {
    static constexpr unsigned COUNT = 2;
    static float value(unsigned r, unsigned i)
    {
        static const std::vector<float> table = [] {
            std::vector<float> all(65536);
            for (unsigned h = 0; h < all.size(); h++)
                all[h] = from_f16(h);
            return all;
        }();
        return table[r >> 16 * i & 0xffffu];
    }
};
struct AsBrainFloat {
    static constexpr unsigned COUNT = 2;
    static float value(unsigned r, unsigned i) { return float_of(i ? r & 0xffff0000u : r << 16); }
};
struct AsTensorFloat {
    static constexpr unsigned COUNT = 1;
    static float value(unsigned r, unsigned) { return float_of(r & ~0x1fffu); }
};

struct MmaOperands {
    uint4 a;
    unsigned b[2];
    float *d;
    float c[4];
};

template <class Type> void mma_of_warp(const void *const *in, void *const *)
{
    constexpr unsigned N = Type::COUNT, K = 8 * N;
    static thread_local double a[16][K], b[K][8], c[16][8];
    for (unsigned lane = 0; lane < 32; lane++) {
        const auto &own = *static_cast<const MmaOperands *>(in[lane]);
        const unsigned g = lane / 4, t = lane % 4;
        for (unsigned i = 0; i < N; i++) {
            const unsigned low = N * t + i, high = low + 4 * N;
            a[g][low] = Type::value(own.a.x, i);
            a[g + 8][low] = Type::value(own.a.y, i);
            a[g][high] = Type::value(own.a.z, i);
            a[g + 8][high] = Type::value(own.a.w, i);
            b[low][g] = Type::value(own.b[0], i);
            b[high][g] = Type::value(own.b[1], i);
        }
        for (unsigned i = 0; i < 4; i++)
            c[g + i / 2 * 8][2 * t + i % 2] = own.c[i];
    }
    for (unsigned row = 0; row < 16; row++)
        for (unsigned k = 0; k < K; k++)
            for (unsigned column = 0; column < 8; column++)
                c[row][column] += a[row][k] * b[k][column];
    for (unsigned lane = 0; lane < 32; lane++) {
        const auto &own = *static_cast<const MmaOperands *>(in[lane]);
        for (unsigned i = 0; i < 4; i++)
            own.d[i] = static_cast<float>(c[lane / 4 + i / 2 * 8][2 * (lane % 4) + i % 2]);
    }
}

template <class Type>
void mma(float (&d)[4], const uint4 &a, unsigned b0, unsigned b1, const float (&c)[4], int kind)
{
    const MmaOperands own{a, {b0, b1}, d, {c[0], c[1], c[2], c[3]}};
    machine::block->meet(kind, &own, nullptr, mma_of_warp<Type>);
}
inline void mma_f16(float (&d)[4], const uint4 &a, unsigned b0, unsigned b1, const float (&c)[4])
{
    mma<AsHalf>(d, a, b0, b1, c, 3);
}
inline void mma_bf16(float (&d)[4], const uint4 &a, unsigned b0, unsigned b1, const float (&c)[4])
{
    mma<AsBrainFloat>(d, a, b0, b1, c, 4);
}
inline void mma_tf32(float (&d)[4], const uint4 &a, unsigned b0, unsigned b1, const float (&c)[4])
{
    mma<AsTensorFloat>(d, a, b0, b1, c, 5);
}
