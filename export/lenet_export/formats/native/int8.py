"""A network's C in int8: its sizes and constants, and the kernels of each instruction set.

All arithmetic between the input's rounding and the last multiplication is on integers, and both
of these are single IEEE operations. So all kernels give the same logits to the bit, whatever the
compiler, and so does every batch.
"""

from collections.abc import Iterator

import numpy as np

from lenet_export.formats.native import assembly, int8_conv, int8_dense, int8_minimal
from lenet_export.formats.native.assembly import Program, array, literal
from lenet_export.formats.native.int8_isa import GENERIC, Dots
from lenet_export.formats.native.int8_pack import TURN, PackedInt8, grouped, pack
from lenet_export.formats.native.isa import Level
from lenet_export.network import quantize
from lenet_export.network.layers import Network
from lenet_export.network.steps import Array
from lenet_runtime.errors import InputError

# Weights by the codes that a dot product takes; the names of their arrays end so.
_AHEAD = 18432  # bytes of the first weights that one image fetches before it needs them
_KINDS = {4: "bytes", 2: "pairs"}


def program(network: Network, levels: tuple[Level, ...], calibration: Array | None) -> Program:
    """The C of a network, quantised with the scales of normalised `calibration` digits.

    Raises:
        InputError: there are too many channels between the convolutions for int32 sums.
    """
    assert calibration is not None
    dots = [level for level in levels if isinstance(level, Dots)]
    packed = pack(quantize.quantize(network, quantize.calibrate(network, calibration)))
    if packed.channels > int8_minimal.CHANNELS:
        raise InputError(
            f"native: int8 takes at most {int8_minimal.CHANNELS} channels after conv1, "
            f"found {packed.channels}"
        )
    offsets = packed.layout()
    sizes: dict[str, object] = {
        f"{name.upper()}": offsets[name] for name in ("codes", "pooled", "tiles", "sums")
    }
    sizes |= {"TURN": TURN, "LENET_INPUT_SCALE": literal(packed.input_scale)}
    parts = {
        "sizes.h": "".join(f"#define {name} {size}\n" for name, size in sizes.items()),
        "constants.c": "".join(_constants(packed)) + _weights(packed, 2),
        "kernels.c": "".join(_kernels(level, packed, offsets) for level in reversed(dots)),
    }
    fours = [level for level in dots if level.group == 4]
    if fours:
        machines = {level.machine: None for level in fours}
        parts["constants.c"] += assembly.guarded(machines, _weights(packed, 4))
    for level in fours:
        if level.less:
            biases = _biases_of_signed(packed, level)
            parts["constants.c"] += assembly.guarded([level.machine], biases)
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
    yield array("lenet_conv1_pairs", packed.conv1_pairs)
    yield array("lenet_conv1_bias", packed.conv1_bias)
    yield array("lenet_conv1_scale", packed.conv1_scale)
    yield array("lenet_conv2_bias", packed.conv2_bias)
    yield array("lenet_conv2_scale", packed.conv2_scale)
    for number, layer in enumerate(packed.dense):
        yield array(f"lenet_dense{number}_bias", layer.bias)
        yield array(f"lenet_dense{number}_scale", layer.scale)


def _weights(packed: PackedInt8, group: int) -> str:
    """All but conv1's, in the order of the dot products of `group` codes."""
    kind = _KINDS[group]
    conv2 = packed.conv2_minimal if group == 2 else packed.conv2_bytes
    lines = [f"/* Weights by {kind}: a row of outputs for each {group} inputs. */\n"]
    lines.append(array(f"lenet_conv2_{kind}", conv2))
    for number, layer in enumerate(packed.dense):
        lines.append(array(f"lenet_dense{number}_{kind}", grouped(layer.weight, group)))
    return "".join(lines)


