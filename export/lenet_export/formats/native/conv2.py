"""C text of the second convolution: F(4,3) down columns nested with F(2,3) along rows.

A tile is 4x2 outputs, two pooling windows one above the other, from 6x4 pooled pixels of each
channel. `Isa.tiles` tiles of a row are computed at once, one column of their 6x4 positions after
the other, so that sums stay in registers while the channels go by.
"""

import itertools

from lenet_export.formats.native.isa import V4, Isa, indent
from lenet_export.formats.native.pack import LANES, POSITIONS, Packed

TILES = 6  # in a row
ROW = 14 * 16  # floats of a channel of conv1's pooled output
_COLUMNS = range(4)
# Rows of the positions, in pairs that the way back uses together: as sum and difference.
_PAIRS = ((1, 2), (3, 4), (0, 5))
_ONE = [  # kept from the compiler, which would make additions of multiplications by it
    "    v4_vec one = _mm512_set1_ps(1.0f);",
    "    v4_keep(one);",
]


def functions(isa: Isa, packed: Packed) -> list[str]:
    """``NAME_transform`` and ``NAME_conv2``; or the latter alone, tap by tap."""
    blocks = packed.blocks
    if packed.direct[1]:
        return _direct(isa, packed)
    return [
        "/* Winograd's input transform of six pooled rows of one channel: eight tiles. */",
        f"static inline {isa.attribute} void {isa.name}_transform(const float *q, float *t)",
        "{",
        *indent(_transform(isa)),
        "}",
        "/* A row of six tiles: products, the way back, pooling. */",
        f"static {isa.attribute} void {isa.name}_conv2(const float *tiles, float *features)",
        "{",
        *(_ONE if isa.name == V4.name else []),
        f"    for (int b = 0; b < {blocks}; b++)",
        f"        for (int g = 0; g < {TILES}; g += {isa.tiles}) {{",
        *indent(_tiles(isa, packed), 3),
        "        }",
        "}",
    ]


def _direct(isa: Isa, packed: Packed) -> list[str]:
    """``NAME_conv2`` of a row of pooling windows, from four of conv1's pooled rows."""
    w, outputs = isa.word, tuple(itertools.product(range(2), range(2)))
    body = [f"const float *const corner = pooled + x + {ROW} * k;"]
    taps = [f"lenet_conv2[b][k][{tap}] + v" for tap in range(9)]
    body += [f"const {isa.vec} w{tap} = {w('load', at)};" for tap, at in enumerate(taps)]
    for row, column in itertools.product(range(4), range(4)):
        # Even columns are in the lower eight lanes of a row, odd ones in the upper.
        pixel = w("splat", f"corner + {16 * row + 8 * (column % 2) + column // 2}")
        body += ["{", f"    const {isa.vec} pixel = {pixel};"]
        for y, x in outputs:
            if 0 <= row - y < 3 and 0 <= column - x < 3:
                tap = f"w{3 * (row - y) + column - x}"
                body.append(f"    a{y}{x} = {w('fma', 'pixel', tap, f'a{y}{x}')};")
        body.append("}")
    starts = [f"a{y}{x} = {w('zero')}" for y, x in outputs]
    best = w("max", w("max", "a00", "a01"), w("max", "a10", "a11"))
    best = w("add", best, w("load", "lenet_conv2_bias[b] + v"))
    target = f"features + {packed.blocks * LANES} * x + 16 * b + v"
    return [
        "/* A row of six pooling windows: sums over the taps, pooling. */",
        f"static {isa.attribute} void {isa.name}_conv2(const float *pooled, float *features)",
        "{",
        f"    for (int b = 0; b < {packed.blocks}; b++)",
        f"        for (int v = 0; v < {LANES}; v += {isa.width})",
        f"            for (int x = 0; x < {TILES}; x++) {{",
        *indent([f"{isa.vec} {', '.join(starts)};"], 4),
        *indent([f"for (int k = 0; k < {packed.channels}; k++) {{", *indent(body), "}"], 4),
        *indent([w("store", target, w("max", w("zero"), best)) + ";"], 4),
        "            }",
        "}",
    ]


def _transform(isa: Isa) -> list[str]:
    """Lavin and Gray's B of both filters. Lane j is tile j."""

    def w(name: str, *arguments: str) -> str:
        return f"{isa.half}_{name}({', '.join(arguments)})"

    vec = f"const {isa.half}_vec"
    lines = [
        f"{vec} {name} = {w('splat', f'&lenet_{value}')};"
        for name, value in (("two", "2"), ("four", "4"), ("m2", "minus_2"), ("m4", "minus_4"))
    ]
    for part in range(0, 8, min(8, isa.width)):
        lines.append("{")
        # Even columns, odd ones, and both one tile further.
        for n, offset in (("a", 0), ("b", 8), ("c", 1), ("d", 9)):
            rows = [w("load", f"q + {16 * y + offset + part}") for y in range(6)]
            lines += [f"    {vec} {n}_{y} = {row};" for y, row in enumerate(rows)]
            terms = {
                f"{n}p": w("fma", "m4", f"{n}_2", f"{n}_4"),
                f"{n}q": w("fma", "m4", f"{n}_1", f"{n}_3"),
                f"{n}r": w("sub", f"{n}_4", f"{n}_2"),
                f"{n}s": w("sub", f"{n}_3", f"{n}_1"),
                f"{n}0": w("fma", "four", w("sub", f"{n}_0", f"{n}_2"), f"{n}r"),
                f"{n}1": w("add", f"{n}p", f"{n}q"),
                f"{n}2": w("sub", f"{n}p", f"{n}q"),
                f"{n}3": w("fma", "two", f"{n}s", f"{n}r"),
                f"{n}4": w("fma", "m2", f"{n}s", f"{n}r"),
                f"{n}5": w("fma", "m4", f"{n}s", w("sub", f"{n}_5", f"{n}_3")),
            }
            lines += [f"    {vec} {name} = {text};" for name, text in terms.items()]
        for i in range(6):
            products = (
                w("sub", f"a{i}", f"c{i}"),
                w("add", f"b{i}", f"c{i}"),
                w("sub", f"c{i}", f"b{i}"),
                w("sub", f"b{i}", f"d{i}"),
            )
            for j, text in enumerate(products):
                lines.append(f"    {w('store', f't + {(4 * i + j) * 8 + part}', text)};")
        lines.append("}")
    return lines


