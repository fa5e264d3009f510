"""``lenet.c`` in bf16: the fp32 kernels of AVX-512, with the first dense layers in bfloat16.

VDPBF16PS multiplies two pairs of bfloat16 and adds the products to a float32 sum, in one cycle on
Zen 4, as an FMA of one pair does. Each pair of inputs is rounded to nearest even when it is used,
and skipped where both are zero. Half the bytes of weights then come from the cache, for half as
many instructions.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from lenet_export.formats.native import c_text, source
from lenet_export.formats.native.int8 import integers
from lenet_export.formats.native.isa import V4, V4_FEATURES, supports, target
from lenet_export.formats.native.pack import LANES, Packed, PackedDense
from lenet_export.network.layers import Array, Network
from lenet_runtime import __version__

# In Linux's spelling, for `Requirements.cpu_isa`.
FLAGS = (
    *("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
    *("avx2", "fma", "bmi1", "bmi2", "avx512_bf16"),
)
_FEATURES = (*V4_FEATURES, "avx512bf16")
BF16 = dataclasses.replace(
    V4,
    title="avx512_bf16",
    comment="AVX-512 with products of bfloat16",
    attribute=target(_FEATURES),
    supported=supports(_FEATURES),
)
PER_WORD = 4  # masks of 16 pairs that are looked at together


def rounded(values: Array) -> NDArray[np.uint16]:
    """The bits of `values` (finite) as bfloat16, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def pairs(layer: PackedDense) -> NDArray[np.uint16]:
    """Weights as VDPBF16PS takes them: ``(inputs / 2, padded outputs * 2)``, two inputs a lane."""
    bits = rounded(layer.weight).reshape(-1, 2, layer.stride)
    return np.ascontiguousarray(bits.swapaxes(1, 2)).reshape(layer.inputs // 2, -1)


def layer(number: int, dense: PackedDense) -> str:
    """``v4_denseN`` as `dense.layer` has it, but in bfloat16.

    Inputs and masks are first replaced by those of pairs, where they stand: converted in the loop,
    they would keep it waiting after each mispredicted end of a word.
    """
    blocks = -(-dense.inputs // (2 * LANES))  # registers of 16 pairs
    words = -(-blocks // PER_WORD)
    masks, rest = dense.inputs // LANES, dense.outputs % LANES
    following = dense.stride // LANES
    body = [
        f"float *const sum = y + i * {dense.stride};",
        f"const float *const from = start ? sum : lenet_dense{number}_bias;",
    ]
    vectors = range(following)
    for first in range(0, following, BF16.accumulators):
        group = vectors[first : first + BF16.accumulators]
        body += ["{", *("    " + line for line in _group(number, dense, group)), "}"]
    body += [
        f"if (start + step == {words}) {{",
        f"    for (int v = 0; v < {following}; v++)",
        f"        next[i * {following} + v] = v4_nonzero(sum + 16 * v);",
    ]
    if rest:  # NaN times a weight of the padding is NaN
        body.append(f"    next[i * {following} + {following - 1}] &= {(1 << rest) - 1:#x};")
    body.append("}")
    high = "_mm512_loadu_ps(pair + 16)"
    if masks % 2:
        high = f"v < {blocks - 1} ? {high} : _mm512_setzero_ps()"
    return "\n".join(
        [
            f"static {BF16.attribute} void v4_dense{number}(float *x, uint16_t *masks,",
            "    float *y, uint16_t *next, size_t n)",
            "{",
            f"    const int step = n < 3 ? {words} : 1;",
            "    for (size_t i = 0; i < n; i++)",
            f"        for (int v = 0; v < {blocks}; v++) {{",
            f"            const float *const pair = x + i * {dense.inputs} + 32 * v;",
            f"            const __m512 low = _mm512_loadu_ps(pair), high = {high};",
            "            const __m512i codes = (__m512i)_mm512_cvtne2ps_pbh(high, low);",
            f"            _mm512_storeu_si512(x + i * {dense.inputs} + 16 * v, codes);",
            f"            masks[i * {masks} + v] = _mm512_test_epi32_mask(codes, codes);",
            "        }",
            f"    for (int start = 0; start < {words}; start += step)",
            "        for (size_t i = 0; i < n; i++) {",
            *("            " + line for line in body),
            "        }",
            "}",
        ]
    )


def _group(number: int, dense: PackedDense, group: range) -> list[str]:
    """Sums of a group of vectors over the words from ``start`` on, and their ReLU at the end."""
    blocks = -(-dense.inputs // (2 * LANES))
    words = -(-blocks // PER_WORD)
    lines = [f"__m512 a{v} = _mm512_loadu_ps(from + {16 * v});" for v in group]
    lines += [
        "for (int s = start; s < start + step; s++) {",
        f"    const int left = {blocks} - {PER_WORD} * s;",
        f"    uint64_t bits = lenet_word(masks + i * {dense.inputs // LANES} + {PER_WORD} * s,",
        f"                               left < {PER_WORD} ? left : {PER_WORD});",
        f"    const float *const codes = x + i * {dense.inputs} + {PER_WORD * LANES} * s;",
        f"    const uint16_t *const weights = lenet_dense{number}[{PER_WORD * LANES} * s];",
        "    while (bits) {",
        "        const int k = lenet_lowest(bits);",
        "        const __m512bh value = (__m512bh)_mm512_set1_ps(codes[k]);",
        f"        const uint16_t *const row = weights + {2 * dense.stride} * k;",
        "        bits &= bits - 1;",
    ]
    for v in group:
        weight = f"(__m512bh)_mm512_loadu_si512(row + {32 * v})"
        lines.append(f"        a{v} = _mm512_dpbf16_ps(a{v}, value, {weight});")
    lines += ["    }", "}", f"if (start + step == {words}) {{"]
    lines += [f"    a{v} = v4_max(v4_zero(), a{v});" for v in group]
    lines += ["}", *(f"_mm512_storeu_ps(sum + {16 * v}, a{v});" for v in group)]
    return lines


_DISPATCH = """\
static int lenet_supported(void)
{{
{guard}
    __builtin_cpu_init();
    return {supported};
#else
    return 0;
#endif
}}

const char *lenet_isa(void)
{{
    return lenet_supported() ? "{title}" : "none";
}}

size_t lenet_workspace_size(void)
{{
    return {bytes}; /* with room to begin at a cache line */
}}

static int lenet_batch(
    const float *images, float *logits, size_t batch, void *workspace, int must_be_finite)
{{
    if (batch == 0)
        return LENET_OK;
    if (images == NULL || logits == NULL || workspace == NULL)
        return LENET_ERROR_NULL;
    if (!lenet_supported())
        return LENET_ERROR_CPU;
{guard}
    float *const work = (float *)(void *)((char *)workspace + (-(uintptr_t)workspace & 63));
    for (size_t i = 0; i < batch; i += LENET_CHUNK) {{
        const size_t n = batch - i < LENET_CHUNK ? batch - i : LENET_CHUNK;
        const int finite =
            v4_chunk(images + LENET_PIXELS * i, logits + LENET_LOGITS * i, n, work);
        if (must_be_finite && !finite)
            return LENET_ERROR_NOT_FINITE;
    }}
#else
    (void)must_be_finite;
#endif
    return LENET_OK;
}}
"""


def sources(network: Network, packed: Packed, weights_sha256: str) -> dict[str, str]:
    """``lenet.c`` and ``lenet.h``, for CPUs with bfloat16 alone."""
    chosen = layers_in_bf16(network)
    weights = {i: integers(f"lenet_dense{i}", pairs(packed.dense[i])) for i in chosen}
    kernels = {i: layer(i, packed.dense[i]) for i in chosen}
    text = [
        c_text.PRELUDE.format(version=__version__, weights=weights_sha256),
        source.sizes(network, packed),
        c_text.X86,
        *source.constants(network, packed, weights),
        c_text.HELPERS,
        c_text.CAREFUL,
        *source.section(BF16, packed, kernels),
        "#endif",
        _DISPATCH.format(
            guard=c_text.X86,
            supported=BF16.supported,
            title=BF16.title,
            bytes=4 * source.layout(packed)["end"] + 64,
        ),
        c_text.PUBLIC,
    ]
    head = c_text.HEADER.format(
        version=__version__,
        weights=weights_sha256,
        logits=packed.dense[-1].outputs,
        chunk=source.CHUNK,
        levels=f'"{BF16.title}", or "none"',
        not_finite="NaN and infinities\n * propagate as in IEEE arithmetic.",
    )
    return {"lenet.c": "\n".join(text), "lenet.h": head}


def layers_in_bf16(network: Network) -> range:
    """Numbers of the dense layers that are: all but the last, whose sums are the logits."""
    return range(len(network.dense) - 1)
