"""The C in float32 of a member of the family for which `fp32` has no kernels of its own: direct
convolutions of any shape, with any activation and pooling; dense layers are the same."""

import math
from collections.abc import Iterator

from lenet_export.formats.native import assembly, dense, direct
from lenet_export.formats.native.assembly import Program, array
from lenet_export.formats.native.isa import NONE, Isa, Level
from lenet_export.formats.native.pack import CHUNK, LANES, offsets
from lenet_export.formats.native.stages import Stage, Staged, stage
from lenet_export.network.layers import Network

_X86 = "#if defined(__x86_64__) && defined(__GNUC__)\n"


def program(network: Network, levels: tuple[Level, ...], precision: str = "fp32") -> Program:
    """The C of a network with kernels for `levels`, in ``fp32`` or ``bf16``."""
    staged = stage(network)
    paired = range(len(staged.dense) - 1 if precision == "bf16" else 0)
    uses = {step for layer in network.convolutions for step in layer.after}
    uses |= {layer.activation for layer in network.dense}
    curved = [name for name in ("tanh", "sigmoid") if name in uses]
    parts = {
        "sizes.h": f"#define FEATURES {staged.dense[0].inputs}\n",
        "constants.c": "".join(_constants(staged, paired, "average" in uses)),
        "kernels.c": "".join(
            _section(isa, staged, paired, curved) for isa in levels if isinstance(isa, Isa)
        ),
        "winograd.c": "",
        "exp.c": assembly.text("exp.c") if curved else "",
        "guard.c": "",
        "end_guard.c": "",
        "none.c": "",
    }
    if levels[-1] is NONE:  # constants that nobody reads are warned of
        parts |= {"guard.c": _X86, "end_guard.c": "#endif\n", "none.c": assembly.text("none.c")}
    return Program(
        precision,
        "direct",
        levels,
        parts,
        "float",
        4 * _layout(staged)["end"],
        network,
        "NaN and infinities\n * propagate as in IEEE arithmetic.",
    )


def _constants(staged: Staged, paired: range, average: bool) -> Iterator[str]:
    if average:
        yield "static const float lenet_quarter = 0.25f;\n"
    yield "/* Filters: [block][channel][tap][output of the block], the last three as one. */\n"
    for number, each in enumerate(staged.stages, 1):
        yield array(f"lenet_conv{number}", each.weight)
        yield array(f"lenet_conv{number}_bias", each.bias)
    yield "/* Dense layers, a row of outputs for each input; the first's are (y, x, channel). */\n"
    for number, layer in enumerate(staged.dense):
        weights = layer.bfloat16_pairs if number in paired else layer.weight
        yield array(f"lenet_dense{number}", weights)
        yield array(f"lenet_dense{number}_bias", layer.bias)


def _section(isa: Isa, staged: Staged, paired: range, curved: list[str]) -> str:
    """The words and the kernels of one instruction set."""
    words = {"ATTRIBUTE": isa.attribute, "ISA": isa.name}
    last = len(staged.dense) - 1
    pixels = math.prod(staged.stages[0].shape)
    tails = {} if pixels % LANES else assembly.WHOLE_REGISTERS
    lines = [
        line
        for number, each in enumerate(staged.stages, 1)
        for line in direct.function(isa, number, each)
    ]
    return assembly.section(
        isa,
        *(assembly.text(f"{isa.name}{more}.h", words, tails) + "\n" for more in ("", "_more")),
        *(assembly.text(f"{name}.h", words) for name in (["part", *curved] if curved else [])),
        assembly.text("bf16.h", words) + "\n" if paired else "",
        "\n".join(lines) + "\n",
        *(
            dense.layer(isa, number, layer, number == last, number in paired) + "\n"
            for number, layer in enumerate(staged.dense)
        ),
        _chunk(isa, staged),
    )


def _copied(each: Stage) -> bool:
    """Whether a stage has an input of its own in the workspace: all but the caller's images."""
    return not each.planar or bool(each.layer.padding)


def _layout(staged: Staged) -> dict[str, int]:
    """Where a chunk's arrays begin in the workspace, in floats; ``end`` is its size."""
    widths = [staged.dense[0].inputs, *(layer.stride for layer in staged.dense)]
    floats = {f"x{i}": CHUNK * width for i, width in enumerate(widths)}
    floats |= {f"c{i}": each.floats for i, each in enumerate(staged.stages, 1) if _copied(each)}
    floats |= {f"m{i}": CHUNK * width // LANES // 2 for i, width in enumerate(widths[:-1])}
    return offsets(floats, LANES)


def _chunk(isa: Isa, staged: Staged) -> str:
    """``NAME_chunk``: convolutions from cI to cI+1, then dense layers from xI to xI+1."""
    starts, count, stages = _layout(staged), len(staged.dense), staged.stages
    arrays, calls = [], []
    for name, start in starts.items():
        if name.startswith("m"):
            line = f"uint16_t *const {name} = (uint16_t *)(void *)(work + {start});"
        else:
            line = f"float *const {name} = work + {start};"
        arrays += [f"    {line}\n"] if name != "end" else []
    for number, each in enumerate(stages, 1):
        if each.layer.padding:  # the borders, which nobody writes into, stay 0
            arrays.append(f"    memset(c{number}, 0, {each.floats} * sizeof *c{number});\n")
        source = f"c{number}" if _copied(each) else "image"
        target = f"c{number + 1}" if number < len(stages) else "features"
        if number == 1 and source != "image":
            calls += _copy(each)
        calls.append(f"        {isa.name}_conv{number}({source}, {target});\n")
    last = stages[-1]
    beyond = ""
    if last.outputs % LANES:  # what lies there may be anything, of a pixel that is not finite
        beyond = (
            f"        for (int v = {last.blocks - 1}; v < FEATURES / 16; v += {last.blocks})\n"
            f"            m0[FEATURES / 16 * i + (size_t)v] &= {(1 << last.outputs % LANES) - 1:#x};\n"
        )
    dense_calls = [
        f"    {isa.name}_dense{i}(x{i}, m{i}, x{i + 1}{f', m{i + 1}' * (i < count - 1)}, n);\n"
        for i in range(count)
    ]
    words = {
        "ISA": isa.name,
        "ATTRIBUTE": isa.attribute,
        "RESULT": f"x{count}",
        "STRIDE": str(staged.dense[-1].stride),
    }
    parts = {
        "arrays.c": "".join(arrays),
        "convolutions.c": "".join(calls),
        "beyond.c": beyond,
        "layers.c": "".join(dense_calls),
    }
    return assembly.text("direct_chunk.c", words, parts)


def _copy(first: Stage) -> list[str]:
    """An image into the middle of the first stage's padded input."""
    (channels, height, width), padding = first.shape, first.layer.padding
    plane, row, _ = first.strides
    return [
        f"        for (int y = 0; y < {channels * height}; y++)\n",
        f"            memcpy(c1 + {plane} * (y / {height}) + {row} * (y % {height}) + "
        f"{padding * (row + 1)},\n",
        f"                   image + {width} * y, {width} * sizeof *image);\n",
    ]
