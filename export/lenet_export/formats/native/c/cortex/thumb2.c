/* ---- Thumb-2, in assembly, because these loops need all fourteen registers ----
 *
 * With SMLAD, two products of int16 an instruction, on Cortex-M4, M7 and M33; else with MLA. What
 * they compute is in plain.c. */

/* r2 = the larger of the two */
#define LENET_LARGER(a, b) "cmp " a ", " b "\n it lt\n movlt " a ", " b "\n"
/* Store the sum in r2 where the pointer on the stack says, and go on until its end. */
#define LENET_NEXT \
    "ldrd r6, r7, [sp]\n str r2, [r6], #4\n str r6, [sp]\n cmp r6, r7\n bne 1b\n"

#if defined(__ARM_FEATURE_DSP)
#define LENET_UNITS CHANNELS_EVEN/2
#define LENET_MUL "smuad "
#define LENET_MLA "smlad "
/* A row of four pixels in r6 and r7, and a filter's row (a, b, c) as (a, b) and (b, c). */
#define LENET_LOAD_FILTER "ldmia r1!, {r8-r12, lr}\n"
#define LENET_LOAD_PIXELS "ldmia r0!, {r6, r7}\n"
#define LENET_ROW(s, t, ab, bc) \
    "smlad " s ", r6, " ab ", " s "\n smlabt " s ", r7, " bc ", " s "\n" \
    "smlatb " t ", r6, " ab ", " t "\n smlad " t ", r7, " bc ", " t "\n"
#define LENET_WINDOW \
    LENET_LOAD_FILTER LENET_LOAD_PIXELS LENET_ROW("r2", "r3", "r8", "r9") \
    LENET_LOAD_PIXELS LENET_ROW("r2", "r3", "r10", "r11") LENET_ROW("r4", "r5", "r8", "r9") \
    LENET_LOAD_PIXELS LENET_ROW("r2", "r3", "r12", "lr") LENET_ROW("r4", "r5", "r10", "r11") \
    LENET_LOAD_PIXELS LENET_ROW("r4", "r5", "r12", "lr") "sub r0, #32\n"
#else
#define LENET_UNITS CHANNELS_EVEN
#define LENET_MUL "mul "
#define LENET_MLA "mla "
/* A row of four pixels in r6 to r9, and a filter's row in r10, r11 and lr; r12 is like r11. */
#define LENET_ROW(s, t) \
    "ldmia r0!, {r6-r9}\n" \
    "mla " s ", r6, r10, " s "\n mla " s ", r7, r11, " s "\n mla " s ", r8, lr, " s "\n" \
    "mla " t ", r7, r10, " t "\n mla " t ", r8, r11, " t "\n mla " t ", r9, lr, " t "\n"
#define LENET_ROWS "ldmia r1!, {r10-r12, lr}\n" LENET_ROW("r2", "r3") LENET_ROW("r4", "r5")
#define LENET_WINDOW \
    LENET_ROWS "sub r0, #16\n" LENET_ROWS "sub r0, #16\n" LENET_ROWS "sub r0, #64\n"
#endif

LENET_NAKED void lenet_conv1_sums(LENET_IN const lenet_number *window,
                                  LENET_IN const lenet_number *w, LENET_IN int32_t *sums,
                                  LENET_IN int32_t *end)
{
    __asm__ volatile(
        "push {r2, r3, r4-r11, lr}\n"
        "1: mov r2, #0\n mov r3, #0\n mov r4, #0\n mov r5, #0\n"
        LENET_WINDOW
        LENET_LARGER("r2", "r3") LENET_LARGER("r4", "r5") LENET_LARGER("r2", "r4")
        LENET_NEXT
        "add sp, #8\n pop {r4-r11, pc}\n");
}

/* A position of the tile: the sum of its units' products, which begins anew or goes on. Three units
 * at a time, in r6 to r8 and r9 to r11, then what is left. */
#define LENET_THREE(s) \
    "ldmia r0!, {r6-r8}\n ldmia r1!, {r9-r11}\n" LENET_MLA s ", r6, r9, " s "\n" \
    LENET_MLA s ", r7, r10, " s "\n" LENET_MLA s ", r8, r11, " s "\n"
#define LENET_ONE(s) "ldr r6, [r0], #4\n ldr r9, [r1], #4\n" LENET_MLA s ", r6, r9, " s "\n"
#define LENET_MORE(s, threes) \
    ".rept (" LENET_TEXT(LENET_UNITS) ")/3-" threes "\n" LENET_THREE(s) ".endr\n" \
    ".rept (" LENET_TEXT(LENET_UNITS) ")%3\n" LENET_ONE(s) ".endr\n"
#define LENET_ON(s) LENET_MORE(s, "0")
#define LENET_ANEW(s) \
    ".if (" LENET_TEXT(LENET_UNITS) ") >= 3\n ldmia r0!, {r6-r8}\n ldmia r1!, {r9-r11}\n" \
    LENET_MUL s ", r6, r9\n" LENET_MLA s ", r7, r10, " s "\n" LENET_MLA s ", r8, r11, " s "\n" \
    LENET_MORE(s, "1") ".else\n mov " s ", #0\n" LENET_ON(s) ".endif\n"
/* a + b and a - b in place of a and b */
#define LENET_BOTH(a, b) "add " a ", " b "\n sub " b ", " a ", " b ", lsl #1\n"
/* A row of positions: its left and its right output. */
#define LENET_OUTPUTS(a, b) \
    LENET_ANEW(a) LENET_ANEW(b) LENET_BOTH(a, b) LENET_ON(a) LENET_ON(b)

LENET_NAKED void lenet_conv2_sums(LENET_IN const lenet_number *tile,
                                  LENET_IN const lenet_number *w, LENET_IN int32_t *sums,
                                  LENET_IN int32_t *end)
{
    __asm__ volatile(
        "push {r2, r3, r4-r11, lr}\n"
        "1:" LENET_OUTPUTS("r2", "r3") LENET_OUTPUTS("r4", "r5")
        LENET_BOTH("r2", "r4") LENET_BOTH("r3", "r5")
        LENET_OUTPUTS("r12", "lr") "add r2, r12\n add r3, lr\n"
        LENET_OUTPUTS("r12", "lr") "add r4, r12\n add r5, lr\n"
        LENET_LARGER("r2", "r3") LENET_LARGER("r4", "r5") LENET_LARGER("r2", "r4")
        "sub r0, #64*(" LENET_TEXT(LENET_UNITS) ")\n"
        LENET_NEXT
        "add sp, #8\n pop {r4-r11, pc}\n");
}

/* Two outputs' weights of a pair of inputs, which are in r1. */
#if defined(__ARM_FEATURE_DSP)
#define LENET_TWO(w, s, t) \
    "smlad " t ", " w ", r1, " t "\n sxtb16 " w ", " w "\n smlad " s ", " w ", r1, " s "\n"

LENET_NAKED void lenet_dense_sums(LENET_IN const lenet_entry *list,
                                  LENET_IN const int16_t *weights, LENET_IN int32_t *sums)
{
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
#else
#include "cortex/plain_dense.c"
#endif
