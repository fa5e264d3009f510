 * An image is PLANES planes, red, green and blue, of TALL rows of BROAD floats, from the top and from
 * the left. A pixel from 0 to 255 of plane c becomes (pixel / 255 - LENET_MEAN[c]) / LENET_STD[c],
 * where both macros are the lists of an array. A smaller picture first gets LENET_PADDING black
 * pixels on every side. ANSWERS stand for these labels, in this order:
