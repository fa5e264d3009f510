// float32 throughout, no tensor cores: what eager PyTorch computes, rounded as often.
//
// A block takes IMAGES images, convolves TOGETHER of them at a time, and then computes the dense
// layers for all. Every sum is made in the same order in all programs: a dense layer's inputs in
// eight slices, each added one by one, and then the slices. So all answer with the same bits.
#pragma once

#include "layout.cuh"
#include "pixels.cuh"

struct Float {
    using Pair = float2;
    static constexpr unsigned BYTES = 4;
    static DEVICE Pair round(float low, float high) { return Pair{low, high}; }
};

// The weights, in words: conv1 as rows of 9 and the bias, padded to 12; all others with the outputs
// of one input side by side.
template <> struct Packed<Float> {
    static constexpr unsigned WIDTH = 128; // outputs of both hidden layers, padded
    static constexpr unsigned CONV1 = 0;
    static constexpr unsigned CONV2 = CONV1 + USED * 12; // (channel, tap, output)
    static constexpr unsigned CONV2_BIAS = CONV2 + USED * 9 * 16;
    static constexpr unsigned FC1 = CONV2_BIAS + 16;
    static constexpr unsigned FC1_BIAS = FC1 + FEATURES * WIDTH;
    static constexpr unsigned FC2 = FC1_BIAS + WIDTH;
    static constexpr unsigned FC2_BIAS = FC2 + WIDTH * WIDTH;
    static constexpr unsigned FC3 = FC2_BIAS + WIDTH;
    static constexpr unsigned FC3_BIAS = FC3 + WIDTH * 16;
    static constexpr unsigned TABLE = FC3_BIAS + 16;
    static constexpr unsigned WORDS = TABLE + 256;
};

template <unsigned OUTPUTS> struct Vector;
template <> struct Vector<2> { using Type = float2; };
template <> struct Vector<4> { using Type = float4; };
DEVICE void unpack(float (&to)[2], const float2 &v) { to[0] = v.x, to[1] = v.y; }
DEVICE void unpack(float (&to)[4], const float4 &v) { to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w; }

// The 4x4 values of one pooled position.
DEVICE void load_patch(float (&patch)[4][4], unsigned at, unsigned row_bytes)
{
#pragma unroll
    for (unsigned y = 0; y < 4; y++)
#pragma unroll
        for (unsigned x = 0; x < 4; x += 2) {
            const float2 v = load_shared<float2>(at + y * row_bytes + x * 4);
            patch[y][x] = v.x, patch[y][x + 1] = v.y;
        }
}

// Adds one input channel to the four outputs that are pooled.
DEVICE void add_taps(float (&sum)[4], const float (&patch)[4][4], unsigned tap, float weight)
{
#pragma unroll
    for (unsigned i = 0; i < 4; i++)
        sum[i] = fused_multiply_add(patch[tap / 3 + i / 2][tap % 3 + i % 2], weight, sum[i]);
}
DEVICE float pooled_relu(const float (&sum)[4])
{
    return max_nan(max_nan(max_nan(sum[0], sum[1]), max_nan(sum[2], sum[3])), 0.0f);
}

// CHANNELS1, CHANNELS2: of conv1 and conv2, that one thread computes for one position.
template <unsigned IMAGES_, unsigned TOGETHER, unsigned WARPS_, unsigned CHANNELS1, unsigned CHANNELS2,
          unsigned DEPTH, template <unsigned> class Input>
struct Exact {
    using W = Packed<Float>;
    static constexpr unsigned IMAGES = IMAGES_, WARPS = WARPS_, THREADS = WARPS * LANES;
    static constexpr unsigned SLICES = 8, SIDE_BY_SIDE = WARPS / SLICES; // warps on one slice
    static constexpr unsigned OUTPUTS = W::WIDTH / LANES / SIDE_BY_SIDE; // of a lane
    static constexpr unsigned PLANE = ROWS * ROWS * 4, PITCH = FEATURES * 4 + CHUNK, ROW = W::WIDTH * 4;

