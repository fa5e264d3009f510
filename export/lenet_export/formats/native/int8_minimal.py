"""C text of int8's conv2 where dot products are of two int16: Winograd's F(2,3) both ways.

A pooling window of 2x2 outputs takes 16 products for each channel, not 36. All of it is exact:
transformed codes lie within 4 * 255 and filters, four times F(2,3)'s, within 9 * 127, so both fit
16 bits; the sums are four times the convolution's, which fit 32 bits up to `CHANNELS` channels
whatever is lost on the way, and are divided after pooling without a remainder.
"""

from lenet_export.formats.native.int8_isa import Dots
from lenet_export.formats.native.int8_pack import COLUMNS, PLANE, TILES, PackedInt8
from lenet_export.formats.native.isa import indent

CHANNELS = 2**31 // (4 * 9 * 255 * 127)
_UNITS = ("00", "01", "10", "11")  # two tiles, and two vectors of outputs of each


def conv2(isa: Dots, packed: PackedInt8) -> str:
    """``ISA_transform`` and ``ISA_conv2``: pooled codes to features."""
    return _transform(isa, packed) + _products(isa, packed)


def _transform(isa: Dots, packed: PackedInt8) -> str:
    """``ISA_transform``: pooled codes to ``[row of tiles][row of a tile][part][plane][column]``.

    The parts are d0 - d2, d0 + d1 and d1 - d0 of neighbouring columns. A tile that begins at column
    c takes the first at c, the second and the third at c + 1, and the first at c + 1.
    """
    vec, word = isa.vec, isa.word
    planes = packed.planes(2)
    parts = {
        "a": ("sub16", "d0", "d2"),
        "s": ("add16", "d0", "d1"),
        "e": ("sub16", "d1", "d0"),
    }
    names = ", ".join(f"{part}{row}" for row in range(4) for part in parts)
    body = [
        f"const uint8_t *const from = pooled + {PLANE} * plane + 4 * c;",
        f"uint8_t *to = tiles + {PLANE} * plane + 4 * c;",
        f"{vec} {names};",
    ]

    def row(number: int, at: str) -> list[str]:
        lines = [
            f"const {vec} d{i} = {word('load', f'from + {planes * PLANE} * ({at}) + {4 * i}')};"
            for i in range(3)
        ]
        lines += [f"{part}{number} = {word(*how)};" for part, how in parts.items()]
        return ["{", *indent(lines), "}"]

    body += row(0, "0") + row(1, "1")
    body.append(f"for (int y = 0; y < {TILES}; y++) {{")
    inner = row(2, "2 * y + 2") + row(3, "2 * y + 3")
    for i, (operation, first, second) in enumerate(
        [("sub16", 0, 2), ("add16", 1, 2), ("sub16", 2, 1), ("sub16", 1, 3)]
    ):
        for j, part in enumerate(parts):
            value = word(operation, f"{part}{first}", f"{part}{second}")
            inner.append(f"{word('store', f'to + {(3 * i + j) * planes * PLANE}', value)};")
    inner.append(f"to += {12 * planes * PLANE};")
    inner += [f"{part}{i} = {part}{i + 2};" for i in range(2) for part in parts]
    body += [*indent(inner), "}"]
    return "\n".join(
        [
            "/* conv2's input transform: [row of tiles][row of a tile][part][plane][column]. */",
            f"static {isa.kernel} void {isa.name}_transform(const uint8_t *pooled, uint8_t *tiles)",
            "{",
            f"    for (int plane = 0; plane < {planes}; plane++)",
            f"        for (int c = 0; c < {COLUMNS}; c += {isa.lanes}) {{",
            *indent(body, 3),
            "        }",
            "}",
            "",
        ]
    )


