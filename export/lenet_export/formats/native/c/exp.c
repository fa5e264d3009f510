/* Of e to a power: log2(e); 1.5 * 2^23, whose sum with a number holds it rounded in the low bits;
 * minus ln(2) in two parts; Cephes' polynomial; and numbers of sigmoid and tanh. */
static const float lenet_exp[] = {
    1.44269504f, 12582912.0f, -0.693359375f, 2.12194440e-4f,
    1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
    4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f,
    1.0f, 2.0f, 88.0f, -87.0f, 18.1f, -18.1f,
};
