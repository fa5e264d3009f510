typedef int32x4_t ISA_vec;
typedef float32x4_t ISA_f32;
#define ISA_load(p) vreinterpretq_s32_s8(vld1q_s8((const int8_t *)(const void *)(p)))
#define ISA_hold(p) ISA_load(p)
#define ISA_store(p, a) vst1q_s8((int8_t *)(void *)(p), vreinterpretq_s8_s32(a))
#define ISA_splat(p) vdupq_n_s32(lenet_load32(p))
#define ISA_zero() vdupq_n_s32(0)
#define ISA_add(a, b) vaddq_s32(a, b)
#define ISA_max(a, b) vmaxq_s32(a, b)
#define ISA_firsts(a, b) \
    vreinterpretq_s32_s16(vtrn1q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b)))
#define ISA_floats(p) vld1q_f32(p)
#define ISA_float(p) vld1q_dup_f32(p)
#define ISA_code(sum, scale) \
    vcvtnq_s32_f32(vmaxq_f32( \
        vminq_f32(vmulq_f32(vcvtq_f32_s32(sum), scale), vdupq_n_f32(255.0f)), vdupq_n_f32(0.0f)))

/* Pairs of int16: the first ones of all lanes, then the second ones, and so multiplied by each of
 * the two weights. */
static inline ATTRIBUTE int16x8_t ISA_apart(ISA_vec a)
{
    const int16x8_t pairs = vreinterpretq_s16_s32(a);
    return vcombine_s16(vget_low_s16(vuzp1q_s16(pairs, pairs)),
                        vget_low_s16(vuzp2q_s16(pairs, pairs)));
}
static inline ATTRIBUTE ISA_vec ISA_pairs(ISA_vec sum, ISA_vec v, ISA_vec w)
{
    const int16x8_t values = ISA_apart(v);
    const int16x4_t weights = vget_low_s16(vreinterpretq_s16_s32(w));
    sum = vmlal_lane_s16(sum, vget_low_s16(values), weights, 0);
    return vmlal_high_lane_s16(sum, values, weights, 1);
}

/* Codes of the pixels, and the bits of the largest magnitude. */
static KERNEL uint32_t ISA_input(const float *image, int16_t *codes)
{
    const float32x4_t scale = vdupq_n_f32(LENET_INPUT_SCALE);
    uint32x4_t most = vdupq_n_u32(0);
    for (int i = 0; i < LENET_PIXELS; i += 8) {
        const float32x4_t a = vld1q_f32(image + i), b = vld1q_f32(image + i + 4);
        most = vmaxq_u32(most, vreinterpretq_u32_f32(vabsq_f32(a)));
        most = vmaxq_u32(most, vreinterpretq_u32_f32(vabsq_f32(b)));
        const int16x4_t low = vqmovn_s32(vcvtnq_s32_f32(vmulq_f32(a, scale)));
        const int16x4_t high = vqmovn_s32(vcvtnq_s32_f32(vmulq_f32(b, scale)));
        vst1q_s16(codes + i, vcombine_s16(low, high));
    }
    return vmaxvq_u32(most);
}
