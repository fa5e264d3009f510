/* ---- SMLAD: two products of int16 an instruction, on Cortex-M4, M7 and M33 ----
 *
 * In assembly, because these loops need all fourteen registers. What they compute is in plain.c. */
#define lenet_add __sadd16
#define lenet_sub __ssub16

#define LENET_NAKED static __attribute__((naked, noinline))
#define LENET_TEXT(macro) LENET_QUOTED(macro)
#define LENET_QUOTED(text) #text

/* r2 = the larger of the two */
#define LENET_LARGER(a, b) "cmp " a ", " b "\n it lt\n movlt " a ", " b "\n"
/* Of a filter's row (a, b, c) in registers (a, b) and (b, c), a row of four pixels in r6 and r7. */
#define LENET_ROW(s, t, ab, bc) \
    "smlad " s ", r6, " ab ", " s "\n smlabt " s ", r7, " bc ", " s "\n" \
    "smlatb " t ", r6, " ab ", " t "\n smlad " t ", r7, " bc ", " t "\n"
#define LENET_PIXELS_OF_ROW "ldmia r0!, {r6, r7}\n"

LENET_NAKED void lenet_conv1_sums(const int16_t *window, const int16_t *w, int32_t *sums,
                                  int32_t *end)
{
    (void)window, (void)w, (void)sums, (void)end;
    /* The sums go to r2 to r5, the filter to r8 to r12 and lr. */
    __asm__ volatile(
        "push {r2, r3, r4-r11, lr}\n"
        "1: mov r2, #0\n mov r3, #0\n mov r4, #0\n mov r5, #0\n"
        "ldmia r1!, {r8-r12, lr}\n"
        LENET_PIXELS_OF_ROW LENET_ROW("r2", "r3", "r8", "r9")
        LENET_PIXELS_OF_ROW LENET_ROW("r2", "r3", "r10", "r11") LENET_ROW("r4", "r5", "r8", "r9")
        LENET_PIXELS_OF_ROW LENET_ROW("r2", "r3", "r12", "lr") LENET_ROW("r4", "r5", "r10", "r11")
        LENET_PIXELS_OF_ROW LENET_ROW("r4", "r5", "r12", "lr")
        LENET_LARGER("r2", "r3") LENET_LARGER("r4", "r5") LENET_LARGER("r2", "r4")
        "sub r0, #32\n"
        "ldrd r6, r7, [sp]\n str r2, [r6], #4\n str r6, [sp]\n cmp r6, r7\n bne 1b\n"
        "add sp, #8\n pop {r4-r11, pc}\n");
}

/* A pair of channels: four rows of the tile in r6 to r9, a filter's three rows in r10 to r12. */
#define LENET_PAIR(s, t) \
    "ldmia r0!, {r6-r9}\n ldmia r1!, {r10-r12}\n" \
    "smlad " s ", r6, r10, " s "\n smlad " s ", r7, r11, " s "\n smlad " s ", r8, r12, " s "\n" \
    "smlad " t ", r7, r10, " t "\n smlad " t ", r8, r11, " t "\n smlad " t ", r9, r12, " t "\n"
#define LENET_PAIRS(s, t) ".rept " LENET_TEXT(CHANNELS_EVEN) "/2\n" LENET_PAIR(s, t) ".endr\n"

LENET_NAKED void lenet_conv2_sums(const int16_t *tile, const int16_t *w, int32_t *sums,
                                  int32_t *end)
{
    (void)tile, (void)w, (void)sums, (void)end;
    __asm__ volatile(
        "push {r3, r4-r11, lr}\n mov lr, r2\n"
        "1: mov r2, #0\n mov r3, #0\n mov r4, #0\n mov r5, #0\n"
        LENET_PAIRS("r2", "r3")
        LENET_PAIRS("r4", "r5")
        "add r2, r2, r4\n sub r4, r2, r4, lsl #1\n add r3, r3, r5\n sub r5, r3, r5, lsl #1\n"
        LENET_PAIRS("r2", "r3")
        LENET_PAIRS("r4", "r5")
        LENET_LARGER("r2", "r3") LENET_LARGER("r4", "r5") LENET_LARGER("r2", "r4")
        "sub r0, #32*" LENET_TEXT(CHANNELS_EVEN) "\n"
        "str r2, [lr], #4\n ldr r3, [sp]\n cmp lr, r3\n bne 1b\n"
        "add sp, #4\n pop {r4-r11, pc}\n");
}

/* Two weights of a pair of inputs, which are in r1. */
#define LENET_TWO(w, s, t) \
    "smlad " t ", " w ", r1, " t "\n sxtb16 " w ", " w "\n smlad " s ", " w ", r1, " s "\n"

LENET_NAKED void lenet_dense_sums(const lenet_entry *list, const int16_t *weights, int32_t *sums)
{
    (void)list, (void)weights, (void)sums;
    __asm__ volatile(
        "push {r2, r3, r4-r11, lr}\n mov r2, r1\n"
        "mov r4, #0\n mov r5, #0\n mov r6, #0\n mov r7, #0\n"
        "mov r8, #0\n mov r9, #0\n mov r10, #0\n mov r11, #0\n"
        "1: ldmia r0!, {r1, r12}\n cbz r1, 2f\n add r12, r2\n"
        "ldmia r12!, {r3, lr}\n" LENET_TWO("r3", "r4", "r8") LENET_TWO("lr", "r5", "r9")
        "ldmia r12, {r3, lr}\n" LENET_TWO("r3", "r6", "r10") LENET_TWO("lr", "r7", "r11")
        "b 1b\n"
        "2: ldr r0, [sp]\n stmia r0, {r4-r11}\n"
        "add sp, #8\n pop {r4-r11, pc}\n");
}
