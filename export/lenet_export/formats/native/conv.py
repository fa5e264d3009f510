"""C text of the two convolutions: one image becomes 36 pixels of 16 (or more) channels.

Both convolutions are fused with their bias, ReLU and pooling, row by row, so that an image's
activations never leave the L1 cache:

- conv1 puts pooled columns into lanes, even columns in the lower half, odd ones in the upper:
  its four Winograd products are then lane-wise, and so is pooling.
- conv2 (`conv2`) puts output channels into lanes. A Winograd tile is two pooling windows, one
  above the other. The split of conv1's columns makes its input transform lane-wise, too: tile j
  needs the columns 2j, 2j+1, 2j+2 and 2j+3, which are lane j of both halves and lane j+1 of both.
"""

import itertools
from collections.abc import Callable

from lenet_export.formats.native import assembly, conv2
from lenet_export.formats.native.isa import V4, Isa, indent
from lenet_export.formats.native.pack import LANES, POSITIONS, Packed

MOST_WRITTEN_OUT = 8  # channels
ROWS = 14  # of the 15 that conv1's pooling leaves, those that conv2's pooling reaches


def functions(isa: Isa, packed: Packed) -> str:
    """``NAME_features`` and what it calls: an image to its features ``(6, 6, channels)``."""
    lines = [
        *conv2.functions(isa, packed),
        "/* An image to its features (6, 6, channels). */",
        f"static {isa.attribute} void {isa.name}_features(",
        "    const float *image, float *features, float *scratch)",
        "{",
        "    float *const pooled = scratch; /* [channel][row][16 columns] */",
    ]
    if not packed.direct[1]:
        lines.append(
            f"    float *const tiles = scratch + {_pooled_floats(packed)};"
            " /* [channel][6x4 position][8 tiles] */"
        )
    lines += [*indent(_conv1(isa, packed)), "}"]
    return "\n".join(lines)


def _pooled_floats(packed: Packed) -> int:
    """Floats of conv1's output, with a row to spare for reads of a shifted row."""
    return (packed.channels * ROWS + 1) * LANES


def scratch_floats(packed: Packed) -> int:
    """Floats of scratch memory that `functions` use."""
    return _rows_at(packed) + 16 * LANES + packed.channels * 4 * LANES


def _rows_at(packed: Packed) -> int:
    """Where the four rows of input stand whose registers are too few to hold them."""
    return _pooled_floats(packed) + packed.channels * POSITIONS * 8


def _conv1(isa: Isa, packed: Packed) -> list[str]:
    """Row by row of pooled output: four rows of input, of which two are the next row's first.

    A row of tiles follows the last of the six pooled rows that it needs.
    """
    write = _with_rows_in_registers if isa.width == LANES else _with_rows_in_memory
    if packed.direct[1]:
        row = conv2.TILES * LANES * packed.blocks
        return [
            *write(isa, packed, []),
            f"for (int y = 0; y < {conv2.TILES}; y++)",
            f"    {isa.name}_conv2(pooled + 32 * y, features + {row} * y);",
        ]
    return write(isa, packed, ["if (p > 4 && p % 4 == 1) {", *indent(_tiles(isa, packed)), "}"])


def _tiles(isa: Isa, packed: Packed) -> list[str]:
    """A row of tiles, of the last six pooled rows."""
    return [
        f"for (int k = 0; k < {packed.channels}; k++)",
        f"    {isa.name}_transform("
        f"pooled + (k * {ROWS} + p - 5) * 16, tiles + k * {POSITIONS * 8});",
        f"{isa.name}_conv2(tiles, features + (p - 5) * {3 * LANES * packed.blocks});",
    ]


def _with_rows_in_registers(isa: Isa, packed: Packed, ends: list[str]) -> list[str]:
    """The loop over pooled rows where a register holds a whole one."""
    direct, channels = packed.direct[0], packed.channels
    names = [[f"r{y}_{t}" for t in range(4)] for y in range(4)]
    lines = [f"{isa.vec} {', '.join(name for row in names for name in row)};"]

    def load(row: str, y: int) -> list[str]:
        return load_row(isa, row, direct, lambda t, _, value: f"r{y}_{t} = {value};")

    lines += load("image", 0) + load("image + 32", 1)
    body = load("image + 64 * p + 64", 2) + load("image + 64 * p + 96", 3)
    channel = [_filters(packed), *(_direct(isa) if direct else _left(isa) + _right(isa))]
    channel += _pooled(isa)
    # Written out, an image takes 2% less on Zen 4; bf16 loses 5%.
    if channels <= MOST_WRITTEN_OUT and isa is V4:
        for k in range(channels):
            body += ["{", f"    enum {{ k = {k} }};", *indent(channel), "}"]
    else:
        body += [f"for (int k = 0; k < {channels}; k++) {{", *indent(channel), "}"]
    body += ends
    for low, high in ((0, 2), (1, 3)):
        for target, source in zip(names[low], names[high], strict=True):
            body.append(f"{target} = {source};")
    return [*lines, f"for (int p = 0; p < {ROWS}; p++) {{", *indent(body), "}"]


