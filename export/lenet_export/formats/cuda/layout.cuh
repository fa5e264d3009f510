// Where everything lies: in shared memory, in bytes, and in the packed weights, in 32-bit words.
// pack.py writes the weights in this order.
#pragma once

#include "precision.cuh"

constexpr unsigned LANES = 32, SIDE = 32, PIXELS = SIDE * SIDE;
constexpr unsigned DIGIT_SIDE = 28, PADDING = 2; // of raw digits
constexpr unsigned USED = 6, CHANNELS = 8;       // between the convolutions; in whole chunks
constexpr unsigned ROWS = 14;                    // of conv1's pooled output that conv2 uses
constexpr unsigned POSITIONS = 36;               // of conv2's pooled output, 6x6
constexpr unsigned FEATURES = POSITIONS * 16;
constexpr unsigned HIDDEN1 = 128, HIDDEN2 = 96, LOGITS = 10; // the first two padded

constexpr unsigned CHUNK = 16; // bytes: what one row of ldmatrix reads

// conv1's pooled output. A position's channels fill one chunk in 16-bit types, and one chunk of each
// of two planes in tf32. Even columns come first and odd ones ODD chunks later, so that the columns
// 2x + c of conv2's neighbouring windows x lie side by side. With 7 chunks a row, window (y, x) is
// at chunk 14 y + x, which is 6 y + x modulo 8: eight consecutive windows never share a bank, nor do
// windows of two images with IMAGE = 4 modulo 8, since 36 = 4. ODD = 4 modulo 8 keeps conv1's
// stores apart in the same way.
template <class P> struct Pooled {
    static constexpr unsigned PLANES = CHANNELS * P::BYTES / CHUNK;
    static constexpr unsigned ROW = 7, ODD = 100;
    static constexpr unsigned PLANE = PLANES == 1 ? 204 : 202;
    static constexpr unsigned IMAGE = PLANE * PLANES;
    static constexpr unsigned BYTES = IMAGE * CHUNK;
};

template <class P> constexpr unsigned PICTURE = PIXELS *P::BYTES; // bytes of an image's pixels
// Bytes from one image's activations to the next: an odd number of chunks, so that ldmatrix finds
// eight images in eight different places.
template <class P> constexpr DEVICE unsigned pitch(unsigned width) { return width * P::BYTES + CHUNK; }

template <class P> struct Packed {
    static constexpr unsigned CONV1_REGISTERS = P::BYTES == 2 ? 8 : 16;
    static constexpr unsigned CONV2_REGISTERS = P::BYTES == 2 ? 16 : 20; // of each tile; two idle
    static constexpr unsigned FRAGMENT = 4 * LANES;
    static constexpr unsigned STEP = 32 / P::BYTES; // inputs of a k-step
    static constexpr unsigned CONV1 = 0;
    static constexpr unsigned CONV1_BIAS = CONV1 + CONV1_REGISTERS * LANES;
    static constexpr unsigned CONV2 = CONV1_BIAS + 2 * 8;
    static constexpr unsigned CONV2_BIAS = CONV2 + 2 * CONV2_REGISTERS * LANES;
    static constexpr unsigned FC1 = CONV2_BIAS + 2 * 16;
    static constexpr unsigned FC1_BIAS = FC1 + HIDDEN1 / 16 * (FEATURES / STEP) * FRAGMENT;
    static constexpr unsigned FC2 = FC1_BIAS + HIDDEN1;
    static constexpr unsigned FC2_BIAS = FC2 + HIDDEN2 / 16 * (HIDDEN1 / STEP) * FRAGMENT;
    static constexpr unsigned FC3 = FC2_BIAS + HIDDEN2;
    static constexpr unsigned FC3_BIAS = FC3 + HIDDEN2 / STEP * FRAGMENT;
    static constexpr unsigned TABLE = FC3_BIAS + 16; // the 256 values of a raw pixel, float32
    static constexpr unsigned WORDS = TABLE + 256;
};

// Of a kernel, one by one.
struct Arguments {
    const void *images;      // float32 (count, 1, 32, 32), or uint8 (count, 28, 28)
    const unsigned *weights; // see Packed
    float *logits;           // (count, 10)
    unsigned count;          // at least 1
};

// What a lane is in the fragments of a warp: row or column `group`, word `word`.
struct Lane {
    unsigned index, group, word;
    DEVICE Lane() : index(thread_index() % LANES), group(index / 4), word(index % 4) {}
};

// N registers of each lane, packed in fours.
template <unsigned N>
DEVICE void load_registers(unsigned (&registers)[N], const unsigned *packed, const Lane &lane)
{
#pragma unroll
    for (unsigned i = 0; i < N; i += 4) {
        const uint4 v = load_global(reinterpret_cast<const uint4 *>(packed) + i / 4 * LANES + lane.index);
        registers[i] = v.x, registers[i + 1] = v.y, registers[i + 2] = v.z, registers[i + 3] = v.w;
    }
}
