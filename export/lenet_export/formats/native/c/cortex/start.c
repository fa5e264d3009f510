#include "lenet.h"

#include <stddef.h>
#include <string.h>

#if defined(__ARM_FEATURE_SAT) || defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
#endif

const char lenet_version[] = "VERSION";
const char lenet_weights_sha256[] = "WEIGHTS";

#if defined(__GNUC__)
#define LENET_ALIGNED __attribute__((aligned(8)))
#define LENET_FOUR(p) __builtin_assume_aligned(p, 4)
/* A function that is all assembly, of which its callers know no more than its type, and an argument
 * of it, which is in a register. */
#if defined(__clang__)
#define LENET_NAKED static __attribute__((naked, noinline))
#else
#define LENET_NAKED static __attribute__((naked, noipa))
#endif
#define LENET_IN __attribute__((unused))
#define LENET_TEXT(macro) LENET_QUOTED(macro)
#define LENET_QUOTED(text) #text
#else
#define LENET_ALIGNED _Alignas(8)
#define LENET_FOUR(p) (p)
#endif
