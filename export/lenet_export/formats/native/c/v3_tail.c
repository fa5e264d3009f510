    for (int i = LENET_PIXELS / 16 * 16; i < LENET_PIXELS; i++) {
        uint32_t bits;
        memcpy(&bits, image + i, sizeof bits);
        bits &= 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