def _biases_of_signed(packed: PackedInt8, isa: Dots) -> str:
    """Biases for codes that are stored less a constant: its products with the weights more."""
    conv2 = packed.conv2.astype(np.int32).sum(axis=(0, 1, 2), dtype=np.int32)
    lines = ["/* Biases for codes that are stored less a constant. */\n"]
    lines.append(array(f"lenet_conv2_{isa.bias}", packed.conv2_bias + isa.less * conv2))
    for number, layer in enumerate(packed.dense):
        sums = layer.weight.astype(np.int32).sum(axis=0, dtype=np.int32)
        lines.append(array(f"lenet_dense{number}_{isa.bias}", layer.bias + isa.less * sums))
    return "".join(lines)


def _kernels(isa: Dots, packed: PackedInt8, offsets: dict[str, int]) -> str:
    """The kernels of one instruction set, to ``ISA_chunk``."""
    outputs = [layer.outputs for layer in packed.dense]
    conv2 = (int8_minimal if isa.group == 2 else int8_conv).conv2(isa, packed)
    words = {
        "ISA": isa.name,
        "ATTRIBUTE": isa.attribute,
        "KERNEL": isa.kernel,
        "CODE": isa.code,
        "WEIGHT": isa.weight,
        "FIRST_WEIGHTS": f"lenet_dense0_{_KINDS[isa.group]}",
        "LANES": str(isa.lanes),
        "GROUP": str(isa.group),
        "ROWS": str(int8_dense.ROWS),
        "ADD_ROWS": f"{isa.name}_rows{int8_dense.ROWS}",
        "IMAGES": str(int8_dense.IMAGES),
        "TILE": str(isa.tile),
        "SUM_TILE": f"{isa.name}_tile{isa.tile}",
        "INPUTS": str(packed.dense[0].inputs),
        "AHEAD": str(min(_AHEAD, packed.dense[0].weight.size)),
    }
    parts = {
        **int8_dense.sparse(isa, outputs),
        "arrays.c": "".join(
            f"    {isa.code} *const x{i} = ({isa.code} *)(void *)(work + {offsets[f'x{i}']});\n"
            for i in range(len(packed.dense))
        ),
        "layers.c": "".join(_layers(isa, packed)),
    }
    if isa.tile:
        parts |= int8_dense.tiles(isa, outputs)
        parts["dense.c"] = assembly.text("int8_tiles.c", words, parts)
    else:
        parts["dense.c"] = ""
    # A network of one dense layer makes no codes of its sums.
    parts["codes.c"] = assembly.text("int8_codes.c", words) if len(outputs) > 1 else ""
    kernels = [
        assembly.text(f"int8_{isa.name}.h", words, parts),
        int8_conv.conv1(isa, packed),
        conv2,
        assembly.text("int8_dense.c", words, parts),
        assembly.text("int8_chunk.c", words, parts),
    ]
    if isa.compilers:
        other = f"#define {isa.check} 0\n#define {isa.name}_chunk {GENERIC.name}_chunk\n"
        kernels = [f"#if {isa.compilers}\n", *kernels, f"#else\n{other}#endif\n"]
    return assembly.section(isa, *kernels)


def _layers(isa: Dots, packed: PackedInt8) -> Iterator[str]:
    """A turn of m images, from i on, through the dense layers."""
    last, inputs = len(packed.dense) - 1, packed.dense[0].inputs
    row = inputs  # from one image's inputs to the next's
    for number, layer in enumerate(packed.dense):
        x = f"x{number}" + f" + {inputs} * i" * (number == 0)
        weights, outputs = f"lenet_dense{number}", -(-layer.outputs // isa.lanes) * isa.lanes
        yield (
            f"        {isa.name}_{'dense' if isa.tile else 'sparse'}({x}, {inputs // isa.group}, "
            f"{row}, {weights}_{_KINDS[isa.group]}[0],\n"
            f"            {weights}_{isa.bias}, {outputs}, {layer.stride}, sums, m);\n"
        )
        scale = f"{weights}_scale"
        yield (
            f"        {isa.name}_logits(sums, {layer.stride}, {scale}, "
            f"logits + LENET_LOGITS * i, m);\n"
            if number == last
            else f"        {isa.name}_codes(sums, {outputs}, {layer.stride}, {scale}, "
            f"x{number + 1}, m);\n"
        )
        inputs, row = outputs, layer.stride
