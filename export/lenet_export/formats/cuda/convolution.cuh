// Both convolutions with their pooling, as matrix products of a warp.
#pragma once

#include "layout.cuh"

// What a lane's four sums of a tile start from: the biases of two columns, for both rows. They are
// packed twice, because a product takes them from four registers in a row, and the compiler would
// copy two equal ones there for every tile.
DEVICE void load_bias(float (&bias)[4], const unsigned *packed, unsigned pair)
{
    const float4 b = load_global(reinterpret_cast<const float4 *>(packed) + pair);
    bias[0] = b.x, bias[1] = b.y, bias[2] = b.z, bias[3] = b.w;
}

// conv1: a row of the product is one pooled position and its 4x4 pixels, k = 4 y + x; a column is a
// channel, and there is one tile of 8 columns for each of the four outputs that are pooled. So all
// four lie in the same register number of the same lane, and pooling moves nothing.
//
// A tile of 16 rows is one row of pooled positions, columns 14 and 15 idle. Its lower two rows of
// pixels are the upper two of the next.
template <class P> struct Conv1 {
    unsigned weights[Packed<P>::CONV1_REGISTERS];
    float bias[4]; // of channels 2 word and 2 word + 1, see load_bias

    DEVICE void load(const unsigned *packed, const Lane &lane)
    {
        load_registers(weights, packed + Packed<P>::CONV1, lane);
        load_bias(bias, packed + Packed<P>::CONV1_BIAS, lane.word);
    }

    // Two rows of pixels as half of a fragment in 16-bit types, as a whole one in tf32.
    struct Strip {
        unsigned values[P::BYTES];
    };

    static DEVICE Strip strip(unsigned pixels, unsigned y, const Lane &lane)
    {
        constexpr unsigned ROW = SIDE * P::BYTES, RIGHT = 8 * 2 * P::BYTES;
        Strip s;
        if constexpr (P::BYTES == 2) {
            const unsigned at = pixels + (y + lane.word / 2) * ROW + lane.group * 4 + lane.word % 2 * 4;
            s.values[0] = load_shared<unsigned>(at);
            s.values[1] = load_shared<unsigned>(at + RIGHT);
        } else {
            const unsigned at = pixels + y * ROW + lane.group * 8 + lane.word * 4;
            s.values[0] = load_shared<unsigned>(at);
            s.values[1] = load_shared<unsigned>(at + RIGHT);
            s.values[2] = load_shared<unsigned>(at + ROW);
            s.values[3] = load_shared<unsigned>(at + ROW + RIGHT);
        }
        return s;
    }

    // Rows [first, first + COUNT) of the pooled output.
    template <unsigned COUNT>
    DEVICE void rows(unsigned pixels, unsigned pooled, unsigned first, const Lane &lane) const
    {
        using L = Pooled<P>;
        constexpr unsigned PAIR = 2 * P::BYTES, PAIRS = CHUNK / PAIR; // pairs of channels in a chunk
        const unsigned at = pooled + (lane.word / PAIRS * L::PLANE + first * L::ROW +
                                      lane.group % 2 * L::ODD + lane.group / 2) * CHUNK +
                            lane.word % PAIRS * PAIR;
#pragma unroll
        for (unsigned i = 0; i < COUNT; i++) {
            float best[4];
            row(best, strip(pixels, 2 * (first + i), lane), strip(pixels, 2 * (first + i) + 2, lane));
            const unsigned to = at + i * L::ROW * CHUNK;
            store_shared<typename P::Pair>(to, P::relu(best[0], best[1]));
            if (lane.group < ROWS - 8) // columns 8 to 13
                store_shared<typename P::Pair>(to + 4 * CHUNK, P::relu(best[2], best[3]));
        }
    }

private:
    DEVICE void row(float (&best)[4], const Strip &upper, const Strip &lower) const
    {
#pragma unroll
        for (unsigned position = 0; position < 4; position++) {
            float sum[4];
            const unsigned *const b = weights + 2 * position;
            const unsigned *const u = upper.values, *const l = lower.values;
            if constexpr (P::BYTES == 2) {
                P::multiply(sum, uint4{u[0], u[1], l[0], l[1]}, b[0], b[1], bias);
            } else {
                P::multiply(sum, uint4{u[0], u[1], u[2], u[3]}, b[0], b[1], bias);
                P::multiply(sum, uint4{l[0], l[1], l[2], l[3]}, b[8], b[9], sum);
            }
#pragma unroll
            for (unsigned i = 0; i < 4; i++)
                best[i] = position ? max_nan(best[i], sum[i]) : sum[i];
        }
    }
};

