static inline int32_t lenet_load(const int16_t *p) { return *p; }
static inline void lenet_store(int16_t *p, int32_t value) { *p = (int16_t)value; }
static inline int32_t lenet_ink(const int16_t *p) { return p[0] | p[1]; }

/* All channels of conv1 at a pixel of its pooled output. */
static void lenet_conv1_pixel(const int16_t *const rows[4], int x, int16_t *pooled)
{
    for (int k = 0; k < CHANNELS; k++) {
        const lenet_output *const output = lenet_conv1_output + k;
        int32_t s00 = output->bias, s01 = s00, s10 = s00, s11 = s00;
        for (int r = 0; r < 3; r++) {
            const int32_t a = lenet_conv1[k][r][0], b = lenet_conv1[k][r][1],
                          c = lenet_conv1[k][r][3];
            const int16_t *p = rows[r] + x;
            s00 += a * p[0] + b * p[1] + c * p[2];
            s01 += a * p[1] + b * p[2] + c * p[3];
            p = rows[r + 1] + x;
            s10 += a * p[0] + b * p[1] + c * p[2];
            s11 += a * p[1] + b * p[2] + c * p[3];
        }
        const uint8_t code = lenet_code(lenet_largest(s00, s01, s10, s11), 0, output);
        pooled[k] = (int16_t)(code - lenet_conv1_black[k]);
    }
}

/* All outputs of conv2 at a pixel of its pooled output, from four rows of Winograd's domain. */
static void lenet_conv2_tile(const int16_t *const v[4], uint8_t *feature)
{
    const int16_t *u = lenet_conv2;
    for (int k = 0; k < OUTPUTS; k++, feature += 2) {
        const lenet_output *const output = lenet_conv2_output + k;
        int32_t s[2][4];
        for (int j = 0; j < 4; j++) {
            int32_t m0 = 0, m1 = 0;
            for (int c = 0; c < CHANNELS_EVEN; c++) {
                const int16_t *const w = u + 6 * (c / 2) + (c & 1);
                const int at = CHANNELS_EVEN * j + c;
                const int32_t d1 = v[1][at], d2 = v[2][at];
                m0 += w[0] * v[0][at] + w[2] * d1 + w[4] * d2;
                m1 += w[0] * d1 + w[2] * d2 + w[4] * v[3][at];
            }
            s[0][j] = m0;
            s[1][j] = m1;
            u += 3 * CHANNELS_EVEN;
        }
        const int32_t most = lenet_largest(
            s[0][0] + s[0][1] + s[0][2], s[0][1] - s[0][2] + s[0][3],
            s[1][0] + s[1][1] + s[1][2], s[1][1] - s[1][2] + s[1][3]) + output->bias;
        feature[0] = lenet_code(most * (1 << CONV2_LEFT), CONV2_SHIFT, output);
    }
}

static inline int32_t lenet_upper(int32_t s, uint32_t t)
{
    return (int32_t)(t - (uint32_t)s) >> 8;
}

/* An input that is not zero, and where its weights begin. */
typedef struct {
    uint16_t values;
    uint16_t weights;
} lenet_entry;

/* Sums of a dense layer without biases. Weights are [block of eight outputs][pair of inputs], and
 * there [two outputs][input of the pair]: an int16 that is the one's weight and 256 times the
 * other's. So a sum of products of these is S + 256 T, and S is that of their lower bytes. */
static void lenet_dense(const uint8_t *x, int pairs, lenet_entry *list, const int16_t *weights,
                        int32_t *sums, int blocks)
{
    lenet_entry *end = list;
    for (int i = 0; i < 2 * pairs; i++)
        if (x[i]) {
            end->values = x[i];
            end++->weights = (uint16_t)(8 * (i / 2) + (i & 1));
        }
    for (; blocks; blocks--, sums += 8, weights += 8 * pairs) {
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        uint32_t t0 = 0, t1 = 0, t2 = 0, t3 = 0; /* they may wrap, the difference does not */
        for (const lenet_entry *entry = list; entry < end; entry++) {
            const int32_t value = entry->values;
            const int16_t *const w = weights + entry->weights;
            t0 += (uint32_t)(w[0] * value), s0 += (int8_t)w[0] * value;
            t1 += (uint32_t)(w[2] * value), s1 += (int8_t)w[2] * value;
            t2 += (uint32_t)(w[4] * value), s2 += (int8_t)w[4] * value;
            t3 += (uint32_t)(w[6] * value), s3 += (int8_t)w[6] * value;
        }
        sums[0] = s0;
        sums[1] = lenet_upper(s0, t0);
        sums[2] = s1;
        sums[3] = lenet_upper(s1, t1);
        sums[4] = s2;
        sums[5] = lenet_upper(s2, t2);
        sums[6] = s3;
        sums[7] = lenet_upper(s3, t3);
    }
}
