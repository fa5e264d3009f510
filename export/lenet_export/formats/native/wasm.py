"""``--target wasm``: ``lenet.wasm``, ``lenet.c`` and ``lenet.h``, for engines of WebAssembly.

One file holds the network for engines of three kinds, see `wasm_file`: with relaxed SIMD, whose
multiply-add is one instruction and mostly fused; with SIMD, where it is emulated in double; and
without. All give the same logits to the bit, and so does ``native``.
"""

import functools
import shlex

import torch

from lenet_export.formats.native import (
    assembly,
    host,
    wasm_compiler,
    wasm_file,
    wasm_int8,
    wasm_lanes,
)
from lenet_export.formats.native.assembly import PREFIX, Program, text
from lenet_export.formats.native.int8_pack import ROWS
from lenet_export.formats.native.isa import WASM, WASM_MEMBER
from lenet_export.formats.native.pack import LANES
from lenet_export.formats.native.wasm_compiler import PLAIN, RELAXED
from lenet_export.network import layers
from lenet_export.network.quantize import calibration_batch
from lenet_export.request import Build, Request
from lenet_runtime.artifact import Artifact, Requirements
from lenet_runtime.backends.node import Node
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.errors import InputError

MODULE = "lenet.wasm"


def build(request: Request) -> Build:
    """See `lenet_export.formats.native.build`."""
    tools = wasm_compiler.find()
    network = program(request)
    sources = assembly.sources(network, request)
    # int8 needs no multiply-add of floats.
    names = [name for name in tools.variants if request.precision != "int8" or name != RELAXED]
    # Loops over lanes are not unrolled, which would be slower, too; those of int8 are.
    level = "-Os" if WASM in network.levels else "-O2"
    modules = wasm_compiler.build(
        tools, sources | _glue(network, request), request.options.get("prefix", PREFIX), names,
        level,
    )  # fmt: skip
    file = wasm_file.bundle(modules.pop(PLAIN), modules)
    return Build(
        {name: text.encode() for name, text in sources.items()} | {MODULE: file},
        Requirements("cpu", "webassembly", ", ".join(names), platform="wasm", target="wasm"),
        {
            "torch": str(torch.__version__),
            tools.clang.name: tools.clang.version,
            "cflags": shlex.join([*wasm_compiler.COMMON, level]),
        },
        host.kernels(network),
        emulator=functools.partial(_emulate, request),
    )


def _emulate(request: Request, artifact: Artifact) -> Predictor:
    """``lenet.wasm`` in Node, as a ``web`` artifact of it would run."""
    # In this function, since the package imports this module.
    from lenet_export.formats.web.script import describe, script

    module = artifact.read(MODULE)
    text = script(describe(request, module, maps(request)))
    return Node(text.encode(), module, artifact.path / MODULE)


def require() -> None:
    """Raise `BackendUnavailable` where there is no Clang or no wasm-ld."""
    wasm_compiler.find()


def generate(request: Request) -> dict[str, str]:
    """``lenet.c`` and ``lenet.h`` by name, of a module in eval mode on the CPU; see `build`."""
    return assembly.sources(program(request), request)


def maps(request: Request) -> list[dict[str, int]] | None:
    """Where the feature maps of the two convolutions lie, as ``features`` of ``c/wasm.c`` has them.

    Of each their number, rows and columns, the floats from one map or from one pixel to the next,
    and the floats of all; None for a network of other layers.
    """
    network = layers.read(request.module, request.image_shape, request.format)
    if network.unlike_net:
        return None
    first, second = len(network.conv1.bias), len(network.conv2.bias)
    side, wide = ROWS if request.precision == "int8" else 15, -(-second // LANES) * LANES
    return [
        {"count": first, "side": side, "stride": side**2, "floats": first * side**2},
        {"count": second, "side": 6, "stride": wide, "floats": 36 * wide},
    ]


def program(request: Request) -> Program:
    """The network's C for WebAssembly."""
    if "isa" in request.options:
        raise InputError("isa: WebAssembly has no levels of x86-64; drop --isa")
    precision = request.precision
    digits = request.options.get("calibration")
    calibration = calibration_batch(precision, digits, request.preprocessing, request.image_shape)
    network = layers.read(request.module, request.image_shape, request.format)
    if precision == "int8":
        layers.require_net_like(network, f"{request.format}: int8")
        return wasm_int8.program(network, calibration)
    if network.unlike_net:
        return host.float_program(network, (WASM_MEMBER,), precision)
    return wasm_lanes.looped(host.float_program(network, (WASM,), precision))


def _glue(program: Program, request: Request) -> dict[str, str]:
    """What is compiled beside the network's own C."""
    own = "" if program.outline == "direct" else text(f"wasm_features_{program.precision}.c")
    glue = text("wasm.c", parts={"features.c": own})
    return {"wasm.c": assembly.named(glue, request), "string.h": text("wasm_string.h")}