def _tiles(isa: Isa, packed: Packed) -> list[str]:
    """A few tiles from their transformed inputs to pooled features."""
    w = isa.word
    each = [f"{t}_{v}" for t in range(isa.tiles) for v in range(LANES // isa.width)]
    names = [f"y{i}{j}_{at}" for i in range(4) for j in _COLUMNS for at in each]
    numbers = (("two", "2"), ("four", "4"), ("eight", "8"))
    lines = [f"const {isa.vec} {name} = {w('splat', f'&lenet_{n}')};" for name, n in numbers]
    lines.append(f"{isa.vec} {', '.join(names)};")
    for j in _COLUMNS:
        for first in range(0, len(_PAIRS), isa.pairs):
            pairs = _PAIRS[first : first + isa.pairs]
            lines += ["{", *indent(_products(isa, packed, sorted(sum(pairs, ())), j))]
            for at in each:
                for pair in pairs:
                    lines += indent(_back(isa, pair, [f"y{i}{j}_{at}" for i in range(4)], at))
            lines.append("}")
    for t in range(isa.tiles):
        for v in range(LANES // isa.width):
            at = f"{t}_{v}"
            ends = []
            for i in range(4):
                y = [f"y{i}{j}_{at}" for j in _COLUMNS]
                left = w("add2", w("add", y[0], y[1]), y[2])
                right = w("sub2", w("sub", y[1], y[2]), y[3])
                ends.append(w("max", left, right))
            for half in (0, 1):
                best = w("max", ends[2 * half], ends[2 * half + 1])
                best = w("add", best, w("load", f"lenet_conv2_bias[b] + {v * isa.width}"))
                pixel = f"({TILES * half} + g + {t}) * {packed.blocks * LANES}"
                target = f"features + {pixel} + 16 * b + {v * isa.width}"
                lines.append(w("store", target, w("max", w("zero"), best)) + ";")
    return lines


def _back(isa: Isa, pair: tuple[int, int], y: list[str], at: str) -> list[str]:
    """What a pair of rows of products adds to the four rows of outputs `y`; A of F(4,3)."""
    w = isa.word
    m, n = (f"m{i}_{at}" for i in pair)
    if pair == (1, 2):
        return [
            f"{y[0]} = {w('add', m, n)};",
            f"{y[1]} = {w('sub2', m, n)};",
            f"{y[2]} = {y[0]};",
            f"{y[3]} = {y[1]};",
        ]
    if pair == (3, 4):
        return [
            f"const {isa.vec} sum{at} = {w('add', m, n)}, difference{at} = {w('sub', m, n)};",
            f"{y[0]} = {w('add', y[0], f'sum{at}')};",
            f"{y[1]} = {w('fma', 'two', f'difference{at}', y[1])};",
            f"{y[2]} = {w('fma', 'four', f'sum{at}', y[2])};",
            f"{y[3]} = {w('fma', 'eight', f'difference{at}', y[3])};",
        ]
    return [f"{y[0]} = {w('add', y[0], m)};", f"{y[3]} = {w('add', y[3], n)};"]


def _products(isa: Isa, packed: Packed, rows: list[int], j: int) -> list[str]:
    """Sums over the channels at column `j` of the 6x4 positions, in ``mI_TILE_VECTOR``."""
    w, vectors, tiles = isa.word, range(LANES // isa.width), range(isa.tiles)
    lines = []
    for i in rows:
        for t in tiles:
            for v in vectors:
                lines.append(f"{isa.vec} m{i}_{t}_{v} = {w('zero')};")
    lines += [
        f"for (int k = 0; k < {packed.channels}; k++) {{",
        f"    const float *const q = tiles + k * {POSITIONS * 8} + g;",
        "    const float *const w = lenet_conv2[b][k][0];",
    ]
    for i in rows:
        for v in vectors:
            at = f"w + {(4 * i + j) * LANES + v * isa.width}"
            lines += [
                f"    {isa.vec} w{i}_{v} = {w('load', at)};",
                f"    {w('keep', f'w{i}_{v}')};",
            ]
        if isa.by_lane:
            lines.append(f"    const {isa.vec} x{i} = {w('load', f'q + {(4 * i + j) * 8}')};")
        for t in tiles:
            for v in vectors:
                m = f"m{i}_{t}_{v}"
                x = w("splat", f"q + {(4 * i + j) * 8 + t}")
                product = (
                    w("fma_lane", f"x{i}", str(t), f"w{i}_{v}", m)
                    if isa.by_lane
                    else w("fma", x, f"w{i}_{v}", m)
                )
                lines.append(f"    {m} = {product};")
    return [*lines, "}"]
