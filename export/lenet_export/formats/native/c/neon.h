typedef float32x4_t neon_vec;
#define neon_load(p) vld1q_f32(p)
#define neon_store(p, a) vst1q_f32(p, a)
#define neon_zero() vdupq_n_f32(0.0f)
#define neon_splat(p) vld1q_dup_f32(p)
#define neon_add(a, b) vaddq_f32(a, b)
#define neon_sub(a, b) vsubq_f32(a, b)
#define neon_mul(a, b) vmulq_f32(a, b)
#define neon_fma(a, b, c) vfmaq_f32(c, a, b)
#define neon_fma_lane(a, lane, b, c) vfmaq_laneq_f32(c, b, a, lane)
#define neon_keep(a) __asm__("" : "+w"(a))

/* As x86 has it: the second, where either is NaN. */
static inline neon_vec neon_max(neon_vec a, neon_vec b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

static inline uint16_t neon_nonzero(const float *p)
{
    static const uint8_t places[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint16x8_t zero[2];
    for (int i = 0; i < 2; i++)
        zero[i] = vuzp1q_u16(vreinterpretq_u16_u32(vceqzq_f32(vld1q_f32(p + 8 * i))),
                             vreinterpretq_u16_u32(vceqzq_f32(vld1q_f32(p + 8 * i + 4))));
    const uint8x16_t zeros =
        vuzp1q_u8(vreinterpretq_u8_u16(zero[0]), vreinterpretq_u8_u16(zero[1]));
    uint8x16_t bits = vbicq_u8(vld1q_u8(places), zeros);
    bits = vpaddq_u8(bits, bits);
    bits = vpaddq_u8(bits, bits);
    bits = vpaddq_u8(bits, bits);
    return vgetq_lane_u16(vreinterpretq_u16_u8(bits), 0);
}

static inline uint32_t neon_largest(const float *image)
{
    const uint32x4_t magnitude = vdupq_n_u32(0x7fffffff);
    uint32x4_t most = vdupq_n_u32(0);
    for (int i = 0; i < WHOLE; i += 4) {
        const uint32x4_t bits = vreinterpretq_u32_f32(vld1q_f32(image + i));
        most = vmaxq_u32(most, vandq_u32(magnitude, bits));
    }
    uint32_t largest = vmaxvq_u32(most);
#include "v3_tail.c"
    return largest;
}
