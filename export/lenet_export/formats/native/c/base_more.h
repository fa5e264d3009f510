#if defined(LENET_VECTORS)
#define base_div(a, b) ((a) / (b))
static inline base_vec base_min(base_vec a, base_vec b)
{
    const base_bits less = (base_bits)(a < b);
    return (base_vec)(((base_bits)a & less) | ((base_bits)b & ~less));
}
/* The larger, or NaN where either is. */
static inline base_vec base_larger(base_vec a, base_vec b)
{
    const base_bits first = (base_bits)(a > b) | (base_bits)(a != a);
    return (base_vec)(((base_bits)a & first) | ((base_bits)b & ~first));
}
static inline base_vec base_power(base_vec t)
{
    return (base_vec)(((base_words)t << 23) + 0x3f800000u);
}
#else
BASE_WORD(base_div, a.lane[i] / b.lane[i])
BASE_WORD(base_min, a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i])
/* The larger, or NaN where either is. */
BASE_WORD(base_larger, a.lane[i] > b.lane[i] || a.lane[i] != a.lane[i] ? a.lane[i] : b.lane[i])
static inline base_vec base_power(base_vec t)
{
    uint32_t bits[4];
    memcpy(bits, &t, sizeof bits);
    for (int i = 0; i < 4; i++)
        bits[i] = (bits[i] << 23) + 0x3f800000u;
    memcpy(&t, bits, sizeof bits);
    return t;
}
#endif
