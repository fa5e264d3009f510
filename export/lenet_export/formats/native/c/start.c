#include "lenet.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif
#if defined(__aarch64__) && defined(__GNUC__)
#include <arm_neon.h>
#endif

const char lenet_version[] = "VERSION";
const char lenet_weights_sha256[] = "WEIGHTS";
