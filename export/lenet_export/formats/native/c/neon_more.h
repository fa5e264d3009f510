#define neon_div(a, b) vdivq_f32(a, b)
#define neon_min(a, b) vbslq_f32(vcltq_f32(a, b), a, b)
/* The larger, or NaN where either is. */
#define neon_larger(a, b) vmaxq_f32(a, b)
#define neon_power(t) \
    vreinterpretq_f32_u32(vaddq_u32(vshlq_n_u32(vreinterpretq_u32_f32(t), 23), \
                                    vdupq_n_u32(0x3f800000)))
