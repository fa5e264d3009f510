/* ---- plain C ---- */

/* The largest of a pooling window. */
static inline int32_t lenet_largest(int32_t a, int32_t b, int32_t c, int32_t d)
{
    const int32_t e = a > b ? a : b, f = c > d ? c : d;
    return e > f ? e : f;
}

/* The largest of a pooling window's four sums of conv1, for each output. Of a filter's row
 * (a, b, c) the weights are (a, b) and (b, c). */
static void lenet_conv1_sums(const lenet_number *window, const lenet_number *w, int32_t *sums,
                             int32_t *end)
{
    for (; sums < end; sums++) {
        int32_t s00 = 0, s01 = 0, s10 = 0, s11 = 0;
        const lenet_number *p = window;
        for (int r = 0; r < 3; r++, w += 4, p += 4) {
            const int32_t a = w[0], b = w[1], c = w[3];
            s00 += a * p[0] + b * p[1] + c * p[2];
            s01 += a * p[1] + b * p[2] + c * p[3];
            s10 += a * p[4] + b * p[5] + c * p[6];
            s11 += a * p[5] + b * p[6] + c * p[7];
        }
        *sums = lenet_largest(s00, s01, s10, s11);
    }
}

/* The sum of products of a position's channels, which moves on to the next position. */
static inline int32_t lenet_products(const lenet_number **v, const lenet_number **w)
{
    int32_t sum = 0;
    for (int c = 0; c < CHANNELS_EVEN; c++)
        sum += *(*v)++ * *(*w)++;
    return sum;
}

/* The largest of a pooling window's four sums of conv2, for each output, in Winograd's domain. */
static void lenet_conv2_sums(const lenet_number *tile, const lenet_number *w, int32_t *sums,
                             int32_t *end)
{
    for (; sums < end; sums++) {
        int32_t left[4], right[4];
        const lenet_number *v = tile;
        for (int i = 0; i < 4; i++) {
            const int32_t a = lenet_products(&v, &w), b = lenet_products(&v, &w);
            left[i] = a + b + lenet_products(&v, &w);
            right[i] = a - b + lenet_products(&v, &w);
        }
        *sums = lenet_largest(left[0] + left[1] + left[2], left[0] - left[1] + left[3],
                              right[0] + right[1] + right[2], right[0] - right[1] + right[3]);
    }
}

#include "cortex/plain_dense.c"
