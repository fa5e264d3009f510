/* Sums of four products each: Armv8.2's SDOT takes signed bytes, so codes are stored less 128, and
 * biases hold 128 times the sum of their weights more. */
#if defined(__clang__) && __clang_major__ < 16
#define NEONDOT_TARGET __attribute__((target("dotprod")))
static inline NEONDOT_TARGET int32x4_t neondot_sdot(int32x4_t sum, int8x16_t a, int8x16_t b)
{
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(a), "w"(b));
    return sum;
}
#else
#define NEONDOT_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#define neondot_sdot(sum, a, b) vdotq_s32(sum, a, b)
#endif

static int neondot_here(void)
{
#if defined(__ARM_FEATURE_DOTPROD) || defined(__APPLE__)
    return 1;
#elif defined(__linux__)
    return (getauxval(AT_HWCAP) & 1ul << 20) != 0; /* HWCAP_ASIMDDP */
#else
    return 0;
#endif
}

#include "int8_arm.h"
#define ISA_dot(sum, v, w) neondot_sdot(sum, vreinterpretq_s8_s32(v), vreinterpretq_s8_s32(w))
#define ISA_nonzero(p) ((void)(p), 15u) /* a code that is 0 has a product, too */

static inline ATTRIBUTE ISA_vec ISA_quad(ISA_vec a, ISA_vec b, ISA_vec c, ISA_vec d)
{
    const ISA_vec low = vsliq_n_s32(a, b, 8), high = vsliq_n_s32(c, d, 8);
    return veorq_s32(vsliq_n_s32(low, high, 16), vdupq_n_s32((int32_t)0x80808080u));
}
#define ISA_twos(to, a) \
    vst1_u16((uint16_t *)(void *)(to), vmovn_u32(vreinterpretq_u32_s32(a)))
static inline ATTRIBUTE void ISA_put(uint8_t *to, ISA_vec a)
{
    const uint32_t codes = vget_lane_u32(
        vreinterpret_u32_u8(vmovn_u16(vcombine_u16(vmovn_u32(vreinterpretq_u32_s32(a)),
                                                   vdup_n_u16(0)))), 0) ^ 0x80808080u;
    memcpy(to, &codes, sizeof codes);
}

