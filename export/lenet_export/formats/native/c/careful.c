/* Features of an image with NaN, infinities or pixels of 2^64 and more, by direct convolution:
 * there, differences of pixels would make NaN where there is none. */
#define LENET_TAME 0x5f800000u   /* bits of 2^64 */
#define LENET_FINITE 0x7f800000u /* bits of infinity */

static float lenet_larger(float a, float b)
{
    return a > b || a != a ? a : b; /* NaN wins, as in PyTorch's pooling */
}

static void lenet_careful(const float *image, float *features, float *pooled)
{
    for (int k = 0; k < CHANNELS; k++)
        for (int y = 0; y < 15; y++)
            for (int x = 0; x < 15; x++) {
                float most = 0;
                for (int i = 0; i < 4; i++) {
                    const float *const corner = image + 32 * (2 * y + i / 2) + 2 * x + i % 2;
                    float sum = 0;
                    for (int j = 0; j < 9; j++)
                        sum = lenet_fma(lenet_filter1[k][j], corner[32 * (j / 3) + j % 3], sum);
                    most = lenet_larger(sum + lenet_conv1_bias[k], most);
                }
                pooled[(15 * k + y) * 15 + x] = most;
            }
    memset(features, 0, FEATURES * sizeof *features);
    for (int k = 0; k < OUTPUTS; k++)
        for (int y = 0; y < 6; y++)
            for (int x = 0; x < 6; x++) {
                float most = 0;
                for (int i = 0; i < 4; i++) {
                    float sum = 0;
                    for (int c = 0; c < CHANNELS; c++)
                        for (int j = 0; j < 9; j++) {
                            const int row = 2 * y + i / 2 + j / 3, column = 2 * x + i % 2 + j % 3;
                            sum = lenet_fma(lenet_filter2[k][c][j],
                                            pooled[(15 * c + row) * 15 + column], sum);
                        }
                    most = lenet_larger(sum + lenet_conv2_bias[k / 16][k % 16], most);
                }
                features[(6 * y + x) * WIDE + k] = most;
            }
}
