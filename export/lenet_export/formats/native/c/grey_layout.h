 * An image is TALL rows of BROAD floats, from the top and from the left. White ink on black: a pixel
 * from 0, black, to 255 becomes (pixel / 255 - LENET_MEAN) / LENET_STD. A smaller picture first gets
 * LENET_PADDING black pixels on every side. ANSWERS stand for these labels, in this order:
