static inline uint32_t base_largest(const float *image)
{
    uint32_t largest = 0;
    for (int i = 0; i < LENET_PIXELS; i++) {
        uint32_t bits;
        memcpy(&bits, image + i, sizeof bits);
        bits &= 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}
