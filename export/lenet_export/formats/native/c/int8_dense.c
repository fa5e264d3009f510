/* Sums of a dense layer, the first `outputs` of rows of `stride`, for n images. */
static KERNEL void ISA_dense(
    const CODE *x, size_t inputs, size_t row, const WEIGHT *weights, const int32_t *bias,
    size_t outputs, size_t stride, int32_t *sums, size_t n)
{
#include "tiles.c"
}

/* Their codes, and zeros behind them. */
static ATTRIBUTE void ISA_codes(
    const int32_t *sums, size_t outputs, size_t stride, const float *scale, CODE *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t v = 0; v < outputs; v += LANES)
            ISA_put(x + stride * i + v,
                    ISA_code(ISA_load(sums + stride * i + v), ISA_floats(scale + v)));
        for (size_t v = outputs; v < stride; v += LANES)
            ISA_put(x + stride * i + v, ISA_zero());
    }
}

static ATTRIBUTE void ISA_logits(
    const int32_t *sums, size_t stride, const float *scale, float *logits, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t v = 0; v < LENET_LOGITS; v++)
            logits[LENET_LOGITS * i + v] = (float)sums[stride * i + v] * scale[v];
}
