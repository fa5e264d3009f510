"""The C in float32 of a member of the family for which `fp32` has no kernels of its own: direct
convolutions of any shape, with any activation and pooling; dense layers are the same."""

import dataclasses
import math
from collections.abc import Collection, Iterator, Sequence

from lenet_export.formats.native import assembly, dense, direct, minimal, winograd
from lenet_export.formats.native.assembly import Program, array
from lenet_export.formats.native.isa import NONE, Isa, Level
from lenet_export.formats.native.pack import CHUNK, LANES, offsets
from lenet_export.formats.native.stages import Stage, Staged, stage
from lenet_export.network.layers import Network

_TAME = "#define LENET_TAME 0x5f800000u /* bits of 2^64 */\n"
_X86 = "#if defined(__x86_64__) && defined(__GNUC__)\n"


def program(
    network: Network,
    levels: tuple[Level, ...],
    precision: str = "fp32",
    minimal_filters: Collection[int] | None = None,
) -> Program:
    """The C of a network with kernels for `levels`, in ``fp32`` or ``bf16``.

    `minimal_filters` are the convolutions, from 1, that take Winograd's filters; by default those
    for which they are faster, and round little enough by `winograd.shares`.
    """
    staged = stage(network)
    if minimal_filters is None:
        minimal_filters = _chosen(network, staged, precision)
    staged = dataclasses.replace(staged, minimal=frozenset(minimal_filters))
    paired = range(len(staged.dense) - 1 if precision == "bf16" else 0)
    uses = {step for layer in network.convolutions for step in layer.after}
    uses |= {layer.activation for layer in network.dense}
    curved = [name for name in ("tanh", "sigmoid") if name in uses]
    parts = {
        "sizes.h": f"#define FEATURES {staged.dense[0].inputs}\n" + _TAME * bool(minimal_filters),
        "constants.c": "".join(_constants(staged, paired, "average" in uses)),
        "kernels.c": "".join(
            _section(isa, staged, paired, curved) for isa in levels if isinstance(isa, Isa)
        ),
        "winograd.c": assembly.text("winograd.c") if minimal_filters else "",
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


def _chosen(network: Network, staged: Staged, precision: str) -> list[int]:
    """The convolutions, from 1, for which Winograd's filters are faster and exact enough."""
    transforms = {
        number: minimal.TRANSFORMS[each.layer.size]
        for number, each in enumerate(staged.stages) if minimal.fits(each)
    }  # fmt: skip
    if not transforms:
        return []
    shares = winograd.shares(network, transforms, precision)
    return [number + 1 for number, share in shares.items() if share <= winograd.LIMIT]


def _constants(staged: Staged, paired: range, average: bool) -> Iterator[str]:
    if average:
        yield "static const float lenet_quarter = 0.25f;\n"
    yield "/* Filters: [block][channel][tap][output of the block], the last three as one. */\n"
    for number, each in enumerate(staged.stages, 1):
        yield array(f"lenet_conv{number}", each.weight)
        yield array(f"lenet_conv{number}_bias", each.bias)
    for number in sorted(staged.minimal):
        yield f"/* conv{number}'s, transformed: [block][position][channel][output]. */\n"
        yield array(f"lenet_minimal{number}", minimal.weight(staged.stages[number - 1]))
    yield "/* Dense layers, a row of outputs for each input; the first's are (y, x, channel). */\n"
    for number, layer in enumerate(staged.dense):
        weights = layer.bfloat16_pairs if number in paired else layer.weight
        yield array(f"lenet_dense{number}", weights)
        yield array(f"lenet_dense{number}_bias", layer.bias)


def _section(isa: Isa, staged: Staged, paired: range, curved: Sequence[str]) -> str:
    """The words and the kernels of one instruction set."""
    is_whole = math.prod(staged.stages[0].shape) % LANES == 0
    words = {"ATTRIBUTE": isa.attribute, "ISA": isa.name}
    words |= assembly.ALL_PIXELS if is_whole else assembly.SOME_PIXELS
    tails = assembly.WHOLE_REGISTERS if is_whole else {}
    last = len(staged.dense) - 1
    lines = [
        line
        for number, each in enumerate(staged.stages, 1)
        for line in direct.function(isa, number, each)
        + (minimal.function(isa, number, each) if number in staged.minimal else [])
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
    if staged.minimal:
        sizes = [minimal.scratch_floats(staged.stages[number - 1]) for number in staged.minimal]
        floats["scratch"] = max(sizes)
    floats |= {f"m{i}": CHUNK * width // LANES // 2 for i, width in enumerate(widths[:-1])}
    return offsets(floats, LANES)


def _chunk(isa: Isa, staged: Staged) -> str:
    """``NAME_chunk``: convolutions from cI to cI+1, then dense layers from xI to xI+1."""
    starts, count, stages = _layout(staged), len(staged.dense), staged.stages
    arrays, calls = [], []
    for name, start in starts.items():
        if name[0] == "m":
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
        call = f"{isa.name}_conv{number}({source}, {target});\n"
        if (
            number in staged.minimal
        ):  # differences of huge pixels would make NaN where there is none
            calls.append(
                "        if (own < LENET_TAME)\n"
                f"            {isa.name}_minimal{number}({source}, {target}, scratch);\n"
                f"        else\n            {call}"
            )
        else:
            calls.append(f"        {call}")
    last = stages[-1]
    beyond = ""
    mask = (1 << last.outputs % LANES) - 1
    if mask:  # what lies there may be anything, of a pixel that is not finite
        beyond = (
            f"        for (int v = {last.blocks - 1}; v < FEATURES / 16; v += {last.blocks})\n"
            f"            m0[FEATURES / 16 * i + (size_t)v] &= {mask:#x};\n"
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
