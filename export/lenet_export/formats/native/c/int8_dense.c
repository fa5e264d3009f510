#include "rows.c"
/* Which of `count` groups of inputs, 64 at most, are not all zero. */
static inline ATTRIBUTE uint64_t ISA_mask(const CODE *x, size_t count)
{
    uint64_t bits = 0;
    for (size_t k = 0; k < count; k += LANES)
        bits |= (uint64_t)ISA_nonzero(x + GROUP * k) << k;
    return count < 64 ? bits & (((uint64_t)1 << count) - 1) : bits;
}

/* Sums of a dense layer, the first `outputs` of rows of `stride`, for n images whose inputs lie
   `row` apart: turns at 64 rows of weights, of which those are skipped that meet zeros
   alone. */
static KERNEL void ISA_sparse(
    const CODE *x, size_t groups, size_t row, const WEIGHT *w, const int32_t *bias,
    size_t outputs, size_t stride, int32_t *sums, size_t n)
{
    uint64_t bits[TURN];
    for (size_t i = 0; i < n; i++)
        memcpy(sums + stride * i, bias, outputs * sizeof *sums);
    for (size_t first = 0; first < groups; first += 64) {
        for (size_t i = 0; i < n; i++)
            bits[i] = ISA_mask(x + row * i + GROUP * first,
                               groups - first < 64 ? groups - first : 64);
        const WEIGHT *const rows = w + GROUP * stride * first;
        const CODE *const from = x + GROUP * first;
        size_t f = 0;
        for (; f + ROWS * LANES <= outputs; f += ROWS * LANES)
            for (size_t i = 0; i < n; i++)
                ADD_ROWS(from + row * i, bits[i], rows + GROUP * f, stride, sums + stride * i + f);
        for (size_t i = 0; i < n; i++)
            switch ((outputs - f) / LANES) {
#include "rows_left.c"
            }
    }
}

#include "dense.c"
#include "codes.c"
static ATTRIBUTE void ISA_logits(
    const int32_t *sums, size_t stride, const float *scale, float *logits, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t v = 0; v < LENET_LOGITS; v++)
            logits[LENET_LOGITS * i + v] = (float)sums[stride * i + v] * scale[v];
}
