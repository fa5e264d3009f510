/* What lenet.wasm exports beside the functions of lenet.h. */
#include "lenet.c"

/* Feature maps of one image, for people to look at: conv1's [channel][row][column], conv2's
 * [row][column][channel], both after pooling. */
__attribute__((export_name("features"))) void lenet_features(
    const float *image, float *conv1, float *conv2, void *workspace)
{
    (void)image, (void)conv1, (void)conv2, (void)workspace;
#include "features.c"
}

#if defined(__wasm_relaxed_simd__)
/* Whether this engine's relaxed multiply-add rounds once: else the last bit of a square is lost. */
__attribute__((export_name("fuses"))) int lenet_fuses(float one)
{
    typedef float vec __attribute__((vector_size(16)));
    const float up = one + 0x1p-12f, square = one + 0x1p-11f;
    const vec a = {up, up, up, up}, c = {-square, -square, -square, -square};
    return __builtin_wasm_relaxed_madd_f32x4(a, a, c)[0] == 0x1p-24f;
}
#endif
