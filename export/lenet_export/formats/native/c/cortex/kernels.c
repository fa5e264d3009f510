/* ---- pairs of int16: two products an instruction on Cortex-M4, M7 and M33 ---- */
#if defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
#define LENET_STEP 2
#define lenet_smlad __smlad
#define lenet_smlabt(a, b, sum) __smlabt(a, b, sum)
#define lenet_smlatb(a, b, sum) __smlatb(a, b, sum)
#define lenet_sxtb16(a) __sxtb16((uint8x4_t)(a))
#define lenet_add __sadd16
#define lenet_sub __ssub16
#elif defined(LENET_EMULATE_DSP) /* the same in C, to try the kernels elsewhere */
#define LENET_STEP 2
static int32_t lenet_low(int32_t a) { return (int16_t)a; }
static int32_t lenet_high(int32_t a) { return a >> 16; }
static int32_t lenet_both(int32_t low, int32_t high)
{
    return (int32_t)(((uint32_t)high << 16) | ((uint32_t)low & 0xffff));
}
static int32_t lenet_sum(int32_t a, int32_t b) { return (int32_t)((uint32_t)a + (uint32_t)b); }
static int32_t lenet_smlad(int32_t a, int32_t b, int32_t sum)
{
    sum = lenet_sum(sum, lenet_low(a) * lenet_low(b));
    return lenet_sum(sum, lenet_high(a) * lenet_high(b));
}
static int32_t lenet_smlabt(int32_t a, int32_t b, int32_t sum)
{
    return lenet_sum(sum, lenet_low(a) * lenet_high(b));
}
static int32_t lenet_smlatb(int32_t a, int32_t b, int32_t sum) { return lenet_smlabt(b, a, sum); }
static int32_t lenet_sxtb16(int32_t a) { return lenet_both((int8_t)a, (int8_t)(a >> 16)); }
static int32_t lenet_add(int32_t a, int32_t b)
{
    return lenet_both(lenet_low(a) + lenet_low(b), lenet_high(a) + lenet_high(b));
}
static int32_t lenet_sub(int32_t a, int32_t b)
{
    return lenet_both(lenet_low(a) - lenet_low(b), lenet_high(a) - lenet_high(b));
}
#else
#define LENET_STEP 1
#define lenet_add(a, b) ((a) + (b))
#define lenet_sub(a, b) ((a) - (b))
#endif

/* The larger, without a branch; their difference fits. */
static inline int32_t lenet_larger(int32_t a, int32_t b) { return a > b ? a : b; }

static inline int32_t lenet_largest(int32_t a, int32_t b, int32_t c, int32_t d)
{
    return lenet_larger(lenet_larger(a, b), lenet_larger(c, d));
}

#if LENET_STEP == 2
static inline int32_t lenet_load(const int16_t *p)
{
    int32_t two;
    memcpy(&two, __builtin_assume_aligned(p, 4), sizeof two);
    return two;
}
static inline void lenet_store(int16_t *p, int32_t two)
{
    memcpy(__builtin_assume_aligned(p, 4), &two, sizeof two);
}
static inline int32_t lenet_ink(const int16_t *p) { return lenet_load(p); }

/* All channels of conv1 at a pixel of its pooled output. Of a filter's row (a, b, c) the weights
 * are (a, b) and (b, c). */
static void lenet_conv1_pixel(const int16_t *const rows[4], int x, int16_t *pooled)
{
    const int32_t p0 = lenet_load(rows[0] + x), q0 = lenet_load(rows[0] + x + 2);
    const int32_t p1 = lenet_load(rows[1] + x), q1 = lenet_load(rows[1] + x + 2);
    const int32_t p2 = lenet_load(rows[2] + x), q2 = lenet_load(rows[2] + x + 2);
    const int32_t p3 = lenet_load(rows[3] + x), q3 = lenet_load(rows[3] + x + 2);
    for (int c = 0; c < CHANNELS; c++) {
        const int16_t *const w = lenet_conv1[c][0];
        int32_t ab = lenet_load(w), bc = lenet_load(w + 2);
        int32_t s00 = lenet_conv1_output[c].bias, s01 = s00, s10 = s00, s11 = s00;
#define LENET_ROW(s, t, p, q) \
    s = lenet_smlabt(q, bc, lenet_smlad(p, ab, s)); \
    t = lenet_smlad(q, bc, lenet_smlatb(p, ab, t));
        LENET_ROW(s00, s01, p0, q0)
        LENET_ROW(s10, s11, p1, q1)
        ab = lenet_load(w + 4), bc = lenet_load(w + 6);
        LENET_ROW(s00, s01, p1, q1)
        LENET_ROW(s10, s11, p2, q2)
        ab = lenet_load(w + 8), bc = lenet_load(w + 10);
        LENET_ROW(s00, s01, p2, q2)
        LENET_ROW(s10, s11, p3, q3)
        const lenet_output *const output = lenet_conv1_output + c;
        const uint8_t code = lenet_code(lenet_largest(s00, s01, s10, s11), 0, output);
        pooled[c] = (int16_t)(code - lenet_conv1_black[c]);
    }
}

