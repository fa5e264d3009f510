/* What each participant brings; `main.c` calls it. */
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#ifdef FP32
typedef float logit;
#else
typedef int8_t logit;
#endif
int setup(void); /* 0 is success */
void classify(const uint8_t *pixels, logit *logits); /* 28x28, 10 */
#ifdef __cplusplus
}
#endif
