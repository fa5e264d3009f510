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
    return _pooled_floats(packed) + packed.channels * POSITIONS * 8


def _conv1(isa: Isa, packed: Packed) -> list[str]:
    """Row by row of pooled output: four rows of input, of which two are the next row's first.

    A row of tiles needs six pooled rows. It is transformed during the two rows that follow, half
    of the channels in each: its loads then find in the cache what was stored, and its additions
    run beside the FMAs of the row that is being computed.
    """
    vectors, channels = range(LANES // isa.width), packed.channels
    names = [[f"r{y}_{t}_{v}" for t in range(4) for v in vectors] for y in range(4)]
    lines = [f"{isa.vec} {', '.join(name for row in names for name in row)};"]
    direct1, direct2 = packed.direct
    lines += load_row(isa, "image", 0, direct1) + load_row(isa, "image + 32", 1, direct1)

    def transform(row: str) -> str:
        return (
            f"{isa.name}_transform("
            f"pooled + (k * {ROWS} + {row}) * 16, tiles + k * {POSITIONS * 8});"
        )

    def products(row: str) -> str:
        return f"{isa.name}_conv2(tiles, features + {row} * {3 * LANES * packed.blocks});"

    body = load_row(isa, "image + 64 * p + 64", 2, direct1)
    body += load_row(isa, "image + 64 * p + 96", 3, direct1)
    channel = [
        f"const float *const w = lenet_{'filter1' if direct1 else 'conv1'}[k];",
        *(_conv1_direct(isa) if direct1 else _conv1_winograd(isa)),
        *_pooled(isa),
    ]
    if not direct2:
        channel += [
            f"if (p > 5 && p % 4 == (k < {channels // 2} ? 2 : 3))",
            f"    {transform('row')}",
        ]
        body.append("const int row = (p - 6) / 4 * 4; /* where the tiles begin */")
    # Written out, an image takes 2% less on Zen 4; AVX2 gains nothing, and bf16 loses 5%.
    if channels <= MOST_WRITTEN_OUT and isa is V4:
        for k in range(channels):
            body += ["{", f"    enum {{ k = {k} }};", *indent(channel), "}"]
    else:
        body += [f"for (int k = 0; k < {channels}; k++) {{", *indent(channel), "}"]
    if not direct2:
        body += ["if (p > 5 && p % 4 == 3)", f"    {products('row')}"]
    for low, high in ((0, 2), (1, 3)):
        for target, source in zip(names[low], names[high], strict=True):
            body.append(f"{target} = {source};")
    lines += [f"for (int p = 0; p < {ROWS}; p++) {{", *indent(body), "}"]
    if direct2:
        row = conv2.TILES * LANES * packed.blocks
        return [
            *lines,
            f"for (int y = 0; y < {conv2.TILES}; y++)",
            f"    {isa.name}_conv2(pooled + 32 * y, features + {row} * y);",
        ]
    lines += [
        f"for (int k = 0; k < {channels}; k++)",
        f"    {transform('8')}",
        products("8"),
    ]
    return lines


def load_row(isa: Isa, row: str, y: int, direct: bool) -> list[str]:
    """Load 32 pixels, part them by column modulo 4, and transform: products 0 to 3 of F(2,3).
    For a direct convolution they stay as they are.

    Lane j of the lower half is pooled column 2j, which sees pixels 4j to 4j+3; of the upper half
    2j+1, which sees 4j+2 to 4j+5.
    """
    lines = ["{", f"    const float *const row = {row};"]
    w = isa.word
    vectors = range(LANES // isa.width)
    lines += indent(assembly.text(f"{isa.name}_columns.c").splitlines())
    for v in vectors:
        d = [f"d{t}_{v}" for t in range(4)]
        r = [f"r{y}_{t}_{v}" for t in range(4)]
        if direct:
            lines += [f"    {r[t]} = {d[t]};" for t in range(4)]
            continue
        lines += [
            f"    {r[0]} = {w('sub', d[0], d[2])};",
            f"    {r[1]} = {w('add', d[1], d[2])};",
            f"    {r[2]} = {w('sub', d[2], d[1])};",
            # Negated: the way back subtracts this product, and so it can be an FMA.
            f"    {r[3]} = {w('sub', d[3], d[1])};",
        ]
    return [*lines, "}"]


def _outputs(isa: Isa) -> str:
    """The four outputs of a pooling window, in each vector of the lanes."""
    vectors = range(LANES // isa.width)
    return ", ".join(f"o{y}{x}_{v}" for y in range(2) for x in range(2) for v in vectors)


def _conv1_winograd(isa: Isa) -> list[str]:
    """One channel of two rows of output.

    The outputs are m0 + m1 + m2 and m1 - m2 - m3. Products 0 and 3 have one output each and are
    summed in it.
    """
    w, vectors = isa.word, range(LANES // isa.width)
    lines = [f"{isa.vec} m, {_outputs(isa)};"]
    for y in range(2):
        for v in vectors:
            left, right = f"o{y}0_{v}", f"o{y}1_{v}"

            def summed(t: int, target: str, start: str, y: int = y, v: int = v) -> list[str]:
                terms = [(w("splat", f"w + {4 * dy + t}"), f"r{y + dy}_{t}_{v}") for dy in range(3)]
                first = w("fma", *terms[0], start) if start else w("mul", *terms[0])
                rest = [f"{target} = {w('fma', *term, target)};" for term in terms[1:]]
                return [f"{target} = {first};", *rest]

            lines += summed(1, "m", "") + summed(0, left, "m") + summed(3, right, "m")
            lines += summed(2, "m", "")
            lines += [f"{left} = {w('add', left, 'm')};", f"{right} = {w('sub', right, 'm')};"]
    return lines


def _conv1_direct(isa: Isa) -> list[str]:
    """The same, tap by tap."""
    w, vectors = isa.word, range(LANES // isa.width)
    lines = [f"{isa.vec} {_outputs(isa)};"]
    for y, x, v in itertools.product(range(2), range(2), vectors):
        total = f"o{y}{x}_{v}"
        for i, j in itertools.product(range(3), range(3)):
            terms = w("splat", f"w + {3 * i + j}"), f"r{y + i}_{x + j}_{v}"
            value = w("fma", *terms, total) if i or j else w("mul", *terms)
            lines.append(f"{total} = {value};")
    return lines


def _pooled(isa: Isa) -> list[str]:
    """A pooled row of the four outputs of each window, with their bias, after ReLU.

    A bias moves the largest of a window as it moves all of them.
    """
    w, lines = isa.word, []
    for v in range(LANES // isa.width):
        top = w("max", f"o00_{v}", f"o01_{v}")
        bottom = w("max", f"o10_{v}", f"o11_{v}")
        best = w("add", w("max", top, bottom), w("splat", "lenet_conv1_bias + k"))
        best = w("max", w("zero"), best)
        lines.append(w("store", f"pooled + (k * {ROWS} + p) * 16 + {v * isa.width}", best) + ";")
    return lines
