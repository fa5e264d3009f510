"""C text of the second convolution: F(4,3) down columns nested with F(2,3) along rows.

A tile is 4x2 outputs, two pooling windows one above the other, from 6x4 pooled pixels of each
channel. `Isa.tiles` tiles of a row are computed at once, one row of their 6x4 positions after the
other, of which `Isa.columns` at once, so that sums stay in registers while the channels go by. All
sums begin at zero: none waits for another's end.
"""

import itertools

from lenet_export.formats.native.isa import Isa, indent
from lenet_export.formats.native.pack import LANES, POSITIONS, Packed

TILES = 6  # in a row
ROW = 14 * 16  # floats of a channel of conv1's pooled output


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
        f"static LENET_APART {isa.attribute} void {isa.name}_conv2(",
        "    const float *tiles, float *features)",
        "{",
        f"    for (int b = 0; b < {blocks}; b++)",
        f"        for (int v = 0; v < {LANES}; v += {isa.vectors * isa.width})",
        f"            for (int g = 0; g < {TILES}; g += {isa.tiles}) {{",
        *indent(_tiles(isa, packed), 4),
        "            }",
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
        f"static LENET_APART {isa.attribute} void {isa.name}_conv2(",
        "    const float *pooled, float *features)",
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
    """Lavin and Gray's B of both filters. Lane j is tile j: even columns are in the lower eight
    lanes of a row, odd ones in the upper, and one lane further is the next tile's."""
    w, vec = isa.word, f"const {isa.vec}"
    numbers = (("two", "2"), ("four", "4"), ("m2", "minus_2"), ("m4", "minus_4"))
    lines = [f"{vec} {name} = {w('splat', f'&lenet_{value}')};" for name, value in numbers]
    if isa.width == LANES and not isa.lanewise:  # even and odd columns at once
        lines += _down(isa, "a", 0)
        for i in range(6):
            lines += [
                f"{vec} next{i} = {w('next', f'a{i}')};",
                w("store", f"t + {32 * i}", w("first_products", f"a{i}", f"next{i}")) + ";",
                w("store", f"t + {32 * i + 16}", w("last_products", f"a{i}", f"next{i}")) + ";",
            ]
        return lines
    for part in range(0, 8, isa.width):
        lines += ["{", *indent(_down(isa, "a", part) + _down(isa, "b", 8 + part))]
        if isa.width == 8:
            for n, of in (("c", "a"), ("d", "b")):
                lines += [f"    {vec} {n}{i} = {w('next', f'{of}{i}')};" for i in range(6)]
        else:
            lines += indent(_down(isa, "c", 1 + part) + _down(isa, "d", 9 + part))
        for i in range(6):
            products = (
                w("sub", f"a{i}", f"c{i}"),
                w("add", f"b{i}", f"c{i}"),
                w("sub", f"c{i}", f"b{i}"),
                w("sub", f"d{i}", f"b{i}"),
            )
            for j, text in enumerate(products):
                lines.append(f"    {w('store', f't + {(4 * i + j) * 8 + part}', text)};")
        lines.append("}")
    return lines


def _down(isa: Isa, n: str, offset: int) -> list[str]:
    """The transform of six rows down columns, from ``q + offset``: values n0 to n5."""
    w, vec = isa.word, f"const {isa.vec}"
    rows = [w("load", f"q + {16 * y + offset}") for y in range(6)]
    lines = [f"{vec} {n}_{y} = {row};" for y, row in enumerate(rows)]
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
    return lines + [f"{vec} {name} = {text};" for name, text in terms.items()]


