/* Pairs of bfloat16: two inputs, and their weights of sixteen outputs. */
typedef __m512bh bf16_vec;
#define bf16_load(p) ((__m512bh)_mm512_loadu_si512(p))
#define bf16_splat(p) ((__m512bh)_mm512_set1_ps(*(p)))
#define bf16_fma(a, b, c) _mm512_dpbf16_ps(c, a, b)

/* One image's inputs, rounded to pairs where they stand, and the masks of the pairs. Rounded in the
   loop over the pairs, they would keep it waiting after each mispredicted end of a word. */
static inline ATTRIBUTE void bf16_pairs(float *x, uint16_t *masks, int inputs)
{
    for (int v = 0; 32 * v < inputs; v++) {
        const __mmask16 both = 32 * v + 16 < inputs ? 0xffff : 0;
        const __m512 low = _mm512_loadu_ps(x + 32 * v);
        const __m512 high = _mm512_maskz_loadu_ps(both, x + 32 * v + 16);
        const __m512i codes = (__m512i)_mm512_cvtne2ps_pbh(high, low);
        _mm512_storeu_si512(x + 16 * v, codes);
        masks[v] = _mm512_test_epi32_mask(codes, codes);
    }
}
