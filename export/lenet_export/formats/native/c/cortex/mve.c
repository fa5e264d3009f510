/* ---- Helium: vectors of sixteen bytes, on Cortex-M55 and M85 ----
 *
 * Activations are int8 here, their codes less 128, and the biases have 128 times the weights. */
#include <arm_mve.h>

typedef int16_t lenet_number;
#include "bytes_constants.c"

/* Rows are four, the fifth takes the place of the first. */
typedef struct {
    int16_t pixels[4][PIXEL_COLUMNS];
    uint32_t ink[4]; /* bits of what four rows of pixels hold */
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
    memcpy(rows->pooled[y & 3] + CHANNELS * x, lenet_conv1_blacks, CHANNELS);
}

static void lenet_conv1(lenet_memory *work, int y, int x)
{
    const int16_t *p[4];
    for (int i = 0; i < 4; i++)
        p[i] = work->now.rows.pixels[(2 * y + i) & 3] + 2 * x;
    int8_t codes[CHANNELS_FOUR];
    for (int k = 0; k < CHANNELS; k += 4) {
        int32x4_t s00 = vdupq_n_s32(0), s01 = s00, s10 = s00, s11 = s00;
#define LENET_TAP(r, j) \
    { \
        const int32x4_t w = vldrhq_s32(lenet_conv1_taps[3 * (r) + (j)] + k); \
        s00 = vmlaq_n_s32(s00, w, p[r][j]); \
        s01 = vmlaq_n_s32(s01, w, p[r][(j) + 1]); \
        s10 = vmlaq_n_s32(s10, w, p[(r) + 1][j]); \
        s11 = vmlaq_n_s32(s11, w, p[(r) + 1][(j) + 1]); \
    }
        LENET_TAP(0, 0) LENET_TAP(0, 1) LENET_TAP(0, 2)
        LENET_TAP(1, 0) LENET_TAP(1, 1) LENET_TAP(1, 2)
        LENET_TAP(2, 0) LENET_TAP(2, 1) LENET_TAP(2, 2)
        const int32x4_t most = vmaxq_s32(vmaxq_s32(s00, s01), vmaxq_s32(s10, s11));
        vstrbq_s32(codes + k, lenet_four(most, 0, lenet_conv1_output + k));
    }
    memcpy(work->now.rows.pooled[y & 3] + CHANNELS * x, codes, CHANNELS);
}

/* Sixteen taps of two outputs at four places; the sums go to the even registers. */
#define LENET_TAPS(first) \
    "vldrb.8 q0, [r1], #16\n vldrb.8 q1, [r3], #16\n vldrb.8 q2, [r5], #16\n" \
    "vldrb.8 q3, [r7], #16\n vldrb.8 q4, [r9], #16\n vldrb.8 q5, [r9], #16\n" \
    "vmladav" first ".s8 r0, q4, q0\n vmladav" first ".s8 r2, q4, q1\n" \
    "vmladav" first ".s8 r4, q4, q2\n vmladav" first ".s8 r6, q4, q3\n" \
    "vmladav" first ".s8 r8, q5, q0\n vmladav" first ".s8 r10, q5, q1\n" \
    "vmladav" first ".s8 r12, q5, q2\n vmladav" first ".s8 lr, q5, q3\n"
#define LENET_LARGER(a, b) "cmp " a ", " b "\n it lt\n movlt " a ", " b "\n"

/* The largest of a pooling window's four sums of conv2, for each output. In assembly, because a sum
 * takes an even register, and there are eight. */
LENET_NAKED void lenet_conv2_sums(LENET_IN const int8_t *tile, LENET_IN const int8_t *w,
                                  LENET_IN int32_t *sums, LENET_IN int32_t *end)
{
    __asm__ volatile(
        "push {r3, r4-r11, lr}\n vpush {d8-d11}\n"
        "mov r9, r1\n mov r11, r2\n mov r1, r0\n"
        "1: add r3, r1, #" LENET_TEXT(CONV2_TAPS) "\n add r5, r3, #" LENET_TEXT(CONV2_TAPS) "\n"
        "add r7, r5, #" LENET_TEXT(CONV2_TAPS) "\n"
        LENET_TAPS("") ".rept " LENET_TEXT(CONV2_TAPS) "/16-1\n" LENET_TAPS("a") ".endr\n"
        LENET_LARGER("r0", "r2") LENET_LARGER("r4", "r6") LENET_LARGER("r0", "r4")
        LENET_LARGER("r8", "r10") LENET_LARGER("r12", "lr") LENET_LARGER("r8", "r12")
        "sub r1, #" LENET_TEXT(CONV2_TAPS) "\n strd r0, r8, [r11], #8\n"
        "ldr r0, [sp, #32]\n cmp r11, r0\n blo 1b\n"
        "vpop {d8-d11}\n add sp, #4\n pop {r4-r11, pc}\n");
}

static void lenet_conv2(lenet_memory *work, int y, int x, uint8_t *features)
{
    lenet_rows *const rows = &work->now.rows;
    for (int i = 0; i < 4; i++)
        for (int r = 0; r < 3; r++)
            memcpy(rows->tile[i] + 3 * CHANNELS * r,
                   rows->pooled[(y + i / 2 + r) & 3] + CHANNELS * (x + i % 2), 3 * CHANNELS);
    lenet_conv2_sums(rows->tile[0], lenet_conv2_taps, work->sums, work->sums + OUTPUTS);
    lenet_codes(work->sums, lenet_conv2_output, CONV2_SHIFT, features, OUTPUTS, 0);
}

/* Sums of a dense layer without biases. Weights are [block of four outputs][sixteen inputs] and
 * there [output][input]. */
static void lenet_dense(lenet_memory *work, const uint8_t *x, int inputs,
                        const int8_t *weights, int outputs)
{
    const int8_t *const begin = (const int8_t *)x, *const end = begin + inputs;
    for (int32_t *sums = work->sums; outputs > 0; outputs -= 4, sums += 4) {
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        for (const int8_t *p = begin; p < end; p += 16, weights += 64) {
            const int8x16_t codes = vldrbq_s8(p);
            s0 = vmladavaq_s8(s0, codes, vldrbq_s8(weights));
            s1 = vmladavaq_s8(s1, codes, vldrbq_s8(weights + 16));
            s2 = vmladavaq_s8(s2, codes, vldrbq_s8(weights + 32));
            s3 = vmladavaq_s8(s3, codes, vldrbq_s8(weights + 48));
        }
        sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
    }
}
