// Large batches: a block takes IMAGES images; each warp convolves its own, alone, two at a time, and
// the warps then share the dense layers' outputs, each for all images.
#pragma once

#include "convolution.cuh"
#include "dense.cuh"
#include "pixels.cuh"

template <class P, unsigned IMAGES_, unsigned WARPS_, template <unsigned> class Input>
struct Throughput {
    static constexpr unsigned IMAGES = IMAGES_, WARPS = WARPS_, THREADS = WARPS * LANES;
    static constexpr unsigned OWN = IMAGES / WARPS; // images of a warp
    static constexpr unsigned DEPTH1 = 6, DEPTH2 = 4, DEPTH3 = 2; // fragments of weights ahead
    // Warps side by side along outputs, and along tiles of images.
    static constexpr unsigned OUTPUT_WARPS = WARPS < 8 ? WARPS : 8;
    static constexpr unsigned TILES = IMAGES / 8 / (WARPS / OUTPUT_WARPS);

    static constexpr unsigned FEATURE_PITCH = pitch<P>(FEATURES);
    static constexpr unsigned TABLE = IMAGES * FEATURE_PITCH; // after the features
    static constexpr unsigned POOLED = (TABLE + Input<LANES>::TABLE_BYTES + 127) / 128 * 128;
    static constexpr unsigned HIDDEN_1 = POOLED; // once the convolutions are done
    static constexpr unsigned HIDDEN_2 = HIDDEN_1 + IMAGES * pitch<P>(HIDDEN1);
    static constexpr unsigned SHARED_BYTES = POOLED + WARPS * 2 * Pooled<P>::BYTES;
    // Pixels lie where the features of the warp's last two images will, when they are done with.
    static constexpr unsigned STAGE = (OWN - 2) * FEATURE_PITCH;

    static_assert(IMAGES % (8 * (WARPS / OUTPUT_WARPS)) == 0 && OWN % 2 == 0 && OWN >= 2, "tiles");
    static_assert(2 * FEATURE_PITCH >= PICTURE<P>, "pixels fit");
    static_assert(HIDDEN_2 + IMAGES * pitch<P>(HIDDEN2) <= SHARED_BYTES, "hidden layers fit");

    static DEVICE void run(const Arguments &in)
    {
        const Lane lane;
        const unsigned warp = thread_index() / LANES, first = block_index() * IMAGES;
        if constexpr (Input<LANES>::TABLE_BYTES != 0) {
            load_table<THREADS>(in.weights + Packed<P>::TABLE, TABLE);
            sync_block();
        }
        convolve(in, first + warp * OWN, warp, lane);
        Fragments<DEPTH1> weights1;
        weights1.start(in.weights + Packed<P>::FC1, warp % OUTPUT_WARPS * (FEATURES / Packed<P>::STEP), lane);
        weights1.prefetch();
        sync_block();
        hidden<FEATURES, HIDDEN1>(weights1, in.weights + Packed<P>::FC1,
                                  in.weights + Packed<P>::FC1_BIAS, 0, HIDDEN_1, warp, lane);
        Fragments<DEPTH2> weights2;
        weights2.start(in.weights + Packed<P>::FC2, warp % OUTPUT_WARPS * (HIDDEN1 / Packed<P>::STEP), lane);
        if (warp % OUTPUT_WARPS < HIDDEN2 / 16)
            weights2.prefetch();
        sync_block();
        if (warp % OUTPUT_WARPS < HIDDEN2 / 16)
            hidden<HIDDEN1, HIDDEN2>(weights2, in.weights + Packed<P>::FC2,
                                     in.weights + Packed<P>::FC2_BIAS, HIDDEN_1, HIDDEN_2, warp, lane);
        sync_block();
        logits(in, first, warp, lane);
    }

private:
    // The image that a block computes for `image`: beyond the batch, the last one once more.
    static DEVICE unsigned existing(unsigned image, unsigned count)
    {
        return image < count ? image : count - 1;
    }

