"""A network's C in int8: its sizes and constants, and the loops over its dense layers.

All arithmetic between the input's rounding and the last multiplication is on integers, and both
of these are single IEEE operations. So the portable kernels of ``c/int8.c`` and those of `vnni`
give the same logits to the bit, whatever the compiler, and so does every batch.
"""

from collections.abc import Iterator

from lenet_export.formats.native import assembly, vnni
from lenet_export.formats.native.assembly import Program, array, literal
from lenet_export.formats.native.int8_pack import ROWS, TILES, PackedInt8, fours, halves, pack
from lenet_export.formats.native.isa import VNNI, Level
from lenet_export.network import quantize
from lenet_export.network.layers import Network
from lenet_export.network.steps import Array

GENERIC = Level("base", "generic", "any CPU, any C11 compiler", ())


def program(network: Network, levels: tuple[Level, ...], calibration: Array | None) -> Program:
    """The C of a network, quantised with the scales of normalised `calibration` digits."""
    assert calibration is not None
    packed = pack(quantize.quantize(network, quantize.calibrate(network, calibration)))
    offsets, last = packed.layout(), len(packed.dense) - 1
    sizes = {
        "ROWS": ROWS,
        "ROW": packed.row,
        "CHANNELS": packed.channels,
        "PIXEL": packed.pixel,
        "BLOCKS": packed.blocks,
        "TILES": TILES,
        "TAPS": 3 * packed.pixel,
        "WIDE": packed.dense[0].inputs // TILES**2,
        "WIDEST": max(layer.stride for layer in packed.dense),
        "CODES": offsets["codes"],
        "POOLED": offsets["pooled"],
        "LENET_INPUT_SCALE": literal(packed.input_scale),
    }
    arrays = [f"    uint8_t *const x{i} = work + {offsets[f'x{i}']};\n" for i in range(last + 1)]
    parts = {
        "sizes.h": "".join(f"#define {name} {size}\n" for name, size in sizes.items()),
        "constants.c": "".join(_constants(packed)),
        "arrays.c": "".join(arrays),
        "layers.c": "".join(_layers(packed)),
    }
    parts["vnni.c"] = ""
    if VNNI in levels:
        kernels = vnni.kernels(packed, parts["arrays.c"])
        parts["vnni.c"] = assembly.section(VNNI, *_vnni_constants(packed), kernels)
    return Program(
        "int8",
        "int8",
        levels,
        parts,
        "uint8_t",
        offsets["end"],
        network,
        "All logits of an image with NaN or infinities are\n * NaN.",
    )


def _constants(packed: PackedInt8) -> Iterator[str]:
    yield array("lenet_conv1", packed.conv1, "double")
    yield array("lenet_conv1_bias", packed.conv1_bias)
    yield array("lenet_conv1_scale", packed.conv1_scale)
    yield "/* [block][row of the filter][its column and channel][output of the block] */\n"
    yield array("lenet_conv2", halves(packed.conv2))
    yield array("lenet_conv2_bias", packed.conv2_bias)
    yield array("lenet_conv2_scale", packed.conv2_scale)
    yield "/* Dense layers, a row of outputs for each input; the first's are (y, x, channel). */\n"
    for number, layer in enumerate(packed.dense):
        yield array(f"lenet_dense{number}", halves(layer.weight))
        yield array(f"lenet_dense{number}_bias", layer.bias)
        yield array(f"lenet_dense{number}_scale", layer.scale)


def _vnni_constants(packed: PackedInt8) -> Iterator[str]:
    """The same weights once more, in the order of the dot products."""
    indices, _ = packed.interleave
    yield array("lenet_conv1_pairs", packed.conv1_pairs)
    yield array("lenet_interleave", indices)
    yield array("lenet_conv2_bytes", packed.conv2_bytes)
    for number, layer in enumerate(packed.dense):
        yield array(f"lenet_dense{number}_bytes", fours(layer.weight))


def _layers(packed: PackedInt8) -> Iterator[str]:
    """One image through the dense layers, with the portable kernels."""
    for i, layer in enumerate(packed.dense):
        last = i == len(packed.dense) - 1
        yield (
            f"        base_dense(x{i}, {layer.inputs}, lenet_dense{i}[0], lenet_dense{i}_bias, "
            f"sums, {layer.stride});\n"
            f"        for (int v = 0; v < {layer.outputs if last else layer.stride}; v++)\n"
        )
        yield (
            f"            logits[LENET_LOGITS * i + (size_t)v] =\n"
            f"                (float)sums[v] * lenet_dense{i}_scale[v];\n"
            if last
            else f"            x{i + 1}[v] = base_code((float)sums[v], lenet_dense{i}_scale[v]);\n"
        )
