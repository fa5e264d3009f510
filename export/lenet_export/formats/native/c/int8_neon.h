#include "int8_arm.h"
#define ISA_sub(a, b) vsubq_s32(a, b)
#define neon_halves(a) vreinterpretq_s16_s32(a)
#define ISA_add16(a, b) vreinterpretq_s32_s16(vaddq_s16(neon_halves(a), neon_halves(b)))
#define ISA_sub16(a, b) vreinterpretq_s32_s16(vsubq_s16(neon_halves(a), neon_halves(b)))
#define ISA_quarter(a) vshrq_n_s32(a, 2)
#define ISA_pair(a, b) vsliq_n_s32(a, b, 16)
#define ISA_put(to, a) vst1_s16(to, vmovn_s32(a))

static inline ISA_vec ISA_dot(ISA_vec sum, ISA_vec v, ISA_vec w)
{
    const int16x8_t a = neon_halves(v), b = neon_halves(w);
    const int32x4_t low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
    return vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(a, b)));
}

static inline unsigned ISA_nonzero(const int16_t *p)
{
    static const uint32_t places[4] = {1, 2, 4, 8};
    const uint32x4_t pairs = vreinterpretq_u32_s16(vld1q_s16(p));
    return vaddvq_u32(vandq_u32(vtstq_u32(pairs, pairs), vld1q_u32(places)));
}
