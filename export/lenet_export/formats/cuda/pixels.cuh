// Pixels on their way from global memory through registers to shared memory.
//
// An input kind says what one thread holds of an image that `THREADS` threads load together, until
// `store` rounds it and puts it down: rows of 32 pixels, nothing between them.
#pragma once

#include "layout.cuh"

template <class P> DEVICE void store_pair(unsigned offset, float low, float high)
{
    store_shared<typename P::Pair>(offset, P::round(low, high));
}

// float32 (N, 1, 32, 32), normalised.
template <unsigned THREADS> struct Normalised {
    static constexpr unsigned TABLE_BYTES = 0;
    static constexpr unsigned COUNT = PIXELS / 2 / THREADS;
    float2 held[COUNT];

    DEVICE void load(const void *images, unsigned image, unsigned thread)
    {
        const float2 *const from = static_cast<const float2 *>(images) + image * (PIXELS / 2ull);
#pragma unroll
        for (unsigned i = 0; i < COUNT; i++)
            held[i] = load_global(from + i * THREADS + thread);
    }
    template <class P> DEVICE void store(unsigned to, unsigned, unsigned thread) const
    {
#pragma unroll
        for (unsigned i = 0; i < COUNT; i++)
            store_pair<P>(to + (i * THREADS + thread) * 2 * P::BYTES, held[i].x, held[i].y);
    }
};

// The same for a warp, 16 bytes at once.
template <> struct Normalised<LANES> {
    static constexpr unsigned TABLE_BYTES = 0;
    static constexpr unsigned COUNT = PIXELS / 4 / LANES;
    float4 held[COUNT];

    DEVICE void load(const void *images, unsigned image, unsigned thread)
    {
        const float4 *const from = static_cast<const float4 *>(images) + image * (PIXELS / 4ull);
#pragma unroll
        for (unsigned i = 0; i < COUNT; i++)
            held[i] = load_global(from + i * LANES + thread);
    }
    template <class P> DEVICE void store(unsigned to, unsigned, unsigned thread) const
    {
#pragma unroll
        for (unsigned i = 0; i < COUNT; i++) {
            const unsigned at = to + (i * LANES + thread) * 4 * P::BYTES;
            store_pair<P>(at, held[i].x, held[i].y);
            store_pair<P>(at + 2 * P::BYTES, held[i].z, held[i].w);
        }
    }
};

// uint8 (N, 28, 28): padded with black, and normalised by a table of the 256 values, which the
// exporter made as lenet_runtime.preprocess does. So both kinds of input give the same bits.
template <unsigned THREADS> struct Raw {
    static constexpr unsigned TABLE_BYTES = 256 * 4;
    static constexpr unsigned COUNT = PIXELS / 2 / THREADS;
    unsigned short held[COUNT];

    DEVICE void load(const void *images, unsigned image, unsigned thread)
    {
        const unsigned short *const from = static_cast<const unsigned short *>(images) +
                                           image * (DIGIT_SIDE * DIGIT_SIDE / 2ull);
#pragma unroll
        for (unsigned i = 0; i < COUNT; i++) {
            // Below 0 wraps around to a large number.
            const unsigned pair = i * THREADS + thread, y = pair / (SIDE / 2) - PADDING,
                           x = pair % (SIDE / 2) - PADDING / 2;
            held[i] = 0;
            if (y < DIGIT_SIDE && x < DIGIT_SIDE / 2)
                held[i] = load_global(from + y * (DIGIT_SIDE / 2) + x);
        }
    }
    template <class P> DEVICE void store(unsigned to, unsigned table, unsigned thread) const
    {
#pragma unroll
        for (unsigned i = 0; i < COUNT; i++)
            store_pair<P>(to + (i * THREADS + thread) * 2 * P::BYTES,
                          load_shared<float>(table + held[i] % 256u * 4),
                          load_shared<float>(table + held[i] / 256u * 4));
    }
};

// Copies a table of raw pixels into shared memory; a barrier must follow.
template <unsigned THREADS> DEVICE void load_table(const unsigned *weights, unsigned to)
{
    const float *const table = reinterpret_cast<const float *>(weights);
    for (unsigned i = thread_index(); i < 256; i += THREADS)
        store_shared<float>(to + i * 4, load_global(table + i));
}