    // Images [first, first + OWN) become features.
    static DEVICE void convolve(const Arguments &in, unsigned first, unsigned warp, const Lane &lane)
    {
        const unsigned own = warp * OWN * FEATURE_PITCH, pooled = POOLED + warp * 2 * Pooled<P>::BYTES;
        Input<LANES> pixels;
        pixels.load(in.images, existing(first, in.count), lane.index);
        Conv1<P> conv1;
        conv1.load(in.weights, lane);
#pragma unroll 1
        for (unsigned i = 0; i < OWN; i += 2) {
#pragma unroll 1
            for (unsigned j = 0; j < 2; j++) {
                pixels.template store<P>(own + STAGE, TABLE, lane.index);
                sync_warp();
                if (i + j + 1 < OWN)
                    pixels.load(in.images, existing(first + i + j + 1, in.count), lane.index);
                conv1.template rows<ROWS>(own + STAGE, pooled + j * Pooled<P>::BYTES, 0, lane);
                sync_warp();
            }
            // Again for each pair: kept meanwhile, they make NVRTC 13.0 spill what conv1 needs.
            Conv2<P, 2> conv2;
            conv2.load(in.weights, 0, lane);
#pragma unroll 1
            for (unsigned group = 0; group < 2 * POSITIONS / 8; group++) {
                float best[2][2];
                conv2.windows(best, pooled, group * 8 + lane.index % 8, lane);
                const unsigned window = group * 8 + lane.group;
                const unsigned at = own + (i + window / POSITIONS) * FEATURE_PITCH +
                                    (window % POSITIONS * 16 + 4 * lane.word) * P::BYTES;
                store_shared<typename P::Pair>(at, P::relu(best[0][0], best[0][1]));
                store_shared<typename P::Pair>(at + 2 * P::BYTES, P::relu(best[1][0], best[1][1]));
            }
        }
    }

    // One hidden layer; the fragments of the warp's first tile of outputs are on their way.
    template <unsigned INPUTS, unsigned OUTPUTS, unsigned DEPTH>
    static DEVICE void hidden(Fragments<DEPTH> &weights, const unsigned *packed, const unsigned *bias,
                              unsigned from, unsigned to, unsigned warp, const Lane &lane)
    {
        constexpr unsigned STEPS = INPUTS / Packed<P>::STEP;
        const unsigned image = warp / OUTPUT_WARPS * TILES * 8;
        const unsigned rows = activations_of<P, INPUTS, 8>(from + image * pitch<P>(INPUTS), lane);
#pragma unroll 1
        for (unsigned tile = warp % OUTPUT_WARPS; tile < OUTPUTS / 16; tile += OUTPUT_WARPS) {
            if (tile >= OUTPUT_WARPS) {
                weights.start(packed, tile * STEPS, lane);
                weights.prefetch();
            }
            float sum[TILES][4];
            start_sums(sum, bias, tile, lane);
            multiply_all<P, STEPS>(sum, weights, rows, 8 * pitch<P>(INPUTS));
#pragma unroll
            for (unsigned t = 0; t < TILES; t++)
                store_hidden<P, OUTPUTS, IMAGES>(sum[t], to, image + 8 * t, tile, lane);
        }
    }

    // The last layer has one tile of outputs; each warp computes it for other images.
    static DEVICE void logits(const Arguments &in, unsigned first, unsigned warp, const Lane &lane)
    {
#pragma unroll 1
        for (unsigned tile = warp; tile < IMAGES / 8; tile += WARPS) {
            Fragments<DEPTH3> weights;
            weights.start(in.weights + Packed<P>::FC3, 0, lane);
            weights.prefetch();
            float sum[1][4];
            start_sums(sum, in.weights + Packed<P>::FC3_BIAS, 0, lane);
            const unsigned rows =
                activations_of<P, HIDDEN2, 8>(HIDDEN_2 + tile * 8 * pitch<P>(HIDDEN2), lane);
            multiply_all<P, HIDDEN2 / Packed<P>::STEP>(sum, weights, rows, 0);
            store_logits(sum[0], in.logits, first + tile * 8, in.count, lane);
        }
    }
};