def _tiles(isa: Isa, packed: Packed) -> list[str]:
    """A few tiles from their transformed inputs to pooled features.

    Of a value's name, L and R are its output in the row, and then come its tile and its vector. The
    way back down the columns is A of F(4,3).
    """
    w = isa.word
    spots = [f"{t}_{v}" for t in range(isa.tiles) for v in range(isa.vectors)]
    ends = [f"{side}{spot}" for side in "LR" for spot in spots]
    numbers = (("two", "2"), ("four", "4"), ("eight", "8"))
    lines = [f"const {isa.vec} {name} = {w('splat', f'&lenet_{n}')};" for name, n in numbers]

    def define(**texts: str) -> None:
        """One value for each of `ends`, which @ stands for in its text."""
        for name, text in texts.items():
            lines.extend(f"const {isa.vec} {name}{end} = {text.replace('@', end)};" for end in ends)

    def row(i: int) -> None:
        lines.extend(_row(isa, packed, i, spots))

    row(1)
    row(2)
    define(s=w("add", "n1@", "n2@"), d=w("sub", "n1@", "n2@"))
    row(0)
    define(y0=w("add", "s@", "n0@"))
    row(5)
    define(y5=w("add", "d@", "n5@"))
    row(3)
    row(4)
    define(u=w("add", "n3@", "n4@"), e=w("sub", "n3@", "n4@"))
    define(o0=w("add", "y0@", "u@"), o1=w("fma", "two", "e@", "d@"))
    define(o2=w("fma", "four", "u@", "s@"), o3=w("fma", "eight", "e@", "y5@"))
    return lines + _pooled(isa, packed, 0, ("o0", "o1")) + _pooled(isa, packed, 1, ("o2", "o3"))


def _row(isa: Isa, packed: Packed, i: int, spots: list[str]) -> list[str]:
    """Row `i` of the products, summed over the channels, and back along the row: nI of both
    outputs, m1 + m2 + m0 and m1 - m2 + m3."""
    w, order, lines = isa.word, (1, 2, 0, 3), []
    names = ", ".join(f"n{i}{side}{spot}" for side in "LR" for spot in spots)
    for first in range(0, 4, isa.columns):
        columns = order[first : first + isa.columns]
        sums = [f"m{j}_{spot} = {w('zero')}" for j in columns for spot in spots]
        lines += [f"{isa.vec} {', '.join(sums)};", *_products(isa, packed, i, columns)]
        if 2 in columns:
            for spot in spots:
                lines.append(f"n{i}L{spot} = {w('add', f'm1_{spot}', f'm2_{spot}')};")
                lines.append(f"n{i}R{spot} = {w('sub', f'm1_{spot}', f'm2_{spot}')};")
        for j, side in ((0, "L"), (3, "R")):
            if j in columns:
                ends = [(f"n{i}{side}{spot}", f"m{j}_{spot}") for spot in spots]
                lines += [f"{n} = {w('add', n, m)};" for n, m in ends]
    return [f"{isa.vec} {names};", "{", *indent(lines), "}"]


def _products(isa: Isa, packed: Packed, i: int, columns: tuple[int, ...]) -> list[str]:
    """The products at some columns of row `i`, added up over the channels."""
    w, lines = isa.word, []
    for j in columns:
        for v in range(isa.vectors):
            at = f"w + {(4 * i + j) * LANES + v * isa.width}"
            lines += [f"{isa.vec} w{j}_{v} = {w('load', at)};", f"{w('keep', f'w{j}_{v}')};"]
        if isa.by_lane:
            lines.append(f"const {isa.vec} x{j} = {w('load', f'q + {(4 * i + j) * 8}')};")
        for t, v in itertools.product(range(isa.tiles), range(isa.vectors)):
            total, weight = f"m{j}_{t}_{v}", f"w{j}_{v}"
            if isa.by_lane:
                product = w("fma_lane", f"x{j}", str(t), weight, total)
            else:
                product = w("fma", w("splat", f"q + {(4 * i + j) * 8 + t}"), weight, total)
            lines.append(f"{total} = {product};")
    return [
        f"for (int k = 0; k < {packed.channels}; k++) {{",
        f"    const float *const q = tiles + k * {POSITIONS * 8} + g;",
        "    const float *const w = lenet_conv2[b][k][0] + v;",
        *indent(lines),
        "}",
    ]


def _pooled(isa: Isa, packed: Packed, half: int, rows: tuple[str, str]) -> list[str]:
    """A row of pooling windows, of two rows of outputs, with their bias, after ReLU."""
    w, lines = isa.word, []
    for t, v in itertools.product(range(isa.tiles), range(isa.vectors)):
        best = [w("max", f"{row}L{t}_{v}", f"{row}R{t}_{v}") for row in rows]
        bias = w("load", f"lenet_conv2_bias[b] + v + {v * isa.width}")
        value = w("max", w("zero"), w("add", w("max", *best), bias))
        pixel = f"({TILES * half} + g + {t}) * {packed.blocks * LANES}"
        target = f"features + {pixel} + 16 * b + v + {v * isa.width}"
        lines.append(w("store", target, value) + ";")
    return lines