    static constexpr unsigned FEATURES_AT = 0;
    static constexpr unsigned PIXELS_AT = FEATURES_AT + IMAGES * PITCH;
    static constexpr unsigned POOLED = PIXELS_AT + TOGETHER * PIXELS * 4;
    static constexpr unsigned PARTIAL = 0; // (slice, image, output): over all of this, after use
    static constexpr unsigned PARTIAL_END = SLICES * IMAGES * ROW;
    static constexpr unsigned CONVOLUTION_END = POOLED + TOGETHER * USED * PLANE;
    static constexpr unsigned HIDDEN = PARTIAL_END > CONVOLUTION_END ? PARTIAL_END : CONVOLUTION_END;
    static constexpr unsigned WEIGHTS = HIDDEN + IMAGES * ROW; // of the convolutions
    static constexpr unsigned TABLE = WEIGHTS + W::FC1 * 4;
    static constexpr unsigned SHARED_BYTES = TABLE + Input<LANES>::TABLE_BYTES;
    static_assert(IMAGES % TOGETHER == 0 && SIDE_BY_SIDE >= 1, "whole groups");

    static DEVICE void run(const Arguments &in)
    {
        const Lane lane;
        const unsigned warp = thread_index() / LANES, first = block_index() * IMAGES;
        const float *const weights = reinterpret_cast<const float *>(in.weights);
        // This lane's outputs, from the first input of this warp's slice on.
        const unsigned slice = warp / SIDE_BY_SIDE,
                       output = (warp % SIDE_BY_SIDE * LANES + lane.index) * OUTPUTS;
        Stream stream;
        if (slice < SLICES)
            stream.start(weights + W::FC1 + slice * (FEATURES / SLICES) * W::WIDTH + output);
        for (unsigned i = thread_index(); i < W::FC1; i += THREADS)
            store_shared<float>(WEIGHTS + i * 4, load_global(weights + i));
        if constexpr (Input<LANES>::TABLE_BYTES != 0) {
            load_table<THREADS>(in.weights + W::TABLE, TABLE);
            sync_block();
        }
#pragma unroll 1
        for (unsigned i = 0; i < IMAGES; i += TOGETHER) {
            load_pixels(in, first + i, warp, lane);
            sync_block();
            convolve1();
            sync_block();
            convolve2(i);
        }
        sync_block();
        layer<FEATURES, PITCH>(stream, weights + W::FC1_BIAS, FEATURES_AT, slice, output);
        if (slice < SLICES)
            stream.start(weights + W::FC2 + slice * (W::WIDTH / SLICES) * W::WIDTH + output);
        layer<W::WIDTH, ROW>(stream, weights + W::FC2_BIAS, HIDDEN, slice, output);
        logits(in, weights, first);
    }

private:
    // The weights of one input for this lane's outputs, DEPTH inputs ahead.
    struct Stream {
        using Vec = typename Vector<OUTPUTS>::Type;
        Vec held[DEPTH];
        const float *next;

        DEVICE void fetch(unsigned i) { held[i] = load_global(reinterpret_cast<const Vec *>(next + i * W::WIDTH)); }
        DEVICE void start(const float *from)
        {
            next = from;
#pragma unroll
            for (unsigned i = 0; i < DEPTH; i++)
                fetch(i);
            next += DEPTH * W::WIDTH;
        }
    };

    static DEVICE void load_pixels(const Arguments &in, unsigned first, unsigned warp, const Lane &lane)
    {
        Input<LANES> pixels;
        for (unsigned i = warp; i < TOGETHER; i += WARPS) {
            pixels.load(in.images, first + i < in.count ? first + i : in.count - 1, lane.index);
            pixels.template store<Float>(PIXELS_AT + i * PIXELS * 4, TABLE, lane.index);
        }
    }

