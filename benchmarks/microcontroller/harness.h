/* What each participant brings; `main.c` calls it. */
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Once, before all: 0, or a number that says what went wrong. */
int setup(void);

/* 28x28 pixels to ten logits of the participant's type; a LOGIT is int8_t or float. */
void classify(const uint8_t *pixels, LOGIT *logits);

#ifdef __cplusplus
}
#endif