def _products(isa: Dots, packed: PackedInt8) -> str:
    """``ISA_conv2``, `_UNITS` at once: each weight and each input is loaded for two."""
    vec, word = isa.vec, isa.word
    outputs = [f"y{output}_{unit}" for unit in _UNITS for output in ("00", "01", "10", "11")]
    inner = [f"{vec} {', '.join(outputs)};"]
    # The two middle positions along first: the outputs' sums begin with theirs.
    for j in (1, 2, 0, 3):
        inner += ["{", *indent(_column(isa, packed, j)), "}"]
    for unit in _UNITS:
        tile, n = map(int, unit)
        rows = (word("max", f"y{i}0_{unit}", f"y{i}1_{unit}") for i in range(2))
        total = word("add", word("quarter", word("max", *rows)), f"bias{n}")
        to = f"features + ({TILES} * y + x + {tile}) * {packed.features} + f + {isa.lanes * n}"
        inner.append(f"{word('put', to, word('code', total, f'scale{n}'))};")
    body = ["const int16_t *const w = lenet_conv2_pairs[0][0] + 2 * f;"]
    for n in range(2):
        at = f"f + {isa.lanes * n}"
        scale = word("floats", f"lenet_conv2_scale + {at}")
        body += [
            f"const {vec} bias{n} = {word('load', f'lenet_conv2_bias + {at}')};",
            f"const {isa.name}_f32 scale{n} = {scale};",
        ]
    row = 12 * packed.planes(2) * PLANE
    body += [
        f"for (int y = 0; y < {TILES}; y++)",
        f"    for (int x = 0; x < {TILES}; x += 2) {{",
        f"        const uint8_t *const tile = tiles + {row} * y + 8 * x;",
        "        lenet_ahead(next, bytes, 3 * y + x / 2);",
        *indent(inner, 2),
        "    }",
    ]
    return "\n".join(
        [
            "/* conv2: pooled codes to feature codes [row][column][channel]. Meanwhile fetches",
            " * what is next. */",
            f"static {isa.kernel} void {isa.name}_conv2(",
            "    uint8_t *work, int16_t *features, const void *next, size_t bytes)",
            "{",
            "    uint8_t *const tiles = work + TILES;",
            f"    {isa.name}_transform(work + POOLED, tiles);",
            f"    for (int f = 0; f < {packed.features}; f += {2 * isa.lanes}) {{",
            *indent(body, 2),
            "    }",
            "}",
            "",
        ]
    )


def _column(isa: Dots, packed: PackedInt8, j: int) -> list[str]:
    """Positions (0, j) to (3, j), summed down, and what they add to a tile's outputs ``yIX``."""
    word = isa.word
    sums = ", ".join(f"m{i}_{unit} = {word('zero')}" for i in (1, 2) for unit in _UNITS)
    lines = [f"{isa.vec} {sums};", f"{isa.vec} v;"]
    lines += _dots(isa, packed, "m1", 1, j) + _dots(isa, packed, "m2", 2, j)
    for unit in _UNITS:
        for i, how in enumerate(("add", "sub")):
            lines.append(f"{isa.vec} u{i}_{unit} = {word(how, f'm1_{unit}', f'm2_{unit}')};")
    lines += _dots(isa, packed, "u0", 0, j) + _dots(isa, packed, "u1", 3, j)
    for unit in _UNITS:
        for i in range(2):
            u, left, right = f"u{i}_{unit}", f"y{i}0_{unit}", f"y{i}1_{unit}"
            if j == 1:
                lines.append(f"{left} = {right} = {u};")
            if j in (0, 2):
                lines.append(f"{left} = {word('add', left, u)};")
            if j in (2, 3):
                lines.append(f"{right} = {word('sub' if j == 2 else 'add', right, u)};")
    return lines


def _dots(isa: Dots, packed: PackedInt8, sums: str, i: int, j: int) -> list[str]:
    """Add position (i, j)'s products to the sums of each unit."""
    word, planes, lines = isa.word, packed.planes(2), []
    part, shift = [(0, 0), (1, 1), (2, 1), (0, 1)][j]
    for plane in range(planes):
        lines.append("{")
        for n in range(2):
            at = ((4 * i + j) * planes + plane) * 2 * packed.features + 2 * isa.lanes * n
            lines.append(f"    const {isa.vec} w{n} = {word('hold', f'w + {at}')};")
        for tile in range(2):
            at = ((3 * i + part) * planes + plane) * PLANE + 4 * shift + 8 * tile
            lines.append(f"    v = {word('splat', f'tile + {at}')};")
            for n in range(2):
                name = f"{sums}_{tile}{n}"
                lines.append(f"    {name} = {word('dot', name, 'v', f'w{n}')};")
        lines.append("}")
    return lines
