#include "tiles.c"
/* The same sums of several images, each weight once for a tile of them. */
static KERNEL void ISA_dense(
    const CODE *x, size_t groups, size_t row, const WEIGHT *w, const int32_t *bias,
    size_t outputs, size_t stride, int32_t *sums, size_t n)
{
    if (n == 1) {
        ISA_sparse(x, groups, row, w, bias, outputs, stride, sums, n);
        return;
    }
    size_t f = 0;
    for (; f + TILE * LANES <= outputs; f += TILE * LANES)
        for (size_t i = 0; i < n; i += IMAGES)
            SUM_TILE(x + row * i, groups, row, w + GROUP * f, bias + f, stride,
                     sums + stride * i + f, n - i);
    for (size_t i = 0; i < n; i += IMAGES)
        switch ((outputs - f) / LANES) {
#include "tiles_left.c"
        }
}
