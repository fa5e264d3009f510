"""C text of int8's dense layers, for ``c/int8_dense.c`` and ``c/int8_tiles.c``.

Pairs of inputs are both zero so often that each image reads its own rows of weights, as in fp32.
Fours are not: there, each weight that is loaded is used for up to `IMAGES` images, and only one
image alone, which would wait for the weights, skips zeros.
"""

from collections.abc import Iterable

from lenet_export.formats.native.int8_isa import Dots
from lenet_export.formats.native.isa import indent

IMAGES = 4  # of a tile
ROWS = 8  # vectors of outputs that an image adds a row of weights to at once


def sparse(isa: Dots, outputs: Iterable[int]) -> dict[str, str]:
    """What ``c/int8_dense.c`` includes, for layers of so many outputs."""
    left = _left(isa, outputs, ROWS)
    arguments = f"from + row * i, bits[i], rows + {isa.group} * f, stride, sums + stride * i + f"
    return {
        "rows.c": "\n".join(_rows(isa, n) for n in [*left, ROWS]),
        "rows_left.c": _cases(f"{isa.name}_rows", left, arguments),
    }


def tiles(isa: Dots, outputs: Iterable[int]) -> dict[str, str]:
    """What ``c/int8_tiles.c`` includes, for layers of so many outputs."""
    left = _left(isa, outputs, isa.tile)
    inputs = f"x + row * i, groups, row, w + {isa.group} * f"
    arguments = f"{inputs}, bias + f, stride, sums + stride * i + f, n - i"
    return {
        "tiles.c": "\n".join(_tile(isa, n) for n in [*left, isa.tile]),
        "tiles_left.c": _cases(f"{isa.name}_tile", left, arguments),
    }


def _left(isa: Dots, outputs: Iterable[int], most: int) -> list[int]:
    """The vectors that loops over `most` at once leave of each layer's outputs."""
    return sorted({-(-count // isa.lanes) % most for count in outputs} - {0})


def _cases(function: str, left: list[int], arguments: str) -> str:
    lines = []
    for n in left:
        lines += [f"case {n}:", f"    {function}{n}({arguments});", "    break;"]
    return "\n".join(indent([*lines, "default:;"], 3)) + "\n"


def _rows(isa: Dots, vectors: int) -> str:
    """Adds the products of one image's inputs that are not zero, which `bits` says."""
    vec, word, every = isa.vec, isa.word, range(vectors)
    sums = [word("load", f"sums + {isa.lanes * v}") for v in every]
    lines = [f"{vec} a{v} = {sums[v]};" for v in every]
    lines += [
        "for (; bits; bits &= bits - 1) {",
        "    const size_t k = (size_t)lenet_lowest(bits);",
        f"    const {isa.weight} *const row = w + {isa.group} * stride * k;",
        f"    const {vec} v = {word('splat', f'x + {isa.group} * k')};",
    ]
    for v in every:
        load = word("load", f"row + {isa.group * isa.lanes * v}")
        lines.append(f"    a{v} = {word('dot', f'a{v}', 'v', load)};")
    lines.append("}")
    lines += [f"{word('store', f'sums + {isa.lanes * v}', f'a{v}')};" for v in every]
    arguments = (
        f"const {isa.code} *x, uint64_t bits, const {isa.weight} *w, size_t stride, int32_t *sums"
    )
    return _function(isa, f"rows{vectors}", arguments, lines)


def _tile(isa: Dots, vectors: int) -> str:
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
    arguments = (
        f"const {isa.code} *x, size_t groups, size_t row, const {isa.weight} *w, "
        "const int32_t *bias,\n    size_t stride, int32_t *sums, const {n} n"
    )
    name = f"tile{vectors}"
    calls = ["switch (n) {"]
    for n in range(1, IMAGES + 1):
        calls += [
            f"case {n}:" if n < IMAGES else "default:",
            f"    {isa.name}_{name}_n(x, groups, row, w, bias, stride, sums, {n});",
            "    break;",
        ]
    return _function(isa, f"{name}_n", arguments.format(n="int"), lines) + _function(
        isa, name, arguments.format(n="size_t"), [*calls, "}"]
    )


def _function(isa: Dots, name: str, arguments: str, body: list[str]) -> str:
    inline = "__attribute__((always_inline)) " if isa.features else ""
    return "\n".join(
        [
            f"static inline {inline}{isa.attribute} void {isa.name}_{name}(",
            f"    {arguments})",
            "{",
            *indent(body),
            "}",
            "",
        ]
    )
