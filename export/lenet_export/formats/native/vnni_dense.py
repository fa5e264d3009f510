"""C text of int8's dense layers for AVX-512 VNNI, whose dot products are of four bytes.

Each weight that is loaded is used for up to `IMAGES` images. One image alone, which would wait for
the weights, reads none of four inputs that are all zero.
"""

from lenet_export.formats.native.int8_pack import PackedInt8Dense
from lenet_export.formats.native.isa import VNNI, indent
from lenet_export.formats.native.pack import LANES

# Inlined into one function, gcc 12 keeps fewer of the kernels' constants in registers.
KERNEL = f"__attribute__((noinline)) {VNNI.attribute}"
# Images and vectors of outputs that a dense layer sums at once. 4 x 4 dot products outlast the
# 4 + 4 loads that feed them; with 20 and more, gcc 12 moves sums to memory and takes twice as long.
IMAGES, GROUP = 4, 4


def layer(number: int, dense: PackedInt8Dense, last: bool) -> str:
    """One dense layer for n images, n at most `IMAGES`, and the choice of n."""
    name = f"vnni_dense{number}"
    output = "float *y" if last else "uint8_t *y"
    vectors = range(dense.stride // LANES)
    lines = [
        f"static inline __attribute__((always_inline)) {VNNI.attribute}",
        f"void {name}_n(const uint8_t *x, {output}, const int n)",
        "{",
    ]
    for first in range(0, len(vectors), GROUP):
        group = vectors[first : first + GROUP]
        lines += [
            "    {",
            *_sums(number, dense, group),
            *_codes(number, dense, group, last),
            "    }",
        ]
    calls = {n: f"{name}_n(x, y, {n})" for n in range(1, IMAGES)}
    if dense.weight.size > 32 * 1024:  # larger than the L1 cache: one image alone waits for it
        calls[1] = f"{name}_one(x, y)"
        lines = [*_one(number, dense, output, last), "", *lines]
    cases = [f"    case {n}:\n        {call};\n        break;" for n, call in calls.items()]
    lines += [
        "}",
        "",
        f"static {KERNEL} void {name}(const uint8_t *x, {output}, size_t n)",
        "{",
        "    switch (n) {",
        *cases,
        "    default:",
        f"        {name}_n(x, y, {IMAGES});",
        "    }",
        "}",
    ]
    return "\n".join(lines)


def _one(number: int, dense: PackedInt8Dense, output: str, last: bool) -> list[str]:
    """One dense layer for one image, which reads no weights of four inputs that are all zero."""
    lines = [
        f"static inline {VNNI.attribute} void vnni_dense{number}_one(const uint8_t *x, {output})",
        "{",
    ]
    vectors, quads = range(dense.stride // LANES), dense.inputs // 4
    for first in range(0, len(vectors), 2 * GROUP):
        group = vectors[first : first + 2 * GROUP]
        body = [
            f"__m512i a0_{v} = _mm512_loadu_si512(lenet_dense{number}_bias + {16 * v});"
            for v in group
        ]
        for start in range(0, quads, 64):
            body.append("{")
            masks = []
            for part in range(start, min(start + 64, quads), 16):
                inside = (1 << min(16, quads - part)) - 1
                body.append(
                    f"    const __m512i x{part} = "
                    f"_mm512_maskz_loadu_epi32({inside:#x}, x + {4 * part});"
                )
                mask = f"(uint64_t)_mm512_test_epi32_mask(x{part}, x{part})"
                masks.append(f"{mask} << {part - start}" if part > start else mask)
            body += [
                "    uint64_t bits = " + " |\n                    ".join(masks) + ";",
                "    while (bits) {",
                f"        const size_t k = {start} + (size_t)__builtin_ctzll(bits);",
                f"        const int8_t *const w = lenet_dense{number}_bytes[k][{first}];",
                "        const __m512i v = vnni_splat(x + 4 * k);",
                "        bits &= bits - 1;",
            ]
            for v in group:
                load = f"_mm512_loadu_si512(w + {64 * (v - first)})"
                body.append(f"        a0_{v} = _mm512_dpbusd_epi32(a0_{v}, v, {load});")
            body += ["    }", "}"]
        lines += ["    {", *indent(body, 2)]
        lines += [*_codes(number, dense, group, last, images=1), "    }"]
    return [*lines, "}"]


def _sums(number: int, dense: PackedInt8Dense, group: range) -> list[str]:
    """Sums ``aI_V`` of image I and vector V of a group of outputs."""
    constant, at = f"lenet_dense{number}", group[0]
    lines = [f"const __m512i b{v} = _mm512_loadu_si512({constant}_bias + {16 * v});" for v in group]
    for i in range(IMAGES):
        lines.append("__m512i " + ", ".join(f"a{i}_{v} = b{v}" for v in group) + ";")
    lines += [
        f"for (int k = 0; k < {dense.inputs // 4}; k++) {{",
        f"    const int8_t *const w = {constant}_bytes[k][{at}];",
    ]
    lines += [f"    const __m512i w{v} = _mm512_loadu_si512(w + {64 * (v - at)});" for v in group]
    for i in range(IMAGES):
        lines += [
            f"    if (n > {i}) {{",
            f"        const __m512i v = vnni_splat(x + {i * dense.inputs} + 4 * k);",
        ]
        for v in group:
            lines.append(f"        a{i}_{v} = _mm512_dpbusd_epi32(a{i}_{v}, v, w{v});")
        lines.append("    }")
    return indent([*lines, "}"], 2)


def _codes(
    number: int, dense: PackedInt8Dense, group: range, last: bool, images: int = IMAGES
) -> list[str]:
    """From sums to the next layer's codes, or to logits."""
    lines = []
    for v in group:
        scale = f"_mm512_loadu_ps(lenet_dense{number}_scale + {16 * v})"
        lines.append(f"const __m512 s{v} = {scale};")
    for i in range(images):
        lines.append("{" if images == 1 else f"if (n > {i}) {{")
        for v in group:
            if last:
                mask = (1 << min(16, dense.outputs - 16 * v)) - 1
                value = f"_mm512_mul_ps(_mm512_cvtepi32_ps(a{i}_{v}), s{v})"
                to = f"y + {i * dense.outputs + 16 * v}"
                lines.append(f"    _mm512_mask_storeu_ps({to}, {mask:#x}, {value});")
            else:
                to = f"y + {i * dense.stride + 16 * v}"
                lines.append(f"    vnni_store16({to}, vnni_rescale(a{i}_{v}, s{v}));")
        lines.append("}")
    return indent(lines, 2)
