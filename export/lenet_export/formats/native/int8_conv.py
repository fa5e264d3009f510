"""C text of int8's convolutions, but for the minimal filters of `int8_minimal`.

conv1 has pooled columns in lanes, as the fp32 kernel does, and takes two int16 taps at once: nine
taps are five products. Its codes are stored as dot products take them: a plane holds a group of
channels, side by side, of every column. conv2 has output channels in lanes.
"""

from lenet_export.formats.native.int8_isa import Dots
from lenet_export.formats.native.int8_pack import COLUMNS, PLANE, ROWS, TILES, PackedInt8
from lenet_export.formats.native.isa import indent


def conv1(isa: Dots, packed: PackedInt8) -> str:
    """``ISA_conv1``: pixel codes to pooled codes ``[row][plane][column]``, channels two by two."""
    vec, word, planes = isa.vec, isa.word, packed.planes(isa.group)
    lines = ["const int16_t *const row = image + 64 * p + 2 * c;"]
    # Once, since most of these loads are of two cache lines. The last are third taps of two rows.
    lines.append(f"{vec} r[20];")
    for y in range(4):
        for x in range(4):
            lines.append(f"r[{4 * y + x}] = {word('load', f'row + {32 * y + x}')};")
    for y in range(2):
        for x in range(2):
            thirds = word("firsts", f"r[{8 * y + x + 2}]", f"r[{8 * y + x + 6}]")
            lines.append(f"r[{16 + 2 * y + x}] = {thirds};")
    lines += [
        f"{vec} q[{isa.group * planes}];",
        f"for (int k = 0; k < {packed.channels}; k += 2) {{",
        *indent(_two_channels(isa)),
        "}",
    ]
    for plane in range(planes):
        channels = range(isa.group * plane, isa.group * (plane + 1))
        codes = [f"q[{k}]" if k < packed.channels else word("zero") for k in channels]
        joined = word({2: "pair", 4: "quad"}[isa.group], *codes)
        narrow = isa.group == 4 and packed.narrow and plane == planes - 1
        to = f"pooled + {planes * PLANE} * p + {PLANE * plane} + {2 if narrow else 4} * c"
        lines.append(f"{word('twos' if narrow else 'store', to, joined)};")
    return "\n".join(
        [
            "/* conv1: pixel codes to pooled codes [row][plane][column][channel of the plane]. */",
            f"static {isa.kernel} void {isa.name}_conv1(const int16_t *image, uint8_t *pooled)",
            "{",
            f"    for (int p = 0; p < {ROWS}; p++)",
            f"        for (int c = 0; c < {COLUMNS}; c += {isa.lanes}) {{",
            *indent(lines, 3),
            "        }",
            "}",
            "",
        ]
    )


def _two_channels(isa: Dots) -> list[str]:
    """Codes of the channels k and k + 1: each weight is loaded for four outputs, each tap for two.

    Lane j of a load at column x of a row holds the columns 2j + x and 2j + x + 1: two taps of
    column 2j or 2j + 1.
    """
    vec, word = isa.vec, isa.word
    lines = []
    for k in range(2):
        lines.append(f"const {vec} bias{k} = {word('splat', f'lenet_conv1_bias + k + {k}')};")
        start = f"bias{k}" if isa.group == 4 else word("zero")
        lines.append(f"{vec} {', '.join(f'a{y}{x}_{k} = {start}' for y in '01' for x in '01')};")
    # Of each pair of weights, the values that the outputs of row y of the window take, at x = 0.
    values: list[dict[int, int]] = [{0: 4 * i, 1: 4 * i + 4} for i in range(3)]
    values += [{0: 16}, {0: 10}, {1: 18}, {1: 6}]
    for weight, of_row in enumerate(values):
        lines.append("{")
        for k in range(2):
            pair = word("splat", f"lenet_conv1_pairs[k + {k}][{weight}]")
            lines.append(f"    const {vec} w{k} = {pair};")
        for y, value in of_row.items():
            for x in range(2):
                lines += ["    {", f"        const {vec} v = {word('hold', f'r + {value + x}')};"]
                for k in range(2):
                    total = f"a{y}{x}_{k}"
                    lines.append(f"        {total} = {word('pairs', total, 'v', f'w{k}')};")
                lines.append("    }")
        lines.append("}")
    for k in range(2):
        a, b, c, d = (f"a{y}{x}_{k}" for y in "01" for x in "01")
        best = word("max", word("max", a, b), word("max", c, d))
        if isa.group == 2:  # whose products take an addition each, but for the first
            best = word("add", best, f"bias{k}")
        scale = word("float", f"lenet_conv1_scale + k + {k}")
        lines.append(f"q[k + {k}] = {word('code', best, scale)};")
    return lines