    static DEVICE void convolve1()
    {
        constexpr unsigned PARTS = USED / CHANNELS1, UNITS = TOGETHER * PARTS * ROWS * ROWS;
#pragma unroll 1
        for (unsigned unit = thread_index(); unit < UNITS; unit += THREADS) {
            const unsigned position = unit % (ROWS * ROWS), part = unit / (ROWS * ROWS) % PARTS,
                           image = unit / (ROWS * ROWS * PARTS);
            float patch[4][4];
            load_patch(patch, PIXELS_AT + image * PIXELS * 4 + position / ROWS * 2 * SIDE * 4 +
                                  position % ROWS * 8, SIDE * 4);
#pragma unroll
            for (unsigned c = 0; c < CHANNELS1; c++) {
                const unsigned channel = part * CHANNELS1 + c, at = WEIGHTS + channel * 48;
                float w[12];
#pragma unroll
                for (unsigned i = 0; i < 12; i += 4) {
                    const float4 v = load_shared<float4>(at + i * 4);
                    w[i] = v.x, w[i + 1] = v.y, w[i + 2] = v.z, w[i + 3] = v.w;
                }
                float sum[4] = {w[9], w[9], w[9], w[9]};
#pragma unroll
                for (unsigned tap = 0; tap < 9; tap++)
                    add_taps(sum, patch, tap, w[tap]);
                store_shared<float>(POOLED + (image * USED + channel) * PLANE + position * 4,
                                    pooled_relu(sum));
            }
        }
    }

    // Features are stored as (window, channel).
    static DEVICE void convolve2(unsigned first)
    {
        constexpr unsigned PARTS = 16 / CHANNELS2, UNITS = TOGETHER * POSITIONS * PARTS;
#pragma unroll 1
        for (unsigned unit = thread_index(); unit < UNITS; unit += THREADS) {
            const unsigned window = unit % (TOGETHER * POSITIONS), image = window / POSITIONS,
                           position = window % POSITIONS,
                           part = unit / (TOGETHER * POSITIONS) * CHANNELS2;
            const unsigned from = POOLED + image * USED * PLANE +
                                  (position / 6 * 2 * ROWS + position % 6 * 2) * 4;
            float sum[CHANNELS2][4];
#pragma unroll
            for (unsigned c = 0; c < CHANNELS2; c++)
                sum[c][0] = sum[c][1] = sum[c][2] = sum[c][3] =
                    load_shared<float>(WEIGHTS + (W::CONV2_BIAS + part + c) * 4);
#pragma unroll 1
            for (unsigned channel = 0; channel < USED; channel++)
                add_channel(sum, from + channel * PLANE, WEIGHTS + (W::CONV2 + channel * 144 + part) * 4);
            const unsigned to = FEATURES_AT + (first + image) * PITCH + (position * 16 + part) * 4;
#pragma unroll
            for (unsigned c = 0; c < CHANNELS2; c++)
                store_shared<float>(to + c * 4, pooled_relu(sum[c]));
        }
    }

    static DEVICE void add_channel(float (&sum)[CHANNELS2][4], unsigned from, unsigned weights)
    {
        constexpr unsigned WIDE = CHANNELS2 < 4 ? CHANNELS2 : 4;
        float patch[4][4];
        load_patch(patch, from, ROWS * 4);
#pragma unroll
        for (unsigned tap = 0; tap < 9; tap++)
#pragma unroll
            for (unsigned c = 0; c < CHANNELS2; c += WIDE) {
                float w[WIDE];
                unpack(w, load_shared<typename Vector<WIDE>::Type>(weights + (tap * 16 + c) * 4));
#pragma unroll
                for (unsigned i = 0; i < WIDE; i++)
                    add_taps(sum[c + i], patch, tap, w[i]);
            }
    }