def _with_rows_in_memory(isa: Isa, packed: Packed, ends: list[str]) -> list[str]:
    """The same where it takes several: part by part, for each part half of the products for all
    channels, then the other half. Eight registers of input then serve 72 FMAs."""
    w, direct, channels = isa.word, packed.direct[0], packed.channels

    def load(row: str, to: str) -> list[str]:
        return load_row(
            isa, row, direct, lambda t, v, value: w("store", f"{to} + {16 * t + v}", value) + ";"
        )

    def inputs(products: tuple[int, ...]) -> list[str]:
        places = ("top", "top + 64", "bottom", "bottom + 64")
        return [
            f"const {isa.vec} r{y}_{t} = {w('load', f'{place} + {16 * t} + v')};"
            for t in products
            for y, place in enumerate(places)
        ]

    def loop(body: list[str]) -> list[str]:
        return [f"for (int k = 0; k < {channels}; k++) {{", *indent([_filters(packed), *body]), "}"]

    if direct:
        part = inputs((0, 1, 2, 3)) + loop([*_direct(isa), *_pooled(isa, " + v")])
    else:
        kept = [f"half + {4 * isa.width} * k + {n * isa.width}" for n in range(4)]
        names = ("m0", "o00", "m1", "o10")
        part = ["{", *indent(inputs((0, 1)))]
        saved = [w("store", at, name) + ";" for at, name in zip(kept, names, strict=True)]
        part += [*indent(loop(_left(isa) + saved)), "}", *inputs((2, 3))]
        loaded = [f"{isa.vec} {n} = {w('load', at)};" for at, n in zip(kept, names, strict=True)]
        part += loop([*loaded, *_right(isa), *_pooled(isa, " + v")])
    body = [
        "float *const top = rows + 128 * (p % 2), *const bottom = rows + 128 * (1 - p % 2);",
        *load("image + 64 * p + 64", "bottom"),
        *load("image + 64 * p + 96", "bottom + 64"),
        f"for (int v = 0; v < {LANES}; v += {isa.width}) {{",
        *indent(part),
        "}",
        *ends,
    ]
    at = _rows_at(packed)
    lines = [f"float *const rows = scratch + {at}; /* [row][product][16 columns] */"]
    if not direct:
        lines.append(f"float *const half = scratch + {at + 16 * LANES}; /* [channel][sum] */")
    lines += load("image", "rows") + load("image + 32", "rows + 64")
    return [*lines, f"for (int p = 0; p < {ROWS}; p++) {{", *indent(body), "}"]


def load_row(isa: Isa, row: str, direct: bool, keep: Callable[[int, int, str], str]) -> list[str]:
    """Load 32 pixels, part them by column modulo 4, and transform: products 0 to 3 of F(2,3).
    For a direct convolution they stay as they are.

    Lane j of the lower half is pooled column 2j, which sees pixels 4j to 4j+3; of the upper half
    2j+1, which sees 4j+2 to 4j+5. `keep` makes the statement that keeps a value, of a product and
    the first of its lanes.
    """
    lines = ["{", f"    const float *const row = {row};"]
    w = isa.word
    lines += indent(assembly.text(f"{isa.name}_columns.c").splitlines())
    for v in range(LANES // isa.width):
        d = [f"d{t}_{v}" for t in range(4)]
        # The last is negated: the way back subtracts this product, and so it can be an FMA.
        parts = ("sub", d[0], d[2]), ("add", d[1], d[2]), ("sub", d[2], d[1]), ("sub", d[3], d[1])
        values = d if direct else [w(*part) for part in parts]
        lines += [f"    {keep(t, v * isa.width, value)}" for t, value in enumerate(values)]
    return [*lines, "}"]


def _filters(packed: Packed) -> str:
    """The pointer to the filters of channel k."""
    return f"const float *const w = lenet_{'filter1' if packed.direct[0] else 'conv1'}[k];"


def _summed(isa: Isa, y: int, t: int, total: str, start: str = "") -> list[str]:
    """Product `t` of a row of output, summed over the rows of the filter, on top of `start`."""
    w = isa.word
    terms = [(w("splat", f"w + {4 * dy + t}"), f"r{y + dy}_{t}") for dy in range(3)]
    first = w("fma", *terms[0], start) if start else w("mul", *terms[0])
    return [f"{total} = {first};", *(f"{total} = {w('fma', *term, total)};" for term in terms[1:])]


def _left(isa: Isa) -> list[str]:
    """Products 1 and 0 of one channel of two rows of output.

    The outputs are m0 + m1 + m2 and m1 - m2 - m3. Products 0 and 3 have one output each and are
    summed in it.
    """
    lines = [f"{isa.vec} m0, m1, o00, o10;"]
    for y in range(2):
        lines += _summed(isa, y, 1, f"m{y}") + _summed(isa, y, 0, f"o{y}0", f"m{y}")
    return lines


def _right(isa: Isa) -> list[str]:
    """Products 3 and 2, and the outputs."""
    w, lines = isa.word, [f"{isa.vec} o01, o11;"]
    for y in range(2):
        left, right, m = f"o{y}0", f"o{y}1", f"m{y}"
        lines += _summed(isa, y, 3, right, m) + _summed(isa, y, 2, m)
        lines += [f"{left} = {w('add', left, m)};", f"{right} = {w('sub', right, m)};"]
    return lines


def _direct(isa: Isa) -> list[str]:
    """The outputs of one channel of two rows, tap by tap."""
    w = isa.word
    lines = [f"{isa.vec} o00, o01, o10, o11;"]
    for y, x in itertools.product(range(2), range(2)):
        total = f"o{y}{x}"
        for i, j in itertools.product(range(3), range(3)):
            terms = w("splat", f"w + {3 * i + j}"), f"r{y + i}_{x + j}"
            value = w("fma", *terms, total) if i or j else w("mul", *terms)
            lines.append(f"{total} = {value};")
    return lines


def _pooled(isa: Isa, lanes: str = "") -> list[str]:
    """A pooled row of the four outputs of each window, with their bias, after ReLU.

    A bias moves the largest of a window as it moves all of them.
    """
    w = isa.word
    best = w("max", w("max", "o00", "o01"), w("max", "o10", "o11"))
    best = w("max", w("zero"), w("add", best, w("splat", "lenet_conv1_bias + k")))
    return [w("store", f"pooled + (k * {ROWS} + p) * 16{lanes}", best) + ";"]
