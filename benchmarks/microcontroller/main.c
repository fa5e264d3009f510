/* Classifies the bundled digits ROUNDS times, then says what a debugger would be asked for.
 *
 * Over semihosting, a line each: the logits of all digits as hexadecimal bytes, and the deepest
 * stack of `setup` and of `classify` in bytes, found by painting what lies below main's frame.
 */
#include <stddef.h>
#include <stdint.h>

#include "digits.h"
#include "harness.h"
#include "semihosting.h"

enum { PAINT = 0xA5, DEPTH = 32768 };

static void print_bytes(const char *title, const uint8_t *bytes, size_t count) {
    say(title);
    for (size_t i = 0; i < count; i++) {
        char hex[3] = {"0123456789abcdef"[bytes[i] >> 4], "0123456789abcdef"[bytes[i] & 15], 0};
        say(hex);
    }
    say("\n");
}

static inline __attribute__((always_inline)) void paint(volatile uint8_t *stack) {
    for (size_t i = 0; i < DEPTH; i++)
        stack[i] = PAINT;
}

static inline __attribute__((always_inline)) uint32_t used(volatile uint8_t *stack) {
    size_t i = 0;
    while (i < DEPTH && stack[i] == PAINT)
        i++;
    return (uint32_t)(DEPTH - i);
}

int main(void) {
    volatile uint8_t *stack; /* what lies below this function's frame, for its callees */
    __asm volatile("mov %0, sp" : "=r"(stack));
    stack -= DEPTH;
    static LOGIT logits[DIGITS][10];
    uint32_t depth[2];
    paint(stack);
    const int failure = setup();
    if (failure)
        print_bytes("setup failed ", (const uint8_t *)&failure, sizeof failure);
    depth[0] = used(stack);
    paint(stack);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < DIGITS; i++)
            classify(digits[i], logits[i]);
    depth[1] = used(stack);
    for (int i = 0; i < DIGITS; i++)
        print_bytes("logits ", (const uint8_t *)logits[i], sizeof logits[i]);
    print_bytes("stack ", (const uint8_t *)depth, sizeof depth);
    return 0;
}
