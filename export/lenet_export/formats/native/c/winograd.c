/* Of Winograd's transforms. */
static const float lenet_2 = 2, lenet_4 = 4, lenet_8 = 8, lenet_minus_2 = -2, lenet_minus_4 = -4;

