"""C text of the two convolutions: one image becomes 36 pixels of 16 (or more) channels.

Both convolutions are fused with their bias, ReLU and pooling, row by row, so that an image's
activations never leave the L1 cache:

- conv1 puts pooled columns into lanes, even columns in the lower half, odd ones in the upper:
  its four Winograd products are then lane-wise, and so is pooling.
- conv2 puts output channels into lanes. A 2x2 Winograd tile is exactly a pooling window. The
  split of conv1's columns makes its input transform lane-wise, too: tile j needs the columns
  2j, 2j+1, 2j+2 and 2j+3, which are lane j of both halves and lane j+1 of both.
"""

from lenet_export.native.isa import V4, Isa
from lenet_export.native.pack import LANES, Packed

ROWS = 14  # of the 15 that conv1's pooling leaves, those that conv2's pooling reaches
_ONE = [  # kept from the compiler, which would make additions of multiplications by it
    "    v4_vec one = _mm512_set1_ps(1.0f);",
    "    v4_keep(one);",
]
TILES = 6  # a side of the second pooling's output


def functions(isa: Isa, packed: Packed) -> str:
    """``NAME_features`` and what it calls: an image to its features ``(6, 6, channels)``."""
    head = f"static inline {isa.attribute} void {isa.name}"
    transform = [
        "/* Winograd's input transform of four pooled rows of one channel: eight tiles. */",
        f"{head}_transform(const float *q, float *t)",
        "{",
        *_indent(_transform(isa)),
        "}",
    ]
    conv2 = [
        "/* A row of six tiles: products, the way back, pooling. */",
        f"static {isa.attribute} void {isa.name}_conv2(const float *tiles, float *features)",
        "{",
        *(_ONE if isa.name == V4.name else []),
        *_indent(_conv2(isa, packed)),
        "}",
    ]
    features = [
        "/* An image to its features (6, 6, channels). */",
        f"static {isa.attribute} void {isa.name}_features(",
        "    const float *image, float *features, float *scratch)",
        "{",
        "    float *const pooled = scratch;  /* [channel][row][16 columns] */",
        f"    float *const tiles = scratch + {scratch_pooled(packed)};  "
        "/* [channel][4x4 position][8 tiles] */",
        *_indent(_conv1(isa, packed)),
        "}",
    ]
    return "\n".join([*transform, *conv2, *features])


def scratch_pooled(packed: Packed) -> int:
    """Floats of conv1's output, with a row to spare for reads of a shifted row."""
    return (packed.channels * ROWS + 1) * LANES


def scratch_floats(packed: Packed) -> int:
    """Floats of scratch memory that `features` uses."""
    return scratch_pooled(packed) + packed.channels * 16 * 8


