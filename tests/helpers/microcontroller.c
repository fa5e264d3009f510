/* Classifies the digits of the file digits.bin, 784 bytes each, and prints of each its class and
 * its logits' bits; then the most bytes of stack that a call took. */
#include <string.h>

#include "lenet.h"
#include "semihosting.h"

#define PAINT 0xa5a5a5a5u

extern uint32_t bss_end[];

static uint8_t pixels[LENET_PIXELS];
static float logits[LENET_LOGITS];
static lenet_workspace workspace;

static void say_number(unsigned number)
{
    char text[12], *digit = text + sizeof text;
    *--digit = 0;
    do
        *--digit = (char)('0' + number % 10);
    while (number /= 10);
    say(digit);
}

static void say_logits(void)
{
    for (int i = 0; i < LENET_LOGITS; i++) {
        char text[10] = " ";
        uint32_t bits;
        memcpy(&bits, logits + i, sizeof bits);
        for (int j = 0; j < 8; j++)
            text[1 + j] = "0123456789abcdef"[bits >> (28 - 4 * j) & 15];
        say(text);
    }
    say("\n");
}

/* Paint what lies between the variables and the stack, but for the words that this call itself may
 * use; what is not painted afterwards was used. */
static __attribute__((noinline)) void paint(void)
{
    const uint32_t *const here = (const uint32_t *)__builtin_frame_address(0) - 8;
    for (uint32_t *word = bss_end; word < here; word++)
        *(volatile uint32_t *)word = PAINT;
}

int main(void)
{
    const int file = open_file("digits.bin", 10);
    if (file < 0) {
        say("digits.bin cannot be opened\n");
        return 1;
    }
    unsigned stack = 0;
    while (read_file(file, pixels, sizeof pixels) == 0) {
        const uint32_t *const top = __builtin_frame_address(0), *word = bss_end;
        paint();
        const int digit = lenet_classify(pixels, logits, &workspace);
        if (digit < 0)
            return 1;
        while (*word == PAINT)
            word++;
        const unsigned used = (unsigned)((const char *)top - (const char *)word);
        stack = used > stack ? used : stack;
        say_number((unsigned)digit);
        say_logits();
    }
    say("stack ");
    say_number(stack);
    say(" workspace ");
    say_number(sizeof workspace);
    say("\n");
    return 0;
}