def conv2(isa: Dots, packed: PackedInt8) -> str:
    """``ISA_conv2``: pooled codes to features, two pooling windows at a time, eight sums."""
    vec, word = isa.vec, isa.word
    planes = packed.planes(isa.group)
    inner, dots = [], 3 * planes - packed.narrow
    inner.append(f"{vec} " + ", ".join(f"a{y}{x} = bias" for y in range(2) for x in range(4)) + ";")
    inner.append(f"{vec} v;")
    for row in range(3):
        for plane in range(planes):
            narrow = packed.narrow and plane == planes - 1
            shifts = (0, 2) if narrow else (0, 1, 2)
            inner.append("{")
            for i in range(len(shifts)):
                at = (row * dots + 3 * plane + i) * packed.features * isa.group
                inner.append(f"    const {vec} w{i} = {word('hold', f'w + {at}')};")
            for column in range(6):
                for y in range(2):
                    at = ((row + y) * planes + plane) * PLANE + (2 if narrow else 4) * column
                    at_corner = f"corner{narrow:d} + {at}"
                    inner.append(f"    v = {word('splat', at_corner)};")
                    for i, shift in enumerate(shifts):
                        if 0 <= column - shift < 4:
                            total = f"a{y}{column - shift}"
                            inner.append(f"    {total} = {word('dot', total, 'v', f'w{i}')};")
            inner.append("}")
    for t in range(2):
        a, b, c, d = (f"a{y}{x}" for y in range(2) for x in (2 * t, 2 * t + 1))
        best = word("max", word("max", a, b), word("max", c, d))
        to = f"features + ({TILES} * y + x + {t}) * {packed.features} + f"
        inner.append(f"{word('put', to, word('code', best, 'scale'))};")
    body = [
        f"const {isa.weight} *const w = lenet_conv2_bytes[0][0] + {isa.group} * f;",
        f"const {vec} bias = {word('load', f'lenet_conv2_{isa.bias} + f')};",
        f"const {isa.name}_f32 scale = {word('floats', 'lenet_conv2_scale + f')};",
        f"for (int y = 0; y < {TILES}; y++)",
        f"    for (int x = 0; x < {TILES}; x += 2) {{",
        f"        const uint8_t *const corner0 = pooled + {2 * planes * PLANE} * y + 8 * x;",
        *["        const uint8_t *const corner1 = corner0 - 4 * x;"] * packed.narrow,
        "        lenet_ahead(next, bytes, 3 * y + x / 2);",
        *indent(inner, 2),
        "    }",
    ]
    return "\n".join(
        [
            "/* conv2: pooled codes to feature codes [row][column][channel]. Meanwhile fetches",
            " * what is next. */",
            f"static {isa.kernel} void {isa.name}_conv2(",
            "    uint8_t *work, uint8_t *features, const void *next, size_t bytes)",
            "{",
            "    const uint8_t *const pooled = work + POOLED;",
            f"    for (int f = 0; f < {packed.features}; f += {isa.lanes}) {{",
            *indent(body, 2),
            "    }",
            "}",
            "",
        ]
    )
