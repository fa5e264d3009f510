/* 28x28 pixels to a padded and normalised image of 32x32, for networks that take that. */
#include <stdint.h>

static float image[32 * 32];

static void normalise(const uint8_t *pixels) {
    for (int i = 0; i < 32 * 32; i++) {
        const int y = i / 32 - 2, x = i % 32 - 2, inside = y >= 0 && y < 28 && x >= 0 && x < 28;
        image[i] = ((inside ? (float)pixels[28 * y + x] : 0.0f) / 255.0f - 0.1307f) / 0.3081f;
    }
}