// conv2: rows 0 to 7 of a product are eight pooled positions at the upper output of their window,
// rows 8 to 15 the same at the lower one; the left and the right output are two products. Each
// takes 4x4 positions of conv1's output, row r and column c: an 8x8 matrix M[r][c] of ldmatrix,
// eight windows by eight channels. A tap (y, x) of the right output is tap (y, x + 1) of the left
// one, so both use the same fragments. TILES of 8 channels each.
template <class P, unsigned TILES> struct Conv2 {
    static constexpr unsigned REGISTERS = Packed<P>::CONV2_REGISTERS;
    unsigned weights[TILES][REGISTERS]; // two for each fragment of the first operand
    float bias[TILES][4];

    // The channels from 8 * tile on.
    DEVICE void load(const unsigned *packed, unsigned tile, const Lane &lane)
    {
#pragma unroll
        for (unsigned t = 0; t < TILES; t++) {
            load_registers(weights[t], packed + Packed<P>::CONV2 + (tile + t) * REGISTERS * LANES, lane);
            load_bias(bias[t], packed + Packed<P>::CONV2_BIAS, 4 * (tile + t) + lane.word);
        }
    }

    // `best`: channels 2 word and 2 word + 1 of each tile, of the window that `group` counts from
    // the warp's first; `window`: the one whose rows this lane addresses, of which image.
    DEVICE void windows(float (&best)[TILES][2], unsigned pooled, unsigned window, const Lane &lane) const
    {
        using L = Pooled<P>;
        const unsigned image = window / POSITIONS, y = window % POSITIONS / 6, x = window % 6;
        const unsigned at = pooled + (image * L::IMAGE + 2 * L::ROW * y + x) * CHUNK;
        float sum[2][TILES][4];
        if constexpr (P::BYTES == 2)
            multiply_pairs(sum, at, lane.index / 8);
        else
            multiply_taps(sum, at, lane.index / 8);
#pragma unroll
        for (unsigned t = 0; t < TILES; t++)
#pragma unroll
            for (unsigned i = 0; i < 2; i++)
                best[t][i] = max_nan(max_nan(sum[0][t][i], sum[0][t][i + 2]),
                                     max_nan(sum[1][t][i], sum[1][t][i + 2]));
    }

private:
    static constexpr unsigned ROW = Pooled<P>::ROW * CHUNK, ODD = Pooled<P>::ODD * CHUNK;
    static constexpr DEVICE unsigned column(unsigned c) { return c % 2 * ODD + c / 2 * CHUNK; }

    // The first product of a sum is added to the bias.
    DEVICE void add(float (&sum)[TILES][4], const uint4 &a, unsigned fragment) const
    {
#pragma unroll
        for (unsigned t = 0; t < TILES; t++) {
            const float(&start)[4] = *(fragment == 0 ? &bias[t] : &sum[t]);
            P::multiply(sum[t], a, weights[t][2 * fragment], weights[t][2 * fragment + 1], start);
        }
    }

    // 16-bit: a fragment is two taps. Column c of four rows, as it comes, is the taps (0, x) and
    // (2, x); of the middle row, the taps in columns 1 and 2 are one fragment of both outputs, and
    // those in columns 0 and 3 another, of which either output uses one half (the rest of its
    // weights are zero).
    DEVICE void multiply_pairs(float (&sum)[2][TILES][4], unsigned at, unsigned matrix) const
    {
#pragma unroll
        for (unsigned c = 0; c < 4; c++) {
            const uint4 a = load_matrices(at + matrix * ROW + column(c));
            if (c < 3)
                add(sum[0], a, c);
            if (c > 0)
                add(sum[1], a, c - 1);
        }
        const unsigned middle = at + (1 + matrix % 2) * ROW;
        const uint4 inner = load_matrices(middle + (matrix / 2 ? column(2) : column(1)));
        add(sum[0], inner, 3);
        add(sum[1], inner, 4);
        const uint4 outer = load_matrices(middle + (matrix / 2 ? column(3) : column(0)));
        add(sum[0], outer, 5);
        add(sum[1], outer, 6);
    }

    // tf32: a fragment is one tap, the two planes its halves.
    DEVICE void multiply_taps(float (&sum)[2][TILES][4], unsigned at, unsigned matrix) const
    {
        at += matrix % 2 * ROW + matrix / 2 * Pooled<P>::PLANE * CHUNK;
#pragma unroll
        for (unsigned y = 0; y < 3; y++)
#pragma unroll
            for (unsigned c = 0; c < 4; c++) {
                const uint4 a = load_matrices(at + y * ROW + column(c));
                if (c < 3)
                    add(sum[0], a, 3 * y + c);
                if (c > 0)
                    add(sum[1], a, 3 * y + c - 1);
            }
    }
};
