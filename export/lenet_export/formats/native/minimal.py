"""C text of a convolution by Winograd's minimal filters, for any `Stage` with enough channels.

For each row of tiles: the input's transform, lanes being input channels; for each position of a
tile a product of two matrices, (tiles, input channels) and (input channels, output channels), as
`direct` does it with a single tap; and the way back with bias, activation and pooling, lanes being
output channels.

3x3 filters are F(4,3) down and F(2,3) along, 24 products for 4x2 outputs instead of 72; 5x5 filters
are F(2,5) both ways, 36 products for 2x2 outputs instead of 100.
"""

import itertools

import numpy as np

from lenet_export.formats.native.direct import best_tile, finish, steps
from lenet_export.formats.native.isa import Isa, indent
from lenet_export.formats.native.pack import LANES, pad, to_float32
from lenet_export.formats.native.stages import Stage
from lenet_export.formats.native.winograd import F2, F4, F5, Transform
from lenet_export.network.steps import Array

# By the filters' size: the transforms down and along.
TRANSFORMS: dict[int, tuple[Transform, Transform]] = {3: (F4, F2), 5: (F5, F5)}


def fits(stage: Stage) -> bool:
    """Whether minimal filters are faster than `direct`, whatever they round."""
    if stage.planar or stage.shape[0] < 4:
        return False
    _, height, width = _outputs(stage)
    down, along = _tile(stage)
    return height >= down and width >= along


def _outputs(stage: Stage) -> tuple[int, int, int]:
    """The outputs before pooling that it reaches: (channels, height, width)."""
    by = 2 if stage.layer.pooling else 1
    channels, height, width = stage.result
    return channels, height * by, width * by


def _tile(stage: Stage) -> tuple[int, int]:
    """The outputs of a tile, down and along."""
    down, along = TRANSFORMS[stage.layer.size]
    return len(down[2]), len(along[2])


def _positions(stage: Stage) -> tuple[int, int]:
    down, along = TRANSFORMS[stage.layer.size]
    return len(down[0]), len(along[0])


