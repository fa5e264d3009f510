// The few operations that CUDA C++ and the emulator of the tests do differently: one line each here,
// software in tests/cuda_emulator/primitives.cuh. Everything else in this folder is plain C++ that
// both compile, so what the tests run is what the GPU runs, but for the lines below. Fragment
// layouts are those of the PTX ISA, sections "Matrix Fragments for mma.m16n8k16" and "m16n8k8".
#pragma once

#define DEVICE __device__ __forceinline__
#define DEVICE_DATA __device__
#define KERNEL(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)

extern __shared__ __align__(128) unsigned char lenet_shared[];

DEVICE unsigned thread_index() { return threadIdx.x; }
DEVICE unsigned block_index() { return blockIdx.x; }
DEVICE void sync_block() { __syncthreads(); }
DEVICE void sync_warp() { __syncwarp(); }

// Shared memory is addressed by bytes from its start.
template <class T> DEVICE T load_shared(unsigned offset)
{
    return *reinterpret_cast<const T *>(lenet_shared + offset);
}
template <class T> DEVICE void store_shared(unsigned offset, T value)
{
    *reinterpret_cast<T *>(lenet_shared + offset) = value;
}

// Four 8x8 matrices of 16-bit elements. Lane 8j + i gives the address of row i of matrix j, 16
// bytes; lane 4g + t receives the t-th word of row g of each.
DEVICE uint4 load_matrices(unsigned offset)
{
    uint4 m;
    const unsigned address =
        static_cast<unsigned>(__cvta_generic_to_shared(lenet_shared)) + offset;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m.x), "=r"(m.y), "=r"(m.z), "=r"(m.w) : "r"(address) : "memory");
    return m;
}

// What no kernel writes: weights and pixels. Volatile, so that a load stays where it is written and
// its latency passes while something else is computed.
DEVICE uint4 load_global(const uint4 *p)
{
    uint4 v;
    asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
}
DEVICE float4 load_global(const float4 *p)
{
    float4 v;
    asm volatile("ld.global.nc.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "l"(p));
    return v;
}
DEVICE float2 load_global(const float2 *p)
{
    float2 v;
    asm volatile("ld.global.nc.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "l"(p));
    return v;
}
DEVICE float load_global(const float *p)
{
    float v;
    asm volatile("ld.global.nc.f32 %0, [%1];" : "=f"(v) : "l"(p));
    return v;
}
DEVICE unsigned short load_global(const unsigned short *p)
{
    unsigned short v;
    asm volatile("ld.global.nc.u16 %0, [%1];" : "=h"(v) : "l"(p));
    return v;
}
template <class T> DEVICE void store_global(T *p, T value) { *p = value; }

// NaN where either is NaN, as PyTorch's max_pool2d and relu answer.
DEVICE float max_nan(float a, float b)
{
    float m;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(m) : "f"(a), "f"(b));
    return m;
}
DEVICE float fused_multiply_add(float a, float b, float c) { return __fmaf_rn(a, b, c); }

// Two floats rounded to nearest even, `low` in the lower half.
DEVICE unsigned pack_f16(float low, float high)
{
    unsigned r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
DEVICE unsigned pack_relu_f16(float low, float high)
{
    unsigned r;
    asm("cvt.rn.relu.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
DEVICE unsigned pack_bf16(float low, float high)
{
    unsigned r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
DEVICE unsigned pack_relu_bf16(float low, float high)
{
    unsigned r;
    asm("cvt.rn.relu.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
DEVICE unsigned min_nan_f16x2(unsigned a, unsigned b)
{
    unsigned r;
    asm("min.NaN.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
}
DEVICE unsigned max_nan_f16x2(unsigned a, unsigned b)
{
    unsigned r;
    asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
}
// To nearest, halves away from zero.
DEVICE unsigned round_tf32(float a)
{
    unsigned r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(a));
    return r;
}

// d = a b + c, of a warp: a 16 rows of k, b k rows of 8 columns, d float32 16 by 8.
DEVICE void mma_f16(float (&d)[4], const uint4 &a, unsigned b0, unsigned b1, const float (&c)[4])
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1),
                   "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}
DEVICE void mma_bf16(float (&d)[4], const uint4 &a, unsigned b0, unsigned b1, const float (&c)[4])
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1),
                   "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}
DEVICE void mma_tf32(float (&d)[4], const uint4 &a, unsigned b0, unsigned b1, const float (&c)[4])
{
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1),
                   "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}
