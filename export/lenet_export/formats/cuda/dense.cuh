// Dense layers as matrix products whose first operand is the weights: a tile is 16 outputs by 8
// images. Rows g and g + 8 of a tile are the outputs 2g and 2g + 1, so that a lane's sums are
// neighbours.
//
// The sum over the inputs is made in two halves, each one chain of k-steps, and then added: the
// kernel for small batches gives each half to another warp. Both kernels therefore answer with the
// same bits.
#pragma once

#include "layout.cuh"

// k-steps of the first half; even, since one ldmatrix brings two steps of activations.
constexpr DEVICE unsigned first_half(unsigned steps) { return (steps + 3) / 4 * 2; }

// Fragments of consecutive k-steps, DEPTH of them ahead in registers.
template <unsigned DEPTH> struct Fragments {
    uint4 held[DEPTH];
    const uint4 *next;

    DEVICE void start(const unsigned *packed, unsigned fragment, const Lane &lane)
    {
        next = reinterpret_cast<const uint4 *>(packed) + fragment * LANES + lane.index;
    }
    // Into the register of that number, from `next` on.
    DEVICE void fetch(unsigned i) { held[i] = load_global(next + i * LANES); }
    template <unsigned COUNT = DEPTH> DEVICE void prefetch()
    {
#pragma unroll
        for (unsigned i = 0; i < COUNT; i++)
            fetch(i);
        next += COUNT * LANES;
    }
};

// Multiplies the first COUNT fragments that are held into the sums of TILES tiles of images.
// `activations` is the lane's address at the first k-step: row (lane % 8) of the first tile, word
// 4 (lane / 8). With `more`, each register is filled again as soon as it was used.
template <class P, unsigned COUNT, unsigned TILES, unsigned DEPTH>
DEVICE void multiply_held(float (&sum)[TILES][4], Fragments<DEPTH> &weights, unsigned activations,
                          unsigned tile_bytes = 0, bool more = false)
{
    static_assert(COUNT % 2 == 0 && COUNT <= DEPTH, "two k-steps for one ldmatrix");
#pragma unroll
    for (unsigned i = 0; i < COUNT; i += 2) {
        uint4 b[TILES];
#pragma unroll
        for (unsigned t = 0; t < TILES; t++)
            b[t] = load_matrices(activations + t * tile_bytes + i * 32);
#pragma unroll
        for (unsigned t = 0; t < TILES; t++)
            P::multiply(sum[t], weights.held[i], b[t].x, b[t].y, sum[t]);
        if (more)
            weights.fetch(i);
#pragma unroll
        for (unsigned t = 0; t < TILES; t++)
            P::multiply(sum[t], weights.held[i + 1], b[t].z, b[t].w, sum[t]);
        if (more)
            weights.fetch(i + 1);
    }
}

// The same for STEPS fragments, in rounds of DEPTH; there are `left` from the first one on, of which
// more than STEPS are fetched ahead for whoever continues. A loop, because ptxas would hoist the
// loads of an unrolled one until the registers overflow.
template <class P, unsigned STEPS, unsigned TILES, unsigned DEPTH>
DEVICE void multiply(float (&sum)[TILES][4], Fragments<DEPTH> &weights, unsigned activations,
                     unsigned tile_bytes, unsigned left)
{
    static_assert(STEPS % DEPTH == 0, "whole rounds");
#pragma unroll 1
    for (unsigned step = 0; step < STEPS; step += DEPTH) {
        multiply_held<P, DEPTH>(sum, weights, activations + step * 32, tile_bytes, step + DEPTH < left);
        weights.next += DEPTH * LANES;
    }
}

// Both halves of the sum over STEPS k-steps.
template <class P, unsigned STEPS, unsigned TILES, unsigned DEPTH>
DEVICE void multiply_all(float (&sum)[TILES][4], Fragments<DEPTH> &weights, unsigned activations,
                         unsigned tile_bytes)
{
    constexpr unsigned HALF = first_half(STEPS);
    multiply<P, HALF>(sum, weights, activations, tile_bytes, STEPS);
    float second[TILES][4] = {};
    multiply<P, STEPS - HALF>(second, weights, activations + HALF * 32, tile_bytes, STEPS - HALF);
#pragma unroll
    for (unsigned t = 0; t < TILES; t++)
#pragma unroll
        for (unsigned i = 0; i < 4; i++)
            sum[t][i] += second[t][i];
}

// The biases of a tile of outputs, as sums to start from.
template <unsigned TILES>
DEVICE void start_sums(float (&sum)[TILES][4], const unsigned *bias, unsigned tile, const Lane &lane)
{
    const float2 b = load_global(reinterpret_cast<const float2 *>(bias) + tile * 8 + lane.group);
#pragma unroll
    for (unsigned t = 0; t < TILES; t++)
        sum[t][0] = sum[t][1] = b.x, sum[t][2] = sum[t][3] = b.y;
}

// The lane's address in activations for `multiply`; images from IMAGES on are image 0 again.
template <class P, unsigned WIDTH, unsigned IMAGES>
DEVICE unsigned activations_of(unsigned base, const Lane &lane)
{
    const unsigned image = lane.index % 8;
    return base + (image < IMAGES ? image : 0) * pitch<P>(WIDTH) + lane.index / 8 * CHUNK;
}

// ReLU, and into the activations of the next layer, for the images below IMAGES.
template <class P, unsigned WIDTH, unsigned IMAGES>
DEVICE void store_hidden(const float (&sum)[4], unsigned base, unsigned image, unsigned tile,
                         const Lane &lane)
{
    image += 2 * lane.word;
    const unsigned at = base + image * pitch<P>(WIDTH) + (tile * 16 + 2 * lane.group) * P::BYTES;
    if (image < IMAGES)
        store_shared<typename P::Pair>(at, P::relu(sum[0], sum[2]));
    if (image + 1 < IMAGES)
        store_shared<typename P::Pair>(at + pitch<P>(WIDTH), P::relu(sum[1], sum[3]));
}

// A tile of logits, for the images below `end`.
DEVICE void store_logits(const float (&sum)[4], float *logits, unsigned image, unsigned end,
                         const Lane &lane)
{
    image += 2 * lane.word;
    if (lane.group >= LOGITS / 2)
        return;
    float2 *const to = reinterpret_cast<float2 *>(logits) + image * (LOGITS / 2ull) + lane.group;
    if (image < end)
        store_global(to, float2{sum[0], sum[2]});
    if (image + 1 < end)
        store_global(to + LOGITS / 2, float2{sum[1], sum[3]});
}
