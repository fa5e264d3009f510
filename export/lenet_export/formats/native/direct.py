"""C text of a direct convolution, with its activation and pooling: one `Stage` of any shape.

Output channels are in the lanes. A tile of pixels and registers of channels is summed at once, over
all channels and taps of the input: each weight is loaded once for all pixels of the tile, and each
input copied to all lanes once for all its registers.

Where an image has 8 output channels or fewer to a register of 16, two neighbouring pixels share it
("twin"): lanes 2k and 2k+1 are channel k of both, whose inputs are one load of 8 bytes.
"""

import itertools
from dataclasses import dataclass
from math import prod
from operator import gt

from lenet_export.formats.native.isa import V4, Isa, activate, indent
from lenet_export.formats.native.pack import LANES
from lenet_export.formats.native.stages import Stage
from lenet_export.network.layers import ACTIVATIONS, Convolution

_LATENCY = 4  # cycles of an FMA; two begin in each


@dataclass(frozen=True)
class Tile:
    """What is summed at once.

    Attributes:
        registers: registers of output channels.
        rows: rows of outputs, of pooling windows where there is pooling.
        columns: columns of the same; of pairs of pixels in a twin without pooling.
    """

    registers: int
    rows: int
    columns: int


def function(isa: Isa, number: int, stage: Stage) -> list[str]:
    """``NAME_convN``: a padded input to the next one's."""
    channels, height, width = stage.shape
    size, after = stage.layer.size, " ".join(stage.layer.after) or "nothing"
    lines = [
        f"/* {stage.outputs} filters of {size}x{size} over {channels}x{height}x{width}, "
        f"then {after}. */",
        f"static {isa.attribute} void {isa.name}_conv{number}(const float *x, float *y)",
        "{",
    ]
    twin = isa.name == V4.name and stage.planar and 0 < (stage.outputs % LANES) <= LANES // 2
    twin = twin and (bool(stage.layer.pooling) or stage.result[2] > 1)
    full = stage.outputs // LANES * LANES if twin else stage.outputs
    if full:
        lines += indent(_Writer(isa, number, stage, -(-full // isa.width), False).text())
    if twin:
        lines += indent(_Writer(isa, number, stage, 1, True).text())
    return [*lines, "}"]


def best_tile(isa: Isa, whole: tuple[int, int, int], accumulators: int, products: int) -> Tile:
    """The tile of the least time, by the units of the CPU that it keeps busy.

    Args:
        isa: whose registers hold the tile.
        whole: registers of channels, rows and columns that tiles cover.
        accumulators: in a register of channels, of a row and column.
        products: in a sum.
    """
    room = 32 if isa.width == 16 else 16
    best, least = Tile(1, 1, 1), float("inf")
    sizes = itertools.product(range(1, 5), range(1, 5), range(1, 29))
    for tile in itertools.starmap(Tile, sizes):
        pixels = tile.rows * tile.columns * accumulators
        sums, loads = tile.registers * pixels, tile.registers + pixels
        parts = (tile.registers, tile.rows, tile.columns)
        if sums + tile.registers + 2 > room or any(map(gt, parts, whole)):
            continue
        cycles = max(sums / 2, loads / 2, _LATENCY) * products + 3 * sums
        cycles *= prod(-(-size // part) for size, part in zip(whole, parts, strict=True))
        if cycles < least:
            best, least = tile, cycles
    return best


class _Writer:
    """The loops over the registers of output channels that are computed alike."""

    def __init__(self, isa: Isa, number: int, stage: Stage, registers: int, twin: bool) -> None:
        self.isa, self.stage, self.twin, self.registers = isa, stage, twin, registers
        self.name = f"lenet_conv{number}"
        pooled = bool(stage.layer.pooling)
        # Pixels of a unit of the tile: down, along; and accumulators of it.
        self.down, self.along = (2, 2) if pooled else (1, 2 if twin else 1)
        self.accumulators = self.down * self.along // (2 if twin else 1)
        _, rows, columns = stage.result
        self.rows = rows  # in units
        self.columns = columns // 2 if twin and not pooled else columns
        self.odd = bool(twin and not pooled and columns % 2)  # the last pair begins at odd pixels
        taps = stage.shape[0] * stage.layer.size**2
        self.tile = best_tile(isa, (registers, self.rows, self.columns), self.accumulators, taps)

    def text(self) -> list[str]:
        """The loops over registers, rows and columns of tiles."""
        tile, isa = self.tile, self.isa
        body = self._tile()
        along = 1 if self.stage.layer.pooling else self.along
        pixels = self.columns * along + self.odd  # of a row of outputs
        body = steps("column", pixels, tile.columns * along, body)
        body = steps("row", self.rows, tile.rows, body)
        if self.twin:
            block = self.stage.blocks - 1
            return ["{", f"    enum {{ lane = {LANES * block} }};", *indent(body), "}"]
        return steps("lane", self.registers * isa.width, tile.registers * isa.width, body)

    def _tile(self) -> list[str]:
        isa, stage, tile, w = self.isa, self.stage, self.tile, self.isa.word
        registers = range(tile.registers)
        units = tuple(itertools.product(range(tile.rows), range(tile.columns)))
        channel, line, pixel = stage.strides
        size, down, along = stage.layer.size, self.down, self.along
        step = 2 if self.twin else 1  # pixels of an accumulator
        spots = [
            (down * r + i, along * c + j)
            for r, c in units
            for i in range(down)
            for j in range(0, along, step)
        ]
        lines = []
        for v in registers:
            lane = f"(lane + {v * isa.width})" if v else "lane"
            lines.append(
                f"const float *const w{v} = {self.name}[{lane} / {LANES}] + {lane} % {LANES};"
            )
        for v in registers:
            lane = f"(lane + {v * isa.width})" if v else "lane"
            bias = f"{self.name}_bias[{lane} / {LANES}] + {lane} % {LANES}"
            lines.append(f"const {isa.vec} b{v} = {w('twin' if self.twin else 'load', bias)};")
        sums = [f"a{v}_{y}_{x} = {w('zero')}" for v in registers for y, x in spots]
        lines.append(f"{isa.vec} {', '.join(sums)};")
        by = 2 if stage.layer.pooling else 1
        body = [
            f"const float *const corner =\n    x + {channel} * k + {line * by} * row + "
            f"{pixel * by} * column;",
            f"const int tap = {size * size * LANES} * k;",
        ]
        for i, j in itertools.product(range(size), range(size)):
            at = f"tap + {(size * i + j) * LANES}"
            body.append("{")
            for v in registers:
                load = w("twin" if self.twin else "load", f"w{v} + {at}")
                body += [f"    {isa.vec} f{v} = {load};", f"    {w('keep', f'f{v}')};"]
            for y, x in spots:
                at = f"corner + {(y + i) * line + (x + j) * pixel}"
                value = w("pair" if self.twin else "splat", at)
                if tile.registers > 1:
                    body.append(f"    {isa.vec} p{y}_{x} = {value};")
                    value = f"p{y}_{x}"
                for v in registers:
                    total = f"a{v}_{y}_{x}"
                    body.append(f"    {total} = {w('fma', value, f'f{v}', total)};")
            body.append("}")
        lines += [f"for (int k = 0; k < {stage.shape[0]}; k++) {{", *indent(body), "}"]
        for v, (r, c) in itertools.product(registers, units):
            window = [
                f"a{v}_{down * r + i}_{along * c + j}"
                for i in range(down)
                for j in range(0, along, step)
            ]
            lines += self._finish(v, r, c, window)
        return lines

    def _finish(self, v: int, r: int, c: int, window: list[str]) -> list[str]:
        """Activation and pooling of a window, and its store."""
        isa, w, layer = self.isa, self.isa.word, self.stage.layer
        start, row, pixel = self.stage.target
        value = _pooled(isa, layer, window, f"b{v}")
        lines = ["{"]
        if self.twin and layer.pooling:
            lines.append(f"    const {isa.vec} both = {value};")
            value = _pooled(isa, layer, ["both", w("swap", "both")])
        value = _ended(isa, layer, value, f"b{v}")
        columns = f"(column + {c * (1 if layer.pooling else self.along)})"
        at = f"y + {start} + {row} * (row + {r}) + {pixel} * {columns} + lane"
        if v:
            at += f" + {v * isa.width}"
        if self.twin:
            lines += [f"    const {isa.vec} all = {value};", f"    {w('store_even', at, 'all')};"]
            if not layer.pooling:
                lines.append(f"    {w('store_odd', f'{at} + {pixel}', 'all')};")
        else:
            lines.append(f"    {w('store', at, value)};")
        return [*lines, "}"]


def finish(isa: Isa, layer: Convolution, window: list[str], bias: str) -> str:
    """A C expression of what follows on the sums of a pooling window, or on one sum: the bias,
    the activation and pooling."""
    return _ended(isa, layer, _pooled(isa, layer, window, bias), bias)


def _averages_activated(layer: Convolution) -> bool:
    return layer.pooling == "average" and layer.after[0] in ACTIVATIONS


def _pooled(isa: Isa, layer: Convolution, window: list[str], bias: str = "") -> str:
    """The maximum or the sum; an activation that goes before an average, and the `bias` that goes
    before it, are in it, but for a window of what is pooled already, which has no bias."""
    if bias and _averages_activated(layer):
        window = [activate(isa, layer.after[0], isa.word("add", value, bias)) for value in window]
    word = {"max": "larger", "average": "add"}.get(layer.pooling, "")
    while len(window) > 1:  # down first, as where a register holds two columns
        half = len(window) // 2
        pairs = zip(window[:half], window[half:], strict=True)
        window = [isa.word(word, *pair) for pair in pairs]
    return window[0]


def _ended(isa: Isa, layer: Convolution, value: str, bias: str) -> str:
    """The average of a sum, the bias and an activation that go last, or before a maximum."""
    if layer.pooling == "average":
        value = isa.word("mul", value, isa.word("splat", "&lenet_quarter"))
    if _averages_activated(layer):
        return value
    last = "".join(step for step in layer.after if step in ACTIVATIONS)
    return activate(isa, last, isa.word("add", value, bias))


def steps(name: str, count: int, step: int, body: list[str]) -> list[str]:
    """A loop in steps; the last one overlaps its neighbour where the count does not divide."""
    if step >= count:
        return ["{", f"    enum {{ {name} = 0 }};", *indent(body), "}"]
    if count % step == 0:
        return [f"for (int {name} = 0; {name} < {count}; {name} += {step}) {{", *indent(body), "}"]
    last = count - step
    return [
        f"for (int {name}_ = 0; {name}_ < {count}; {name}_ += {step}) {{",
        f"    const int {name} = {name}_ < {last} ? {name}_ : {last};",
        *indent(body),
        "}",
    ]