/* All outputs of conv2 at a pixel of its pooled output, from four rows of Winograd's domain. */
static void lenet_conv2_tile(const int16_t *const v[4], uint8_t *feature)
{
    const int16_t *u = lenet_conv2;
    const int16_t *const v0 = v[0], *const v1 = v[1], *const v2 = v[2], *const v3 = v[3];
    for (int k = 0; k < OUTPUTS; k++, u += 12 * CHANNELS_EVEN, feature += 2) {
        const lenet_output *const output = lenet_conv2_output + k;
        int32_t s00 = output->bias, s01 = s00, s10 = s00, s11 = s00, m0, m1;
#define LENET_PRODUCTS(at, w) \
    { \
        const int32_t a = lenet_load(u + (w)), b = lenet_load(u + (w) + 2), \
                      c = lenet_load(u + (w) + 4); \
        const int32_t d0 = lenet_load(v0 + (at)), d1 = lenet_load(v1 + (at)), \
                      d2 = lenet_load(v2 + (at)), d3 = lenet_load(v3 + (at)); \
        m0 = lenet_smlad(d2, c, lenet_smlad(d1, b, lenet_smlad(d0, a, m0))); \
        m1 = lenet_smlad(d3, c, lenet_smlad(d2, b, lenet_smlad(d1, a, m1))); \
    }
#include "conv2_steps.c"
        feature[0] = lenet_code(lenet_largest(s00, s01, s10, s11) * (1 << CONV2_LEFT), CONV2_SHIFT, output);
    }
}

/* A pair of inputs that are not zero, and where its weights begin. */
typedef struct {
    int32_t values;
    int32_t weights;
} lenet_entry;

/* Sums of a dense layer without biases. Weights are [block of eight outputs][pair of inputs], and
 * there [two outputs][input of the pair]: an int16 that is the one's weight and 256 times the
 * other's. So a sum of products of these is S + 256 T, and S is that of their lower bytes. */
static void lenet_dense(const uint8_t *x, int pairs, lenet_entry *list, const int16_t *weights,
                        int32_t *sums, int blocks)
{
    lenet_entry *end = list;
    for (int i = 0; i < pairs; i++)
        if (x[2 * i] | x[2 * i + 1]) {
            end->values = x[2 * i] | x[2 * i + 1] << 16;
            end++->weights = 8 * i;
        }
    for (; blocks; blocks--, sums += 8, weights += 8 * pairs) {
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, t0 = 0, t1 = 0, t2 = 0, t3 = 0;
        for (const lenet_entry *entry = list; entry < end; entry++) {
            const int32_t values = entry->values;
            const int16_t *const w = weights + entry->weights;
#define LENET_TWO(s, t, at) \
    { \
        const int32_t both = lenet_load(w + (at)); \
        t = lenet_smlad(both, values, t); \
        s = lenet_smlad(lenet_sxtb16(both), values, s); \
    }
            LENET_TWO(s0, t0, 0)
            LENET_TWO(s1, t1, 2)
            LENET_TWO(s2, t2, 4)
            LENET_TWO(s3, t3, 6)
        }
#define LENET_APART(s, t, at) \
    sums[at] = s; \
    sums[(at) + 1] = (int32_t)((uint32_t)t - (uint32_t)s) >> 8;
        LENET_APART(s0, t0, 0)
        LENET_APART(s1, t1, 2)
        LENET_APART(s2, t2, 4)
        LENET_APART(s3, t3, 6)
    }
}
#else
#include "cortex/plain.c"
#endif
