// Small batches: a block of 16 warps takes one image, or up to eight, and all warps work on each
// layer together. Every warp has its share of the dense layers' weights on the way before it
// touches a pixel, so that reading them costs no time of its own.
#pragma once

#include "convolution.cuh"
#include "dense.cuh"
#include "pixels.cuh"

template <class P, unsigned IMAGES_, template <unsigned> class Input> struct Latency {
    static constexpr unsigned IMAGES = IMAGES_, WARPS = 16, THREADS = WARPS * LANES;
    static constexpr unsigned STEPS1 = FEATURES / Packed<P>::STEP, STEPS2 = HIDDEN1 / Packed<P>::STEP,
                              STEPS3 = HIDDEN2 / Packed<P>::STEP;
    static constexpr unsigned HALF1 = first_half(STEPS1), HALF2 = first_half(STEPS2),
                              HALF3 = first_half(STEPS3);
    static constexpr unsigned TILES1 = HIDDEN1 / 16, TILES2 = HIDDEN2 / 16; // of outputs
    static_assert(2 * TILES1 == WARPS && 2 * TILES2 + 2 <= WARPS, "a half of a tile for each warp");
    static_assert(2 * HALF1 == STEPS1 && 2 * HALF2 == STEPS2 && HALF3 <= HALF2, "equal halves");
    // Fragments ahead, four registers each: all of them in the case that counts.
    static constexpr unsigned DEPTH1 = IMAGES > 1 ? 6 : P::BYTES == 2 ? 18 : 12, DEPTH2 = HALF2;
    // Rows of conv1's output that a warp computes.
    static constexpr unsigned STRIP = IMAGES * ROWS <= WARPS ? 1 : 7;

    static constexpr unsigned PIXELS_AT = 0;
    static constexpr unsigned POOLED = PIXELS_AT + IMAGES * PICTURE<P>;
    static constexpr unsigned FEATURES_AT = PIXELS_AT; // conv1 is done with them
    static_assert(pitch<P>(FEATURES) <= PICTURE<P>, "features fit");
    static constexpr unsigned HIDDEN_1 = POOLED + IMAGES * Pooled<P>::BYTES;
    static constexpr unsigned HIDDEN_2 = HIDDEN_1 + IMAGES * pitch<P>(HIDDEN1);
    static constexpr unsigned PARTIAL = (HIDDEN_2 + IMAGES * pitch<P>(HIDDEN2) + 127) / 128 * 128;
    static constexpr unsigned TABLE = PARTIAL + TILES1 * LANES * 16;
    static constexpr unsigned SHARED_BYTES = TABLE + Input<THREADS>::TABLE_BYTES;

    static DEVICE void run(const Arguments &in)
    {
        const Lane lane;
        const unsigned warp = thread_index() / LANES, first = block_index() * IMAGES;
        Input<THREADS> pixels[IMAGES];
#pragma unroll
        for (unsigned i = 0; i < IMAGES; i++)
            pixels[i].load(in.images, first + i < in.count ? first + i : in.count - 1, thread_index());
        Conv1<P> conv1;
        conv1.load(in.weights, lane);
        Fragments<DEPTH1> weights1;
        weights1.start(in.weights + Packed<P>::FC1, warp % TILES1 * STEPS1 + warp / TILES1 * HALF1, lane);
        weights1.prefetch();

        if constexpr (Input<THREADS>::TABLE_BYTES != 0) {
            load_table<THREADS>(in.weights + Packed<P>::TABLE, TABLE);
            sync_block();
        }
#pragma unroll
        for (unsigned i = 0; i < IMAGES; i++)
            pixels[i].template store<P>(PIXELS_AT + i * PICTURE<P>, TABLE, thread_index());
        Conv2<P, 1> conv2; // on its way while conv1 is computed
        conv2.load(in.weights, warp % 2, lane);
        sync_block();
        if (warp < IMAGES * ROWS / STRIP) {
            const unsigned image = warp / (ROWS / STRIP), row = warp % (ROWS / STRIP) * STRIP;
            conv1.template rows<STRIP>(PIXELS_AT + image * PICTURE<P>, POOLED + image * Pooled<P>::BYTES,
                                       row, lane);
        }
        Fragments<DEPTH2> weights2; // of the second layer, and in two warps of the third
        start_second(weights2, in, warp, lane);
        sync_block();
        convolve2(conv2, warp, lane);
        sync_block();
        dense(in, weights1, weights2, first, warp, lane);
    }

private:
    static DEVICE void start_second(Fragments<DEPTH2> &weights, const Arguments &in, unsigned warp,
                                    const Lane &lane)
    {
        if (warp < 2 * TILES2) {
            weights.start(in.weights + Packed<P>::FC2, warp % TILES2 * STEPS2 + warp / TILES2 * HALF2, lane);
            weights.prefetch();
        } else if (warp < 2 * TILES2 + 2) {
            const unsigned half = warp - 2 * TILES2;
            weights.start(in.weights + Packed<P>::FC3, half * HALF3, lane);
            if (half == 0)
                weights.template prefetch<HALF3>();
            else
                weights.template prefetch<STEPS3 - HALF3>();
        }
    }

    // Even warps compute the first eight channels, odd ones the others.
    static DEVICE void convolve2(const Conv2<P, 1> &conv2, unsigned warp, const Lane &lane)
    {
        constexpr unsigned WINDOWS = IMAGES * POSITIONS;
#pragma unroll 1
        for (unsigned start = warp / 2 * 8; start < WINDOWS; start += WARPS / 2 * 8) {
            const unsigned addressed = start + lane.index % 8, window = start + lane.group;
            float best[1][2];
            conv2.windows(best, POOLED, addressed < WINDOWS ? addressed : WINDOWS - 1, lane);
            const unsigned at = FEATURES_AT + window / POSITIONS * pitch<P>(FEATURES) +
                                (window % POSITIONS * 16 + 4 * lane.word + warp % 2 * 2) * P::BYTES;
            if (window < WINDOWS)
                store_shared<typename P::Pair>(at, P::relu(best[0][0], best[0][1]));
        }
    }

    static DEVICE void dense(const Arguments &in, Fragments<DEPTH1> &weights1,
                             Fragments<DEPTH2> &weights2, unsigned first, unsigned warp, const Lane &lane)
    {
        float sum[1][4];
        unsigned tile = warp % TILES1, half = warp / TILES1;
        begin(sum, in.weights + Packed<P>::FC1_BIAS, tile, half, lane);
        multiply<P, HALF1>(
            sum, weights1, activations_of<P, FEATURES, IMAGES>(FEATURES_AT, lane) + half * HALF1 * 32, 0, HALF1);
        add_halves(sum, tile, half, lane);
        if (half == 0)
            store_hidden<P, HIDDEN1, IMAGES>(sum[0], HIDDEN_1, 0, tile, lane);
        sync_block();

        tile = warp % TILES2, half = warp / TILES2; // half 2: warps of the third layer
        begin(sum, in.weights + Packed<P>::FC2_BIAS, tile, half, lane);
        if (half < 2)
            multiply_held<P, HALF2>(
                sum, weights2, activations_of<P, HIDDEN1, IMAGES>(HIDDEN_1, lane) + half * HALF2 * 32);
        add_halves(sum, tile, half, lane);
        if (half == 0)
            store_hidden<P, HIDDEN2, IMAGES>(sum[0], HIDDEN_2, 0, tile, lane);
        sync_block();

        half = warp - 2 * TILES2; // a large number in the warps before
        begin(sum, in.weights + Packed<P>::FC3_BIAS, 0, half, lane);
        const unsigned rows = activations_of<P, HIDDEN2, IMAGES>(HIDDEN_2, lane);
        if (half == 0)
            multiply_held<P, HALF3>(sum, weights2, rows);
        else if (half == 1)
            multiply_held<P, STEPS3 - HALF3>(sum, weights2, rows + HALF3 * 32);
        add_halves(sum, 0, half, lane);
        const unsigned end = first + IMAGES < in.count ? first + IMAGES : in.count;
        if (half == 0)
            store_logits(sum[0], in.logits, first, end, lane);
    }

    static DEVICE void begin(float (&sum)[1][4], const unsigned *bias, unsigned tile, unsigned half,
                             const Lane &lane)
    {
        sum[0][0] = sum[0][1] = sum[0][2] = sum[0][3] = 0.0f;
        if (half == 0)
            start_sums(sum, bias, tile, lane);
    }

    // Half 1 of a tile's warps hands its sums to half 0.
    static DEVICE void add_halves(float (&sum)[1][4], unsigned tile, unsigned half, const Lane &lane)
    {
        const unsigned at = PARTIAL + (tile * LANES + lane.index) * 16;
        if (half == 1)
            store_shared(at, float4{sum[0][0], sum[0][1], sum[0][2], sum[0][3]});
        sync_block();
        if (half == 0) {
            const float4 other = load_shared<float4>(at);
            sum[0][0] += other.x, sum[0][1] += other.y, sum[0][2] += other.z, sum[0][3] += other.w;
        }
    }
};
