#include "lenet.h"

#include <stdint.h>
#include <string.h>

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
    (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "compile without -ffast-math and its kin: the answers need IEEE arithmetic and NaN"
#endif

#if defined(__GNUC__)
#define LENET_ALIGNED __attribute__((aligned(64)))
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define LENET_ALIGNED _Alignas(64)
#else
#define LENET_ALIGNED
#endif

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif
#if defined(__aarch64__) && defined(__GNUC__)
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#endif
#if defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif
/* Vectors of GCC and Clang, where the words of the generic section are known, too. */
#if defined(__GNUC__) && !defined(LENET_PLAIN_C) && \
    (defined(__x86_64__) || defined(__aarch64__) || defined(__wasm_simd128__))
#define LENET_VECTORS
#endif

const char lenet_version[] = "VERSION";
const char lenet_weights_sha256[] = "WEIGHTS";