def _sizes(stage: Stage, isa: Isa) -> tuple[int, int, int]:
    """Tiles in a row; floats of a tile's input channels, and of its registers of outputs."""
    tiles = -(-_outputs(stage)[2] // _tile(stage)[1])
    return tiles, stage.strides[2], stage.blocks * LANES


def scratch_floats(stage: Stage) -> int:
    """Floats of scratch memory: a row of tiles, transformed, and its products."""
    tiles = -(-_outputs(stage)[2] // _tile(stage)[1])
    return int(np.prod(_positions(stage))) * tiles * (stage.strides[2] + stage.blocks * LANES)


def weight(stage: Stage) -> Array:
    """Transformed filters ``(blocks, position * channel * 16)``."""
    down, along = TRANSFORMS[stage.layer.size]
    filters = np.einsum(
        "ia,jb,ocab->ijco", down[0], along[0], stage.layer.weight.astype(np.float64)
    )
    blocks = pad(filters).reshape(-1, stage.blocks, LANES).transpose(1, 0, 2)
    return to_float32(np.ascontiguousarray(blocks).reshape(stage.blocks, -1))


def function(isa: Isa, number: int, stage: Stage) -> list[str]:
    """``NAME_minimalN``: a padded input to the next one's."""
    tiles, channels, _ = _sizes(stage, isa)
    down, height = _tile(stage)[0], _outputs(stage)[1]
    count = int(np.prod(_positions(stage)))
    body = steps("tile", tiles, 1, _input(isa, stage, tiles, channels))
    registers = -(-stage.outputs // isa.width)
    best = best_tile(isa, (registers, 1, tiles), 1, stage.shape[0])
    products = _products(isa, number, stage, best.registers, best.columns)
    inner = steps("tile", tiles, best.columns, products)
    lanes = [f"for (int at = 0; at < {count}; at++) {{", *indent(inner), "}"]
    back = _back(isa, number, stage)
    lanes += steps("tile", tiles, 1, steps("part", best.registers, 1, back))
    body += steps("lane", registers * isa.width, best.registers * isa.width, lanes)
    title = "F(4,3) down, F(2,3) along" if stage.layer.size == 3 else "F(2,5) both ways"
    return [
        f"/* {stage.outputs} filters of {stage.layer.size}x{stage.layer.size} over "
        f"{'x'.join(map(str, stage.shape))}, {title}, "
        f"then {' '.join(stage.layer.after) or 'nothing'}. */",
        f"static {isa.attribute} void {isa.name}_minimal{number}(",
        "    const float *x, float *y, float *scratch)",
        "{",
        f"    float *const sums = scratch + {count * tiles * channels};",
        *indent(steps("row", height, down, body)),
        "}",
    ]


def _column(stage: Stage) -> str:
    """Where a tile begins; the last one may overlap its neighbour."""
    along, width = _tile(stage)[1], _outputs(stage)[2]
    if width % along == 0:
        return f"const int column = {along} * tile;"
    last = width - along
    return f"const int column = {along} * tile < {last} ? {along} * tile : {last};"


def _input(isa: Isa, stage: Stage, tiles: int, channels: int) -> list[str]:
    """The transform of a tile's input."""
    w, vec = isa.word, f"const {isa.vec}"
    _, line, pixel = stage.strides
    rows, columns = _positions(stage)
    body = [
        f"const float *const corner = x + {line} * row + {pixel} * column + channel;",
        f"float *const to = scratch + {channels} * tile + channel;",
    ]
    for j in range(columns):
        loads = [w("load", f"corner + {line * i + pixel * j}") for i in range(rows)]
        body += [f"{vec} d{i}_{j} = {load};" for i, load in enumerate(loads)]
        body += _forth(isa, [f"d{i}_{j}" for i in range(rows)], [f"e{i}_{j}" for i in range(rows)])
    for i in range(rows):
        names = [f"f{i}_{j}" for j in range(columns)]
        body += _forth(isa, [f"e{i}_{j}" for j in range(columns)], names)
        for j, name in enumerate(names):
            body.append(w("store", f"to + {(columns * i + j) * tiles * channels}", name) + ";")
    used = -(-stage.shape[0] // isa.width) * isa.width
    return [_column(stage), *steps("channel", used, isa.width, body)]


def _forth(isa: Isa, d: list[str], to: list[str]) -> list[str]:
    """The input's transform along one axis: `F4`'s and `F5`'s, or `F2`'s."""
    w, vec = isa.word, f"const {isa.vec}"
    if len(d) == 4:
        texts = [w("sub", d[0], d[2]), w("add", d[1], d[2]), w("sub", d[2], d[1]),
                 w("sub", d[3], d[1])]  # fmt: skip
        return [f"{vec} {name} = {text};" for name, text in zip(to, texts, strict=True)]
    p, q, r, s = (f"{name}{to[0]}" for name in "pqrs")
    m4, two, m2, four = (w("splat", f"&lenet_{n}") for n in ("minus_4", "2", "minus_2", "4"))
    parts = {
        p: w("fma", m4, d[2], d[4]),
        q: w("fma", m4, d[1], d[3]),
        r: w("sub", d[4], d[2]),
        s: w("sub", d[3], d[1]),
        to[0]: w("fma", four, w("sub", d[0], d[2]), r),
        to[1]: w("add", p, q),
        to[2]: w("sub", p, q),
        to[3]: w("fma", two, s, r),
        to[4]: w("fma", m2, s, r),
        to[5]: w("fma", m4, s, w("sub", d[5], d[3])),
    }
    return [f"{vec} {name} = {text};" for name, text in parts.items()]


def _products(isa: Isa, number: int, stage: Stage, registers: int, tiles: int) -> list[str]:
    """Sums over the input channels at one position, of some tiles and registers."""
    w, vec = isa.word, isa.vec
    count, channels, outputs = _sizes(stage, isa)
    lines = []
    for v in range(registers):
        lane = f"(lane + {v * isa.width})" if v else "lane"
        lines.append(
            f"const float *const w{v} = lenet_minimal{number}[{lane} / {LANES}] + "
            f"{lane} % {LANES} + {stage.shape[0] * LANES} * at;"
        )
    sums = [f"a{v}_{t} = {w('zero')}" for v in range(registers) for t in range(tiles)]
    lines.append(f"{vec} {', '.join(sums)};")
    lines.append(f"const float *const from = scratch + {channels} * ({count} * at + tile);")
    body = []
    for v in range(registers):
        body += [
            f"{vec} f{v} = {w('load', f'w{v} + {LANES} * k')};",
            f"{w('keep', f'f{v}')};",
        ]
    for t in range(tiles):
        value = w("splat", f"from + {channels * t} + k")
        if registers > 1:
            body.append(f"{vec} p{t} = {value};")
            value = f"p{t}"
        body += [f"a{v}_{t} = {w('fma', value, f'f{v}', f'a{v}_{t}')};" for v in range(registers)]
    lines += [f"for (int k = 0; k < {stage.shape[0]}; k++) {{", *indent(body), "}"]
    lines.append(f"float *const to = sums + {outputs} * ({count} * at + tile);")
    for v, t in itertools.product(range(registers), range(tiles)):
        lines.append(w("store", f"to + {outputs * t + isa.width * v}", f"a{v}_{t}") + ";")
    return lines


def _back(isa: Isa, number: int, stage: Stage) -> list[str]:
    """A tile's products become outputs, for one register of channels."""
    w, vec = isa.word, f"const {isa.vec}"
    count, _, outputs = _sizes(stage, isa)
    rows, columns = _positions(stage)
    down, along = _tile(stage)
    bias = f"lenet_conv{number}_bias[channel / {LANES}] + channel % {LANES}"
    lines = [
        _column(stage),
        f"const float *const from = sums + {outputs} * tile + {isa.width} * part;",
        f"const int channel = lane + {isa.width} * part;",
        f"{vec} bias = {w('load', bias)};",
    ]
    for j in range(columns):
        for i in range(rows):
            load = w("load", f"from + {(columns * i + j) * count * outputs}")
            lines.append(f"{vec} m{i}_{j} = {load};")
        names = [f"n{i}_{j}" for i in range(down)]
        lines += _summed(isa, [f"m{i}_{j}" for i in range(rows)], names)
    for i in range(down):
        names = [f"y{i}_{j}" for j in range(along)]
        lines += _summed(isa, [f"n{i}_{j}" for j in range(columns)], names)
    by = 2 if stage.layer.pooling else 1
    for i, j in itertools.product(range(down // by), range(along // by)):
        window = [f"y{by * i + a}_{by * j + b}" for a in range(by) for b in range(by)]
        value = finish(isa, stage.layer, window, "bias")
        start, line, pixel = stage.target
        spot = f"{line} * (row / {by} + {i}) + {pixel} * (column / {by} + {j}) + channel"
        lines.append(w("store", f"y + {start} + {spot}", value) + ";")
    return lines


def _summed(isa: Isa, m: list[str], to: list[str]) -> list[str]:
    """The way back along one axis: `F4`'s, `F5`'s or `F2`'s."""
    w, vec = isa.word, f"const {isa.vec}"
    if len(m) == 4:
        texts = {
            to[0]: w("add", w("add", m[0], m[1]), m[2]),
            to[1]: w("add", w("sub", m[1], m[2]), m[3]),
        }
        return [f"{vec} {name} = {text};" for name, text in texts.items()]
    s, d, u, e = (f"{name}{to[0]}" for name in "sdue")
    two, four, eight = (w("splat", f"&lenet_{n}") for n in ("2", "4", "8"))
    texts = {
        s: w("add", m[1], m[2]),
        d: w("sub", m[1], m[2]),
        u: w("add", m[3], m[4]),
        e: w("sub", m[3], m[4]),
        to[0]: w("add", w("add", m[0], s), u),
    }
    if len(to) == 2:
        texts[to[1]] = w("add", w("fma", two, e, d), m[5])
    else:
        texts |= {
            to[1]: w("fma", two, e, d),
            to[2]: w("fma", four, u, s),
            to[3]: w("add", w("fma", eight, e, d), m[5]),
        }
    return [f"{vec} {name} = {text};" for name, text in texts.items()]