    // A hidden layer of INPUTS inputs, whose weights `stream` has begun to bring.
    template <unsigned INPUTS, unsigned FROM_PITCH>
    static DEVICE void layer(Stream &stream, const float *bias, unsigned from, unsigned slice, unsigned output)
    {
        constexpr unsigned COUNT = INPUTS / SLICES;
        float sum[IMAGES][OUTPUTS] = {};
        if (slice < SLICES)
            multiply<COUNT, FROM_PITCH>(sum, stream, from + slice * COUNT * 4);
        if constexpr (FROM_PITCH == PITCH)
            sync_block(); // features lie where the partial sums will
        if (slice < SLICES)
#pragma unroll
            for (unsigned i = 0; i < IMAGES; i++)
#pragma unroll
                for (unsigned o = 0; o < OUTPUTS; o++)
                    store_shared<float>(PARTIAL + (slice * IMAGES + i) * ROW + (output + o) * 4, sum[i][o]);
        sync_block();
        for (unsigned unit = thread_index(); unit < IMAGES * W::WIDTH; unit += THREADS)
            store_shared<float>(HIDDEN + unit * 4,
                                max_nan(total(unit, load_global(bias + unit % W::WIDTH), IMAGES * ROW), 0.0f));
        sync_block();
    }

    template <unsigned COUNT, unsigned FROM_PITCH>
    static DEVICE void multiply(float (&sum)[IMAGES][OUTPUTS], Stream &stream, unsigned from)
    {
        constexpr unsigned ROUND = DEPTH < COUNT ? DEPTH : COUNT;
        static_assert(COUNT % ROUND == 0 && ROUND % 4 == 0, "whole rounds");
#pragma unroll 1
        for (unsigned k = 0; k < COUNT; k += ROUND) {
#pragma unroll
            for (unsigned i = 0; i < ROUND; i += 4) {
                float w[4][OUTPUTS];
#pragma unroll
                for (unsigned j = 0; j < 4; j++) {
                    unpack(w[j], stream.held[i + j]);
                    if (k + ROUND < COUNT)
                        stream.fetch(i + j);
                }
#pragma unroll
                for (unsigned image = 0; image < IMAGES; image++) {
                    float x[4];
                    unpack(x, load_shared<float4>(from + image * FROM_PITCH + (k + i) * 4));
#pragma unroll
                    for (unsigned j = 0; j < 4; j++)
#pragma unroll
                        for (unsigned o = 0; o < OUTPUTS; o++)
                            sum[image][o] = fused_multiply_add(x[j], w[j][o], sum[image][o]);
                }
            }
            stream.next += ROUND * W::WIDTH;
        }
    }

    // The partial sums of all slices.
    static DEVICE float total(unsigned unit, float sum, unsigned slice_bytes)
    {
#pragma unroll
        for (unsigned slice = 0; slice < SLICES; slice++)
            sum += load_shared<float>(PARTIAL + slice * slice_bytes + unit * 4);
        return sum;
    }

    // The last layer: a thread for each image, output and slice; then one for each image and output.
    static DEVICE void logits(const Arguments &in, const float *weights, unsigned first)
    {
        constexpr unsigned COUNT = W::WIDTH / SLICES, UNITS = IMAGES * 16;
        for (unsigned unit = thread_index(); unit < UNITS * SLICES; unit += THREADS) {
            const unsigned output = unit % 16, image = unit / 16 % IMAGES, slice = unit / UNITS;
            float sum = 0.0f;
#pragma unroll
            for (unsigned k = slice * COUNT, i = 0; i < COUNT; i++, k++)
                sum = fused_multiply_add(load_shared<float>(HIDDEN + image * ROW + k * 4),
                                         load_global(weights + W::FC3 + k * 16 + output), sum);
            store_shared<float>(PARTIAL + unit * 4, sum);
        }
        sync_block();
        for (unsigned unit = thread_index(); unit < UNITS; unit += THREADS) {
            const unsigned output = unit % 16, image = first + unit / 16;
            if (output < LOGITS && image < in.count)
                store_global(in.logits + image * static_cast<unsigned long long>(LOGITS) + output,
                             total(unit, load_global(weights + W::FC3_BIAS + output), UNITS * 4));
        }
    }
};
