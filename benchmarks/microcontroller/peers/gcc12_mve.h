/* GCC 12's arm_mve.h cannot add a scalar to a vector (`vaddq` of an integer needs `__ARM_undef`);
 * its vectors have a plus of their own, which becomes the same instruction. */
#ifdef __ARM_FEATURE_MVE
#include <arm_mve.h>
#undef vaddq
#define vaddq(left, right) ((left) + (right))
#endif
