/* Classifies the picture of digit.h, and prints it, its digit and the ten logits. */
#include <string.h>

#include "digit.h"
#include "lenet.h"
#include "semihosting.h"

#define BAR 40 /* characters */

static void say_picture(void)
{
    for (int y = 0; y < LENET_SIDE; y++) {
        char line[2 * LENET_SIDE + 2];
        for (int x = 0; x < LENET_SIDE; x++)
            line[2 * x] = line[2 * x + 1] = picture[y][x]; /* characters are twice as high as wide */
        line[2 * LENET_SIDE] = '\n';
        line[2 * LENET_SIDE + 1] = 0;
        say(line);
    }
}

/* A bar from the least logit to the largest. */
static void say_logit(int class, const float *logits)
{
    float least = logits[0], largest = logits[0];
    for (int i = 1; i < LENET_LOGITS; i++) {
        least = logits[i] < least ? logits[i] : least;
        largest = logits[i] > largest ? logits[i] : largest;
    }
    const float range = largest > least ? largest - least : 1.0f;
    const int length = (int)((logits[class] - least) / range * BAR);
    char line[BAR + 5] = "0 ";
    line[0] = (char)('0' + class);
    memset(line + 2, '#', (size_t)length);
    line[2 + length] = '\n';
    line[3 + length] = 0;
    say(line);
}

int main(void)
{
    static lenet_workspace workspace;
    static uint8_t pixels[LENET_PIXELS];
    float logits[LENET_LOGITS];
    for (int i = 0; i < LENET_PIXELS; i++) {
        const char *shade = strchr(shades, picture[i / LENET_SIDE][i % LENET_SIDE]);
        pixels[i] = (uint8_t)(shade ? 255 * (shade - shades) / (int)(sizeof shades - 2) : 0);
    }
    const int digit = lenet_classify(pixels, logits, &workspace);
    if (digit < 0)
        return 1;

    say_picture();
    for (int class = 0; class < LENET_LOGITS; class++)
        say_logit(class, logits);
    say("\n" CORE ", lenet-deploy ");
    say(lenet_version);
    char answer[] = ": this is a 0.\n";
    *strchr(answer, '0') = (char)('0' + digit);
    say(answer);
    return 0;
}
