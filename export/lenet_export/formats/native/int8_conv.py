"""C text of int8's convolutions, but for the minimal filters of `int8_minimal`.

conv1 has pooled columns in lanes, as the fp32 kernel does, and takes two int16 taps at once: nine
taps are five products. Its codes are stored as dot products take them: a plane holds a group of
channels, side by side, of every column. conv2 has output channels in lanes.
"""

from lenet_export.formats.native.int8_isa import Dots
from lenet_export.formats.native.int8_pack import COLUMNS, ROWS, TILES, PackedInt8
from lenet_export.formats.native.isa import indent

_PLANE = 4 * COLUMNS  # bytes of a plane's row


def conv1(isa: Dots, packed: PackedInt8) -> str:
    """``ISA_conv1``: pixel codes to pooled codes ``[row][plane][column]``."""
    vec, word = isa.vec, isa.word
    planes = packed.planes(isa.group)
    body = ["const int16_t *const row = image + 64 * p + 2 * c;"]
    # Lane j of rY_X holds columns 2j+X and 2j+X+1 of row Y: two taps of column 2j or 2j+1.
    for y in range(4):
        for x in range(4):
            body.append(f"const {vec} r{y}_{x} = {word('load', f'row + {32 * y + x}')};")
    for y in (0, 2):  # third taps, of two rows side by side
        for x in (2, 3):
            thirds = word("firsts", f"r{y}_{x}", f"r{y + 1}_{x}")
            body.append(f"const {vec} t{y}_{x} = {thirds};")
    body += [
        f"{vec} q[{isa.group * planes}];",
        f"for (int k = 0; k < {packed.channels}; k++) {{",
        "    const int16_t (*const w)[2] = lenet_conv1_pairs[k];",
    ]
    body += [f"    const {vec} w{i} = {word('splat', f'w[{i}]')};" for i in range(7)]
    body.append(f"    const {vec} bias = {word('splat', 'lenet_conv1_bias + k')};")
    for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
        thirds = (f"t0_{x + 2}", f"r2_{x + 2}") if y == 0 else (f"t2_{x + 2}", f"r1_{x + 2}")
        values = [f"r{y}_{x}", f"r{y + 1}_{x}", f"r{y + 2}_{x}", *thirds]
        total = f"a{y}{x}"
        body.append(f"    {vec} {total} = {word('product', values[0], 'w0')};")
        for value, weight in zip(values[1:], (1, 2, 3 + 2 * y, 4 + 2 * y), strict=True):
            body.append(f"    {total} = {word('pairs', total, value, f'w{weight}')};")
    best = word("max", word("max", "a00", "a01"), word("max", "a10", "a11"))
    body += [
        f"    const {vec} best = {word('add', best, 'bias')};",
        f"    q[k] = {word('code', 'best', word('float', 'lenet_conv1_scale + k'))};",
        "}",
    ]
    join = {2: "pair", 4: "quad"}[isa.group]
    for plane in range(planes):
        channels = range(isa.group * plane, isa.group * (plane + 1))
        codes = [f"q[{k}]" if k < packed.channels else word("zero") for k in channels]
        narrow = isa.group == 4 and packed.narrow and plane == planes - 1
        to = f"pooled + {planes * _PLANE} * p + {_PLANE * plane} + {2 if narrow else 4} * c"
        body.append(f"{word('twos' if narrow else 'store', to, word(join, *codes))};")
    return "\n".join(
        [
            "/* conv1: pixel codes to pooled codes [row][plane][column][channel of the plane]. */",
            f"static {isa.kernel} void {isa.name}_conv1(const int16_t *image, uint8_t *pooled)",
            "{",
            f"    for (int p = 0; p < {ROWS}; p++)",
            f"        for (int c = 0; c < {COLUMNS}; c += {isa.lanes}) {{",
            *indent(body, 3),
            "        }",
            "}",
            "",
        ]
    )


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
            for y in range(2):
                for column in range(6):
                    at = ((row + y) * planes + plane) * _PLANE + (2 if narrow else 4) * column
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
        f"        const uint8_t *const corner0 = pooled + {2 * planes * _PLANE} * y + 8 * x;",
        *[f"        const uint8_t *const corner1 = corner0 - 4 * x;"] * packed.narrow,
        "        lenet_ahead(next, bytes, 3 * y + x / 2);",
        *indent(inner, 2),
        "    }",
    ]
    return "\n".join(
        [
            "/* conv2: pooled codes to feature codes [row][column][channel]. Meanwhile, since dot",
            " * products leave loads idle, fetches `bytes` of what is next. */",
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
