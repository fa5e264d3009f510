/* ---- Helium: vectors of sixteen bytes, on Cortex-M55 and M85 ----
 *
 * Activations are int8 here, their codes less 128, and the biases have 128 times the weights. */
#include <arm_mve.h>

#include "bytes_constants.c"

/* Rows are four, the fifth takes the place of the first. */
typedef struct {
    int16_t pixels[4][PIXEL_COLUMNS];
    int16_t window[4][4];
    int8_t pooled[4][ROWS * CHANNELS];
    int8_t tile[4][CONV2_TAPS]; /* a pooling window's four places, each with all that it sees */
} lenet_rows;

typedef struct {
    struct {
        lenet_rows rows;
    } now;
    int32_t sums[WIDEST];
#include "arrays.c"
} lenet_memory;

#define LENET_APART 1
#define LENET_FEATURES(x, y, t) ((x) + OUTPUTS * (TILES * (y) + (t)))

/* The codes of four sums times 2^shift, less 128; see lenet_code. */
static int32x4_t lenet_four(int32x4_t sum, int shift, const lenet_output *output)
{
    const uint32x4_t places = vidupq_n_u32(0, 4) * 3;
    const int32_t *const fields = &output->bias;
    sum = vshlq_r_s32(vaddq_s32(sum, vldrwq_gather_offset_s32(fields, places)), shift);
    int32x4_t code = vmulhq_s32(sum, vldrwq_gather_offset_s32(fields + 1, places));
    code = vaddq_n_s32(code, (1 << 11) + 8);
    const mve_pred16_t close = vcmpeqq_n_s32(vandq_s32(code, vdupq_n_s32(0xff0)), 0);
    code = vminq_s32(vmaxq_s32(vshrq_n_s32(code, 12), vdupq_n_s32(0)), vdupq_n_s32(255));
    if (close) {
        int32_t sums[4], codes[4];
        vstrwq_s32(sums, sum);
        vstrwq_s32(codes, code);
        for (int i = 0; i < 4; i++)
            if (close >> 4 * i & 1)
                codes[i] = lenet_exact(sums[i] >> shift, output[i].scale);
        code = vldrwq_s32(codes);
    }
    return vsubq_n_s32(code, 128);
}

static void lenet_codes(const int32_t *sums, const lenet_output *output, int shift, uint8_t *codes,
                        int count, int inputs)
{
    (void)inputs; /* what lies behind the codes has weights of zero */
    for (int i = 0; i < count; i += 4)
        vstrbq_s32((int8_t *)codes + i, lenet_four(vldrwq_s32(sums + i), shift, output + i));
}

static void lenet_conv1_black(lenet_rows *rows, int y, int x)
{
    for (int k = 0; k < CHANNELS; k++)
        rows->pooled[y & 3][CHANNELS * x + k] = (int8_t)(lenet_conv1_blacks[k] - 128);
}

static void lenet_conv1(lenet_memory *work, int y, int x)
{
    const int16_t *const p = work->now.rows.window[0];
    int8_t codes[CHANNELS_FOUR];
    for (int k = 0; k < CHANNELS; k += 4) {
        int32x4_t s00 = vdupq_n_s32(0), s01 = s00, s10 = s00, s11 = s00;
#define LENET_TAP(r, j) \
    { \
        const int32x4_t w = vldrhq_s32(lenet_conv1_taps[3 * (r) + (j)] + k); \
        s00 = vmlaq_n_s32(s00, w, p[4 * (r) + (j)]); \
        s01 = vmlaq_n_s32(s01, w, p[4 * (r) + (j) + 1]); \
        s10 = vmlaq_n_s32(s10, w, p[4 * (r) + (j) + 4]); \
        s11 = vmlaq_n_s32(s11, w, p[4 * (r) + (j) + 5]); \
    }
        LENET_TAP(0, 0) LENET_TAP(0, 1) LENET_TAP(0, 2)
        LENET_TAP(1, 0) LENET_TAP(1, 1) LENET_TAP(1, 2)
        LENET_TAP(2, 0) LENET_TAP(2, 1) LENET_TAP(2, 2)
        const int32x4_t most = vmaxq_s32(vmaxq_s32(s00, s01), vmaxq_s32(s10, s11));
        vstrbq_s32(codes + k, lenet_four(most, 0, lenet_conv1_output + k));
    }
    memcpy(work->now.rows.pooled[y & 3] + CHANNELS * x, codes, CHANNELS);
}

static void lenet_conv2(lenet_memory *work, int y, int x, uint8_t *features)
{
    lenet_rows *const rows = &work->now.rows;
    for (int i = 0; i < 4; i++)
        for (int r = 0; r < 3; r++)
            memcpy(rows->tile[i] + 3 * CHANNELS * r,
                   rows->pooled[(y + i / 2 + r) & 3] + CHANNELS * (x + i % 2), 3 * CHANNELS);
    const int8_t *w = lenet_conv2_taps;
    for (int k = 0; k < OUTPUTS; k++, w += CONV2_TAPS) {
        int32_t s00 = 0, s01 = 0, s10 = 0, s11 = 0;
        for (int i = 0; i < CONV2_TAPS; i += 16) {
            const int8x16_t taps = vldrbq_s8(w + i);
            s00 = vmladavaq_s8(s00, taps, vldrbq_s8(rows->tile[0] + i));
            s01 = vmladavaq_s8(s01, taps, vldrbq_s8(rows->tile[1] + i));
            s10 = vmladavaq_s8(s10, taps, vldrbq_s8(rows->tile[2] + i));
            s11 = vmladavaq_s8(s11, taps, vldrbq_s8(rows->tile[3] + i));
        }
        const int32_t most = s00 > s01 ? s00 : s01, more = s10 > s11 ? s10 : s11;
        work->sums[k] = most > more ? most : more;
    }
    lenet_codes(work->sums, lenet_conv2_output, CONV2_SHIFT, features, OUTPUTS, 0);
}

/* Sums of a dense layer without biases. Weights are [output][input]. */
static void lenet_dense(lenet_memory *work, const uint8_t *x, int inputs, const lenet_weights *weights,
                        int outputs)
{
    inputs = (inputs + 15) / 16 * 16;
    for (int32_t *sums = work->sums; outputs > 0; outputs -= 4, sums += 4, weights += 4 * inputs) {
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        const int8_t *w0 = weights, *w1 = w0 + inputs, *w2 = w1 + inputs, *w3 = w2 + inputs;
        for (int i = 0; i < inputs; i += 16) {
            const int8x16_t codes = vldrbq_s8((const int8_t *)x + i);
            s0 = vmladavaq_s8(s0, codes, vldrbq_s8(w0 + i));
            s1 = vmladavaq_s8(s1, codes, vldrbq_s8(w1 + i));
            s2 = vmladavaq_s8(s2, codes, vldrbq_s8(w2 + i));
            s3 = vmladavaq_s8(s3, codes, vldrbq_s8(w3 + i));
        }
        sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
    }
}
