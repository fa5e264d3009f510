"""C text of int8's dense layers: sums of a tile of images and vectors of outputs.

Each weight that is loaded is used for up to `IMAGES` images. One image alone, which would wait for
the weights, reads none of a group of inputs that are all zero.
"""

from lenet_export.formats.native.int8_isa import Dots
from lenet_export.formats.native.isa import indent

IMAGES = 4
_SIGNATURE = """\
    const {code} *x, size_t groups, {row}const {weight} *w, const int32_t *bias,
    size_t stride, int32_t *sums{n})
{{"""


def tiles(isa: Dots) -> tuple[str, str]:
    """Functions that sum a tile, and the loops over all tiles, the body of ``ISA_dense``."""
    several = (4, 2, 1) if isa.registers > 16 else (2, 1)
    functions = [_several(isa, n) for n in several] + [_one(isa, n) for n in (8, 4, 2, 1)]
    weights = f"weights + {isa.group} * f, bias + f, stride"
    loops = ["size_t f = 0;", f"const size_t groups = inputs / {isa.group};", "if (n == 1) {"]
    for vectors in (8, 4, 2, 1):
        width = vectors * isa.lanes
        call = f"{isa.name}_one{vectors}(x, groups, {weights}, sums + f)"
        loops += [f"    for (; f + {width} <= outputs; f += {width})", f"        {call};"]
    loops += ["    return;", "}"]
    for vectors in several:
        width = vectors * isa.lanes
        call = f"{isa.name}_tile{vectors}(x + row * i, groups, row, {weights},"
        loops += [
            f"for (; f + {width} <= outputs; f += {width})",
            f"    for (size_t i = 0; i < n; i += {IMAGES})",
            "        switch (n - i) {",
        ]
        for n in range(1, IMAGES + 1):
            loops += [
                f"        case {n}:" if n < IMAGES else "        default:",
                f"            {call}",
                f"                sums + stride * i + f, {n});",
                "            break;",
            ]
        loops += ["        }"]
    return "\n".join(functions), "\n".join(indent(loops)) + "\n"


def _several(isa: Dots, vectors: int) -> str:
    """Sums ``aI_V`` of image I and vector V; n images, `IMAGES` at most."""
    vec, word, every = isa.vec, isa.word, range(vectors)
    lines = [f"const {vec} b{v} = {word('load', f'bias + {isa.lanes * v}')};" for v in every]
    for i in range(IMAGES):
        lines.append(f"{vec} " + ", ".join(f"a{i}_{v} = b{v}" for v in every) + ";")
    lines.append(f"for (size_t k = 0; k < groups; k++, w += {isa.group} * stride) {{")
    for v in every:
        load = word("load", f"w + {isa.group * isa.lanes * v}")
        lines.append(f"    const {vec} w{v} = {load};")
    for i in range(IMAGES):
        at = f"x + row * {i} + {isa.group} * k"
        lines += [f"    if (n > {i}) {{", f"        const {vec} v = {word('splat', at)};"]
        lines += [f"        a{i}_{v} = {word('dot', f'a{i}_{v}', 'v', f'w{v}')};" for v in every]
        lines.append("    }")
    lines.append("}")
    for i in range(IMAGES):
        lines.append(f"if (n > {i}) {{")
        for v in every:
            to = f"sums + stride * {i} + {isa.lanes * v}"
            lines.append(f"    {word('store', to, f'a{i}_{v}')};")
        lines.append("}")
    return _function(isa, f"tile{vectors}", lines, row="size_t row, ", n=", const int n")


def _one(isa: Dots, vectors: int) -> str:
    """Sums ``aV`` of one image, from those groups of inputs that are not all zero."""
    vec, word, every = isa.vec, isa.word, range(vectors)
    lines = [f"{vec} a{v} = {word('load', f'bias + {isa.lanes * v}')};" for v in every]
    nonzero = word("nonzero", f"x + {isa.group} * k")
    lines += [
        f"for (size_t first = 0; first < groups; first += 64, w += {64 * isa.group} * stride) {{",
        "    const size_t end = groups - first < 64 ? groups : first + 64;",
        "    uint64_t bits = 0;",
        f"    for (size_t k = first; k < end; k += {isa.lanes})",
        f"        bits |= (uint64_t){nonzero} << (k - first);",
        "    if (end < first + 64)",
        "        bits &= ((uint64_t)1 << (end - first)) - 1;",
        "    for (; bits; bits &= bits - 1) {",
        "        const size_t k = (size_t)lenet_lowest(bits);",
        f"        const {isa.weight} *const row = w + {isa.group} * stride * k;",
        f"        const {vec} v = {word('splat', f'x + {isa.group} * (first + k)')};",
    ]
    for v in every:
        load = word("load", f"row + {isa.group * isa.lanes * v}")
        lines.append(f"        a{v} = {word('dot', f'a{v}', 'v', load)};")
    lines += ["    }", "}"]
    lines += [f"{word('store', f'sums + {isa.lanes * v}', f'a{v}')};" for v in every]
    return _function(isa, f"one{vectors}", lines)


def _function(isa: Dots, name: str, body: list[str], row: str = "", n: str = "") -> str:
    inline = "__attribute__((always_inline)) " if isa.features else ""
    return "\n".join(
        [
            f"static inline {inline}{isa.attribute} void {isa.name}_{name}(",
            _SIGNATURE.format(code=isa.code, weight=isa.weight, row=row, n=n),
            *indent(body),
            "}",
            "",
        ]
    )
