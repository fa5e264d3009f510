/* ---- Thumb-1, for Cortex-M0 and M0+, in assembly: eight registers compute, the others only hold
 * and add. What it computes is in plain.c. ---- */

/* Store the largest of r8 to r11 where the pointer on the stack says, and go on until its end. */
#define LENET_LARGER(a, b) "cmp " a ", " b "\n bge 2f\n mov " a ", " b "\n 2:\n"
#define LENET_NEXT \
    "mov r2, r8\n mov r3, r9\n" LENET_LARGER("r2", "r3") \
    "mov r3, r10\n" LENET_LARGER("r2", "r3") "mov r3, r11\n" LENET_LARGER("r2", "r3") \
    "ldr r3, [sp, #4]\n stmia r3!, {r2}\n str r3, [sp, #4]\n ldr r2, [sp, #8]\n" \
    "cmp r3, r2\n beq 3f\n bl 1b\n 3:\n"
#define LENET_PUSH \
    ".syntax unified\n push {r4-r7, lr}\n" \
    "mov r4, r8\n mov r5, r9\n mov r6, r10\n mov r7, r11\n push {r4-r7}\n push {r0, r2, r3}\n"
#define LENET_POP \
    "add sp, #12\n pop {r4-r7}\n mov r8, r4\n mov r9, r5\n mov r10, r6\n mov r11, r7\n" \
    "pop {r4-r7, pc}\n"

/* A row of four pixels, at this place of the window, and a filter's row in r2 to r4. */
#define LENET_ROW(s, t, at) \
    "ldr r5, [r0, #" at "]\n muls r5, r2\n add " s ", r5\n" \
    "ldr r5, [r0, #" at "+4]\n mov r6, r5\n muls r6, r3\n add " s ", r6\n muls r5, r2\n" \
    "add " t ", r5\n" \
    "ldr r5, [r0, #" at "+8]\n mov r6, r5\n muls r6, r4\n add " s ", r6\n muls r5, r3\n" \
    "add " t ", r5\n" \
    "ldr r5, [r0, #" at "+12]\n muls r5, r4\n add " t ", r5\n"
#define LENET_ROWS(first, second) \
    "ldmia r1!, {r2, r3, r4, r5}\n mov r4, r5\n" \
    LENET_ROW("r8", "r9", first) LENET_ROW("r10", "r11", second)

LENET_NAKED void lenet_conv1_sums(LENET_IN const lenet_number *window,
                                  LENET_IN const lenet_number *w, LENET_IN int32_t *sums,
                                  LENET_IN int32_t *end)
{
    __asm__ volatile(
        LENET_PUSH
        "1: movs r2, #0\n mov r8, r2\n mov r9, r2\n mov r10, r2\n mov r11, r2\n"
        LENET_ROWS("0", "16") LENET_ROWS("16", "32") LENET_ROWS("32", "48")
        LENET_NEXT LENET_POP);
}

/* A position of the tile: the sum of its channels' products, two at a time. */
#define LENET_ON(s) \
    ".rept " LENET_TEXT(CHANNELS_EVEN) "/2\n ldmia r0!, {r2, r3}\n ldmia r1!, {r4, r5}\n" \
    "muls r2, r4\n adds " s ", r2\n muls r3, r5\n adds " s ", r3\n .endr\n"
#define LENET_ANEW(s) "movs " s ", #0\n" LENET_ON(s)
/* A row of positions: its left output in r6 and its right one in r7. */
#define LENET_OUTPUTS \
    LENET_ANEW("r6") LENET_ANEW("r7") "adds r2, r6, r7\n subs r7, r6, r7\n mov r6, r2\n" \
    LENET_ON("r6") LENET_ON("r7")

LENET_NAKED void lenet_conv2_sums(LENET_IN const lenet_number *tile,
                                  LENET_IN const lenet_number *w, LENET_IN int32_t *sums,
                                  LENET_IN int32_t *end)
{
    __asm__ volatile(
        LENET_PUSH
        "1: ldr r0, [sp]\n" LENET_OUTPUTS "mov r8, r6\n mov r9, r7\n" LENET_OUTPUTS
        "mov r2, r8\n mov r3, r9\n adds r4, r2, r6\n subs r2, r2, r6\n adds r5, r3, r7\n"
        "subs r3, r3, r7\n mov r8, r4\n mov r9, r5\n mov r10, r2\n mov r11, r3\n"
        LENET_OUTPUTS "add r8, r6\n add r9, r7\n" LENET_OUTPUTS "add r10, r6\n add r11, r7\n"
        LENET_NEXT LENET_POP);
}

#include "cortex/plain_dense.c"