def _conv1(isa: Isa, packed: Packed) -> list[str]:
    """Row by row of pooled output: four rows of input, of which two are the next row's first.

    Tiles are transformed two rows late: their loads then find what was stored in the cache, and
    their additions run beside the FMAs of the row that is being computed.
    """
    vectors = range(LANES // isa.width)
    names = [[f"r{y}_{t}_{v}" for t in range(4) for v in vectors] for y in range(4)]
    lines = [f"{isa.vec} {', '.join(name for row in names for name in row)};"]
    lines += load_row(isa, "image", 0) + load_row(isa, "image + 32", 1)
    transform = f"{isa.name}_transform(pooled + (k * {ROWS} + p - 4) * 16, tiles + k * 128)"
    conv2 = f"{isa.name}_conv2(tiles, features + (p / 2 - 2) * {TILES * LANES * packed.blocks})"
    body = load_row(isa, "image + 64 * p + 64", 2) + load_row(isa, "image + 64 * p + 96", 3)
    body += [
        "const int ready = p > 3 && p % 2 == 0;",
        f"for (int k = 0; k < {packed.channels}; k++) {{",
        "    const float *const w = lenet_conv1[k];",
        *_indent(_conv1_channel(isa)),
        "    if (ready)",
        f"        {transform};",
        "}",
        "if (ready)",
        f"    {conv2};",
    ]
    for low, high in ((0, 2), (1, 3)):
        for target, source in zip(names[low], names[high], strict=True):
            body.append(f"{target} = {source};")
    lines += [f"for (int p = 0; p < {ROWS}; p++) {{", *_indent(body), "}"]
    lines += [
        f"for (int k = 0; k < {packed.channels}; k++)",
        f"    {transform.replace('p - 4', str(ROWS - 4))};",
        f"{conv2.replace('(p / 2 - 2)', str(TILES - 1))};",
    ]
    return lines


def load_row(isa: Isa, row: str, y: int) -> list[str]:
    """Load 32 pixels, part them by column modulo 4, and transform: products 0 to 3 of F(2,3).

    Lane j of the lower half is pooled column 2j, which sees pixels 4j to 4j+3; of the upper half
    2j+1, which sees 4j+2 to 4j+5.
    """
    lines = ["{", f"    const float *const row = {row};"]
    w = isa.word
    vectors = range(LANES // isa.width)
    lines += _indent(isa.parted.splitlines())
    for v in vectors:
        d = [f"d{t}_{v}" for t in range(4)]
        r = [f"r{y}_{t}_{v}" for t in range(4)]
        lines += [
            f"    {r[0]} = {w('sub', d[0], d[2])};",
            f"    {r[1]} = {w('add', d[1], d[2])};",
            f"    {r[2]} = {w('sub', d[2], d[1])};",
            # Negated: the way back subtracts this product, and so it can be an FMA.
            f"    {r[3]} = {w('sub', d[3], d[1])};",
        ]
    return [*lines, "}"]


def _conv1_channel(isa: Isa) -> list[str]:
    """One channel of one pooled row: two rows of output, pooled in registers."""
    w, vectors = isa.word, range(LANES // isa.width)
    lines = [
        f"{isa.vec} m, "
        + ", ".join(f"o{y}{x}_{v}" for y in range(2) for x in range(2) for v in vectors)
        + ";"
    ]
    for y in range(2):
        for v in vectors:
            # The outputs are m0 + m1 + m2 and m1 - m2 - m3. Products 0 and 3 have one output each
            # and are summed in it.
            left, right, bias = f"o{y}0_{v}", f"o{y}1_{v}", w("splat", "lenet_conv1_bias + k")

            def summed(t: int, target: str, start: str, y: int = y, v: int = v) -> list[str]:
                terms = [(w("splat", f"w + {4 * dy + t}"), f"r{y + dy}_{t}_{v}") for dy in range(3)]
                first = w("fma", *terms[0], start) if start else w("mul", *terms[0])
                rest = [f"{target} = {w('fma', *term, target)};" for term in terms[1:]]
                return [f"{target} = {first};", *rest]

            lines += summed(1, "m", bias) + summed(0, left, "m") + summed(3, right, "m")
            lines += summed(2, "m", "")
            lines += [f"{left} = {w('add', left, 'm')};", f"{right} = {w('sub', right, 'm')};"]
    for v in vectors:
        top = w("max", f"o00_{v}", f"o01_{v}")
        bottom = w("max", f"o10_{v}", f"o11_{v}")
        best = w("max", w("zero"), w("max", top, bottom))
        lines.append(w("store", f"pooled + (k * {ROWS} + p) * 16 + {v * isa.width}", best) + ";")
    return lines


def _transform(isa: Isa) -> list[str]:
    """Winograd's input transform of one channel's four rows, eight tiles at a time."""

    def w(name: str, *arguments: str) -> str:
        return f"{isa.half}_{name}({', '.join(arguments)})"

    lines: list[str] = []
    for part in range(0, 8, min(8, isa.width)):
        lines.append("{")
        for name, offset in (("a", 0), ("b", 8), ("c", 1), ("d", 9)):
            rows = [w("load", f"q + {16 * y + offset + part}") for y in range(4)]
            lines += [f"    const {isa.half}_vec {name}_{y} = {row};" for y, row in enumerate(rows)]
            for i, text in enumerate(
                (
                    w("sub", f"{name}_0", f"{name}_2"),
                    w("add", f"{name}_1", f"{name}_2"),
                    w("sub", f"{name}_2", f"{name}_1"),
                    w("sub", f"{name}_1", f"{name}_3"),
                )
            ):
                lines.append(f"    const {isa.half}_vec {name}{i} = {text};")
        for i in range(4):
            for j, text in enumerate(
                (
                    w("sub", f"a{i}", f"c{i}"),
                    w("add", f"b{i}", f"c{i}"),
                    w("sub", f"c{i}", f"b{i}"),
                    w("sub", f"b{i}", f"d{i}"),
                )
            ):
                lines.append(f"    {w('store', f't + {(4 * i + j) * 8 + part}', text)};")
        lines.append("}")
    return lines


def _conv2(isa: Isa, packed: Packed) -> list[str]:
    """A row of six tiles, each 16 products wide, transformed back, pooled and stored."""
    lines = [f"for (int b = 0; b < {packed.blocks}; b++) {{"] if packed.blocks > 1 else ["{"]
    if packed.blocks == 1:
        lines += ["    const int b = 0;"]
    lines += [
        f"    for (int g = 0; g < {TILES}; g += {isa.tiles}) {{",
        *_indent(_conv2_group(isa, packed), 2),
        "    }",
        "}",
    ]
    return lines


def _conv2_group(isa: Isa, packed: Packed) -> list[str]:
    """Products of a few tiles, column by column of the 4x4 positions, and their way back."""
    w = isa.word
    vec = isa.vec
    each = [(t, v) for t in range(isa.tiles) for v in range(LANES // isa.width)]
    lines = [
        f"{vec} "
        + ", ".join(f"{n}{j}_{t}_{v}" for n in "su" for j in range(4) for t, v in each)
        + ";"
    ]
    for j in range(4):
        for first in range(0, 4, isa.rows):
            rows = range(first, first + isa.rows)
            lines += ["{", *_indent(_products(isa, packed, rows, j))]
            for t, v in each:
                at = f"{t}_{v}"
                s, u, m = f"s{j}_{at}", f"u{j}_{at}", [f"m{i}_{at}" for i in range(4)]
                if first == 0:
                    lines += [f"    {s} = {w('add', m[0], m[1])};", f"    {u} = {m[1]};"]
                if first + isa.rows == 4:
                    lines += [
                        f"    {s} = {w('add2', s, m[2])};",
                        f"    {u} = {w('sub2', w('sub', u, m[2]), m[3])};",
                    ]
            lines.append("}")
    for t, v in each:
        ends = []
        for n in "su":
            x = [f"{n}{j}_{t}_{v}" for j in range(4)]
            ends.append(w("add2", w("add", x[0], x[1]), x[2]))
            ends.append(w("sub2", w("sub", x[1], x[2]), x[3]))
        best = w("max", w("max", ends[0], ends[1]), w("max", ends[2], ends[3]))
        target = f"features + (g + {t}) * {packed.blocks * LANES} + 16 * b + {v * isa.width}"
        lines.append(w("store", target, w("max", w("zero"), best)) + ";")
    return lines


def _products(isa: Isa, packed: Packed, rows: range, j: int) -> list[str]:
    """Sums over the channels at column `j` of the 4x4 positions, in ``mI_TILE_VECTOR``."""
    w, vectors, tiles = isa.word, range(LANES // isa.width), range(isa.tiles)
    vec = isa.vec
    lines = []
    for i in rows:
        for t in tiles:
            for v in vectors:
                # Every output of a tile has position (1, 1) in it once: there the bias goes.
                bias = w("load", f"lenet_conv2_bias[b] + {v * isa.width}")
                start = bias if (i, j) == (1, 1) else w("zero")
                lines.append(f"{vec} m{i}_{t}_{v} = {start};")
    lines += [
        f"for (int k = 0; k < {packed.channels}; k++) {{",
        "    const float *const q = tiles + k * 128 + g;",
        "    const float *const w = lenet_conv2[b][k][0];",
    ]
    for i in rows:
        for v in vectors:
            at = f"w + {(4 * i + j) * 16 + v * isa.width}"
            lines += [
                f"    {vec} w{i}_{v} = {w('load', at)};",
                f"    {w('keep', f'w{i}_{v}')};",
            ]
        for t in tiles:
            for v in vectors:
                m = f"m{i}_{t}_{v}"
                x = w("splat", f"q + {(4 * i + j) * 8 + t}")
                lines.append(f"    {m} = {w('fma', x, f'w{i}_{v}', m)};")
    return [*lines, "}"]


def _indent(lines: list[str], levels: int = 1) -> list[str]:
    return ["    " * levels + line for line in lines]
