/* ---- plain C ---- */

/* Two int16 each, which must not carry over: the upper bit of each is added by itself. */
static inline int32_t lenet_add(int32_t a, int32_t b)
{
    const uint32_t upper = 0x80008000, p = (uint32_t)a, q = (uint32_t)b;
    return (int32_t)(((p & ~upper) + (q & ~upper)) ^ ((p ^ q) & upper));
}

static inline int32_t lenet_sub(int32_t a, int32_t b)
{
    const uint32_t upper = 0x80008000, p = (uint32_t)a, q = (uint32_t)b;
    return (int32_t)(((p | upper) - (q & ~upper)) ^ ((p ^ ~q) & upper));
}

/* The largest of a pooling window's four sums of conv1, for each output. Of a filter's row (a, b, c)
 * the weights are (a, b) and (b, c). */
static void lenet_conv1_sums(const int16_t *window, const int16_t *w, int32_t *sums, int32_t *end)
{
    for (; sums < end; sums++) {
        int32_t s00 = 0, s01 = 0, s10 = 0, s11 = 0;
        const int16_t *p = window;
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

/* The largest of a pooling window's four sums of conv2, for each output, in Winograd's domain. */
static void lenet_conv2_sums(const int16_t *tile, const int16_t *w, int32_t *sums, int32_t *end)
{
    for (; sums < end; sums++) {
        int32_t m[4][2];
        const int16_t *v = tile;
        for (int j = 0; j < 4; j++) {
            int32_t m0 = 0, m1 = 0;
            for (int c = 0; c < CHANNELS_EVEN / 2; c++, v += 8, w += 6) {
                const int32_t a = w[0], b = w[2], d = w[4];
                m0 += a * v[0] + b * v[2] + d * v[4];
                m1 += a * v[2] + b * v[4] + d * v[6];
                const int32_t e = w[1], f = w[3], g = w[5];
                m0 += e * v[1] + f * v[3] + g * v[5];
                m1 += e * v[3] + f * v[5] + g * v[7];
            }
            m[j][0] = m0;
            m[j][1] = m1;
        }
        *sums = lenet_largest(m[0][0] + m[1][0] + m[2][0], m[0][0] - m[1][0] + m[3][0],
                              m[0][1] + m[1][1] + m[2][1], m[0][1] - m[1][1] + m[3][1]);
    }
}

/* A block of eight outputs: four sums S, then the four sums S + 256 T, which may wrap. */
static void lenet_dense_sums(const lenet_entry *list, const int16_t *weights, int32_t *sums)
{
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    uint32_t t0 = 0, t1 = 0, t2 = 0, t3 = 0;
    for (; list->values; list++) {
        const int16_t *const w = weights + list->weights / 2;
#define LENET_ADD(value, at) \
    t0 += (uint32_t)(w[at] * value), s0 += (int8_t)w[at] * value; \
    t1 += (uint32_t)(w[2 + at] * value), s1 += (int8_t)w[2 + at] * value; \
    t2 += (uint32_t)(w[4 + at] * value), s2 += (int8_t)w[4 + at] * value; \
    t3 += (uint32_t)(w[6 + at] * value), s3 += (int8_t)w[6 + at] * value;
        const int32_t first = list->values & 0xffff, second = list->values >> 16;
        if (first) {
            LENET_ADD(first, 0)
        }
        if (second) {
            LENET_ADD(second, 1)
        }
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
    sums[4] = (int32_t)t0, sums[5] = (int32_t)t1, sums[6] = (int32_t)t2, sums[7] = (int32_t)t3;
}
