"""A network's C in float32, or with some dense layers in bfloat16."""

from collections.abc import Iterator

from lenet_export.formats.native import assembly, conv, dense, winograd
from lenet_export.formats.native.assembly import Program, array
from lenet_export.formats.native.isa import Isa, Level
from lenet_export.formats.native.pack import CHUNK, LANES, Packed, offsets, pack
from lenet_export.network.layers import Network


def program(
    network: Network,
    levels: tuple[Level, ...],
    precision: str = "fp32",
    direct: tuple[bool, bool] | None = None,
) -> Program:
    """The C of a network with kernels for `levels`, in ``fp32`` or ``bf16``.

    `direct` as in `Packed`; by default, what `winograd.direct` says.
    """
    packed = pack(network, direct or winograd.direct(network, precision))
    # In bf16, all but the last dense layer, whose sums are the logits.
    paired = range(len(packed.dense) - 1 if precision == "bf16" else 0)
    sizes = {
        "CHANNELS": packed.channels,
        "OUTPUTS": len(network.conv2.bias),
        "FEATURES": packed.dense[0].inputs,
        "WIDE": packed.blocks * LANES,
    }
    parts = {
        "sizes.h": "".join(f"#define {name} {size}\n" for name, size in sizes.items()),
        "constants.c": "".join(_constants(network, packed, paired)),
        "kernels.c": "".join(
            _section(isa, packed, paired) for isa in levels if isinstance(isa, Isa)
        ),
    }
    if packed.direct[1]:
        parts["winograd.c"] = ""  # constants of conv2's transforms
    return Program(
        precision,
        precision,
        levels,
        parts,
        "float",
        4 * layout(packed)["end"],
        network,
        "NaN and infinities\n * propagate as in IEEE arithmetic.",
    )


def _constants(network: Network, packed: Packed, paired: range) -> Iterator[str]:
    yield array("lenet_filter1", network.conv1.weight.reshape(packed.channels, 9))
    yield array("lenet_filter2", network.conv2.weight.reshape(-1, packed.channels, 9))
    if not packed.direct[0]:
        yield "/* F(2,3) along the rows of each filter: [channel][row][product]. */\n"
        yield array("lenet_conv1", packed.conv1.reshape(packed.channels, 12))
    yield array("lenet_conv1_bias", packed.conv1_bias)
    if packed.direct[1]:
        yield (
            "/* Directly, as Winograd's rounding would take too much of the tolerance here: "
            "[block][channel][tap][output of the block]. */\n"
        )
    else:
        yield (
            "/* F(4,3) down, F(2,3) along: "
            "[block][channel][6x4 position][output of the block]. */\n"
        )
    yield array("lenet_conv2", packed.conv2)
    yield array("lenet_conv2_bias", packed.conv2_bias)
    yield "/* Dense layers, a row of outputs for each input; the first's are (y, x, channel). */\n"
    for number, layer in enumerate(packed.dense):
        weights = layer.bfloat16_pairs if number in paired else layer.weight
        yield array(f"lenet_dense{number}", weights)
        yield array(f"lenet_dense{number}_bias", layer.bias)


def _section(isa: Isa, packed: Packed, paired: range) -> str:
    """The words and the kernels of one instruction set."""
    words = {"ATTRIBUTE": isa.attribute} | assembly.ALL_PIXELS
    last = len(packed.dense) - 1
    return assembly.section(
        isa,
        assembly.text(f"{isa.name}.h", words, assembly.WHOLE_REGISTERS) + "\n",
        assembly.text("bf16.h", words) + "\n" if paired else "",
        conv.functions(isa, packed) + "\n",
        *(
            dense.layer(isa, number, layer, number == last, number in paired) + "\n"
            for number, layer in enumerate(packed.dense)
        ),
        _chunk(isa, packed),
    )


def layout(packed: Packed) -> dict[str, int]:
    """Where a chunk's arrays begin in the workspace, in floats; ``end`` is its size."""
    widths = [packed.dense[0].inputs, *(layer.stride for layer in packed.dense)]
    scratch = max(conv.scratch_floats(packed), 15 * 15 * packed.channels)
    floats = {f"x{i}": CHUNK * width for i, width in enumerate(widths)} | {"scratch": scratch}
    floats |= {f"m{i}": CHUNK * width // LANES // 2 for i, width in enumerate(widths[:-1])}
    return offsets(floats, LANES)


def _chunk(isa: Isa, packed: Packed) -> str:
    """``NAME_chunk``: the values x0, x1, ... and masks m0, m1, ... before each dense layer."""
    starts, count = layout(packed), len(packed.dense)
    arrays = [f"    float *const x{i} = work + {starts[f'x{i}']};\n" for i in range(count + 1)]
    arrays += [
        f"    uint16_t *const m{i} = (uint16_t *)(void *)(work + {starts[f'm{i}']});\n"
        for i in range(count)
    ]
    calls = [
        f"    {isa.name}_dense{i}(x{i}, m{i}, x{i + 1}{f', m{i + 1}' * (i < count - 1)}, n);\n"
        for i in range(count)
    ]
    words = {
        "ISA": isa.name,
        "ATTRIBUTE": isa.attribute,
        "SCRATCH": str(starts["scratch"]),
        "RESULT": f"x{count}",
        "STRIDE": str(packed.dense[-1].stride),
    }
    parts = {"arrays.c": "".join(arrays), "layers.c": "".join(calls)}
    return assembly.text("chunk.c", words, parts)
