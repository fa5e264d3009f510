"""Assembling ``lenet.c`` and ``lenet.h``."""

import numpy as np

from lenet_export.native import conv, dense
from lenet_export.native.isa import V4, Isa
from lenet_export.native.pack import LANES, Packed

CHUNK = 32
ISAS = (V4,)


def constant(name: str, values: np.ndarray, comment: str = "") -> str:
    shape = "".join(f"[{n}]" for n in values.shape)

    def rec(a):
        if a.ndim == 1:
            return "{" + ",".join(_float(x) for x in a) + "}"
        return "{" + ",\n".join(rec(x) for x in a) + "}"

    return f"static LENET_ALIGNED const float {name}{shape} = {rec(values)};"


def _float(x) -> str:
    x = float(x)
    if x == int(x) and abs(x) < 1e6:
        return f"{int(x)}" if not (x == 0 and np.signbit(x)) else "-0.0f"
    mantissa, exponent = x.hex().split("p")
    return f"{mantissa.rstrip('0')}p{int(exponent)}f"


def source(packed: Packed) -> str:
    widths = [d.stride for d in packed.dense]
    features = packed.dense[0].inputs
    parts = [
        """
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__) && defined(__GNUC__)
#define LENET_X86 1
#include <immintrin.h>
#else
#define LENET_X86 0
#endif
#define LENET_ALIGNED __attribute__((aligned(64)))
static const float lenet_one = 1.0f;
static inline int lenet_lowest(uint64_t bits) { return __builtin_ctzll(bits); }
static inline uint64_t lenet_word(const uint16_t *m, int left) {
    uint64_t w = m[0];
    if (left > 1) w |= (uint64_t)m[1] << 16;
    if (left > 2) w |= (uint64_t)m[2] << 32;
    if (left > 3) w |= (uint64_t)m[3] << 48;
    return w;
}
"""
    ]
    parts.append(constant("lenet_conv1", packed.conv1.reshape(packed.channels, 12)))
    parts.append(constant("lenet_conv1_bias", packed.conv1_bias))
    parts.append(constant("lenet_conv2", packed.conv2))
    parts.append(constant("lenet_conv2_bias", packed.conv2_bias))
    for n, d in enumerate(packed.dense):
        parts.append(constant(f"lenet_dense{n}", d.weight))
        parts.append(constant(f"lenet_dense{n}_bias", d.bias))
    for isa in ISAS:
        parts.append(f"/* {isa.title} */\n#if {isa.guard}")
        parts.append(isa.vocabulary)
        if isa.width == 16:
            parts.append("""typedef __m256 v4h_vec;
#define v4h_load(p) _mm256_loadu_ps(p)
#define v4h_store(p, a) _mm256_storeu_ps(p, a)
#define v4h_add(a, b) _mm256_add_ps(a, b)
#define v4h_sub(a, b) _mm256_sub_ps(a, b)
""")
        parts.append(conv.functions(isa, packed))
        for n, d in enumerate(packed.dense):
            parts.append(dense.layer(isa, n, d, n == len(packed.dense) - 1))
        total = features + sum(widths)
        parts.append(f"""
static {isa.attribute} void {isa.name}_chunk(const float *images, float *logits, size_t n, float *work)
{{
    float *const x = work;
    float *y0 = x + {CHUNK * features};
    float *y1 = y0 + {CHUNK * widths[0]};
    float *y2 = y1 + {CHUNK * widths[1]};
    float *scratch = y2 + {CHUNK * widths[2]};
    uint16_t *m0 = (uint16_t *)(scratch + {conv.scratch_floats(packed)});
    uint16_t *m1 = m0 + {CHUNK * features // 16};
    uint16_t *m2 = m1 + {CHUNK * widths[0] // 16};
    for (size_t i = 0; i < n; i++) {{
        {isa.name}_features(images + 1024 * i, x + {features} * i, scratch);
        for (int v = 0; v < {features // 16}; v++)
            m0[i * {features // 16} + v] = (uint16_t){isa.name}_nonzero(x + {features} * i + 16 * v);
    }}
    {isa.name}_dense0(x, m0, y0, m1, n);
    {isa.name}_dense1(y0, m1, y1, m2, n);
    {isa.name}_dense2(y1, m2, y2, n);
    for (size_t i = 0; i < n; i++) memcpy(logits + 10 * i, y2 + {widths[2]} * i, 40);
}}
#endif""")
    parts.append(f"""
size_t lenet_workspace_size(void) {{ return {CHUNK * (features + sum(widths)) * 4 + conv.scratch_floats(packed) * 4 + CHUNK * (features + sum(widths)) // 8 + 64}; }}
int lenet_run(const float *images, float *logits, size_t batch, void *workspace)
{{
    for (size_t i = 0; i < batch; i += {CHUNK})
        v4_chunk(images + 1024 * i, logits + 10 * i, batch - i < {CHUNK} ? batch - i : {CHUNK}, workspace);
    return 0;
}}
""")
    return "\n".join(parts)
