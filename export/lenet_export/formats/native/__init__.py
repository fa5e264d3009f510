"""``native``: the network itself, compiled to C and to a library that needs no engine.

The stages, each a module: `winograd` says which convolutions bear Winograd's rounding, `pack`
brings the network's weights into the order and the domain of the loops, `isa` says what each
instruction set offers and how its loops are tiled, `conv` and `dense` write the unrolled kernels,
`fp32` adds the constants, `assembly` puts the C files of ``c/`` round them, and `compiler` makes
the library. docs/native.md explains the result with a picture.

For ``int8``, `int8_pack` orders the quantised network, `vnni` writes the kernels for CPUs with dot
products of bytes, and `int8` adds the constants; ``c/int8.c`` has the kernels for all other CPUs.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lenet_export import compiler
from lenet_export.formats.native import assembly, fp32, int8, member, stages
from lenet_export.formats.native.assembly import Program
from lenet_export.formats.native.isa import BASE, BF16, BF16_FLAGS, NONE, V3, V4, VNNI, Level
from lenet_export.network import layers, weights
from lenet_export.network.layers import Network
from lenet_export.network.quantize import calibration_batch
from lenet_export.network.reference import Reference
from lenet_export.network.steps import Array
from lenet_export.request import Build, Request
from lenet_runtime import cpu
from lenet_runtime.artifact import Requirements, files
from lenet_runtime.artifact.requirements import this_platform
from lenet_runtime.errors import ArtifactError, BackendUnavailable, InputError, expected_one_of
from lenet_runtime.formats import FORMATS

LIBRARY = FORMATS["native"].files[0]
DEFAULT_ISA = "x86-64-v4"


@dataclass(frozen=True)
class Precision:
    """What the format has for one precision.

    Attributes:
        levels: the kernels by the option ``isa``, best first.
        program: writes a network's C for these kernels; int8 with normalised calibration digits.
        arithmetic: what conv1, the other convolutions, the dense layers and the last of them are
            computed in and by which kernels, where ``*`` is all of `levels`.
        flags: the CPU flags, in Linux's spelling, that the library needs.
    """

    levels: Mapping[str, tuple[Level, ...]]
    program: Callable[[Network, tuple[Level, ...], Array | None], Program]
    arithmetic: tuple[str, str, str, str]
    flags: tuple[str, ...] = ()


def _float(network: Network, levels: tuple[Level, ...], precision: str) -> Program:
    """The tuned kernels for what is like `Net`, the general ones for all other members."""
    if network.unlike_net:
        return member.program(network, levels, precision)
    return fp32.program(network, levels, precision)


PRECISIONS = {
    "fp32": Precision(
        {"x86-64-v4": (V4, V3, BASE), "x86-64-v3": (V3, BASE), "generic": (BASE,)},
        lambda network, levels, calibration: _float(network, levels, "fp32"),
        ("fp32 *", "fp32 *", "fp32 *", "fp32 *"),
    ),
    "bf16": Precision(
        {DEFAULT_ISA: (BF16, NONE)},
        lambda network, levels, calibration: _float(network, levels, "bf16"),
        ("fp32 x86-64-v4", "fp32 x86-64-v4", "bf16 avx512_bf16", "fp32 x86-64-v4"),
        BF16_FLAGS,
    ),
    "int8": Precision(
        {
            "x86-64-v4": (VNNI, int8.GENERIC),
            "x86-64-v3": (int8.GENERIC,),
            "generic": (int8.GENERIC,),
        },
        int8.program,
        ("int16 *", "int8 *", "int8 *", "int8 *"),
    ),
}


def build(request: Request) -> Build:
    """Generate ``lenet.c`` and ``lenet.h``, and compile them into ``lenet.so``.

    The option ``isa`` is the highest x86-64 level to generate kernels for, ``x86-64-v4`` where it
    is not given; the library chooses among them and ``generic`` when it is loaded, so one serves
    every CPU of the platform. But bf16 is for CPUs with ``avx512_bf16`` alone. The option
    ``calibration``, of int8 alone, is *training* digits, uint8 ``(N, 28, 28)``, to take the
    activations' scales from; else those of `quantize.calibration_digits`. The option ``prefix``,
    ``lenet`` where it is not given, begins the name of every function, variable and macro of the
    two files, so that one program can link several networks; the files' own names stay. A static
    batch is a promise of the manifest: the code takes any.

    Equal weights, calibration, compiler and options give equal bytes.

    Raises:
        InputError: the module is not LeNet's chain of layers, the level is unknown or has no
            kernels of this precision, the prefix cannot begin a name in C, the calibration digits
            cannot be used, or CC has a flag that changes what floating-point arithmetic means.
        BackendUnavailable: there is no C compiler or no Python.h, or this CPU cannot run what
            would have to be proven.
        DeployError: the compiler failed.
    """
    flags = PRECISIONS[request.precision].flags
    lacking = sorted(set(flags) - cpu.flags())
    if lacking:
        raise BackendUnavailable(
            f"native: {request.precision} is computed by CPU extensions that this CPU lacks: "
            f"{lacking}; export on one that has them, or take --precision fp32 or int8"
        )
    c_compiler = compiler.find()
    program = _program(request)
    sources = assembly.sources(program, request)
    library = compiler.build_library(
        c_compiler, sources | assembly.python_module(request), LIBRARY,
        f"-I{compiler.python_headers()}",
    )  # fmt: skip
    kernels = _kernels(program)
    titles = dict.fromkeys(title for kernel in kernels.values() for title in kernel[1:])
    return Build(
        {name: text.encode() for name, text in sources.items()} | {LIBRARY: library},
        Requirements("cpu", "native", ", ".join(titles), cpu_isa=flags, platform=this_platform()),
        {
            "torch": str(torch.__version__),
            c_compiler.name: c_compiler.version,
            "cflags": c_compiler.flags,
        },
        kernels,
    )


def require() -> None:
    """Raise `BackendUnavailable` where there is no C compiler or no Python.h."""
    compiler.find()
    compiler.python_headers()


def generate(request: Request) -> dict[str, str]:
    """``lenet.c`` and ``lenet.h`` by name, of a module in eval mode on the CPU; see `build`."""
    return assembly.sources(_program(request), request)


def _program(request: Request) -> Program:
    isa, precision = request.options.get("isa") or DEFAULT_ISA, request.precision
    every, kind = PRECISIONS["fp32"].levels, PRECISIONS[precision]
    if isa not in every:
        raise InputError(f"isa: {expected_one_of(every, isa)}")
    if isa not in kind.levels:
        own = ", ".join(kind.levels)
        raise InputError(f"isa: {precision} has kernels for {own} alone, found {isa!r}")
    digits = request.options.get("calibration")
    calibration = calibration_batch(precision, digits, request.preprocessing, request.image_shape)
    network = layers.read(request.module, request.image_shape, "native")
    if precision == "int8":
        layers.require_net_like(network, "native: int8")
    return kind.program(network, kind.levels[isa], calibration)


def _kernels(program: Program) -> dict[str, tuple[str, ...]]:
    """What computes each layer, for `Manifest.kernels`."""
    titles = tuple(level.title for level in program.levels)
    conv1, others, dense, last = (
        (number, *(titles if title == "*" else (title,)))
        for number, title in map(str.split, PRECISIONS[program.precision].arithmetic)
    )
    convolutions, count = program.network.convolutions, len(program.network.dense)
    numbered = {f"conv{i}": others for i in range(1, len(convolutions) + 1)} | {"conv1": conv1}
    # The last ones, if they are computed as dense layers.
    spatial = len(stages.stage(program.network).stages)
    numbered |= {f"conv{i}": dense for i in range(spatial + 1, len(convolutions) + 1)}
    return numbered | {f"fc{i}": dense for i in range(1, count)} | {f"fc{count}": last}


def write_source(request: Request, folder: Path) -> list[Path]:
    """Write ``lenet.c`` and ``lenet.h``, compiled and proven by nobody, into `folder`.

    Args:
        request: as for `build`, of a module in any mode, on any device.
        folder: is made if it is missing.

    Raises:
        InputError: see `build`, or weights that are not finite.
        ArtifactError: the folder cannot be made or a file not be written.
    """
    weights.require_finite(request.module)
    reference = Reference(request.module)
    # It says best what a broken module lacks.
    reference.eager(np.zeros((2, *request.image_shape), np.float32))
    sources = generate(dataclasses.replace(request, module=reference.module))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"{folder}: cannot make the folder ({error.strerror})") from error
    paths = []
    for name, text in sources.items():
        files.write_atomically(folder / name, text.encode())
        paths.append(folder / name)
    return paths
