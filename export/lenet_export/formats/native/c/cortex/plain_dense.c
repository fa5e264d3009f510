/* A block of eight outputs: four sums S, then the four sums S + 256 T, which may wrap. */
static void lenet_dense_sums(const lenet_entry *list, const int16_t *weights, int32_t *sums)
{
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    uint32_t t0 = 0, t1 = 0, t2 = 0, t3 = 0;
    for (; list->values; list++) {
        const int16_t *const w = weights + list->weights / 2;
#define LENET_ADD(value, at) \
    t0 += (uint32_t)(w[at] * value), s0 += (int8_t)w[at] * value; \
    t1 += (uint32_t)(w[2 + at] * value), s1 += (int8_t)w[2 + at] * value; \
    t2 += (uint32_t)(w[4 + at] * value), s2 += (int8_t)w[4 + at] * value; \
    t3 += (uint32_t)(w[6 + at] * value), s3 += (int8_t)w[6 + at] * value;
        const int32_t first = list->values & 0xffff, second = list->values >> 16;
        if (first) {
            LENET_ADD(first, 0)
        }
        if (second) {
            LENET_ADD(second, 1)
        }
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
    sums[4] = (int32_t)t0, sums[5] = (int32_t)t1, sums[6] = (int32_t)t2, sums[7] = (int32_t)t3;
}
