"""``--target host``: ``lenet.c``, ``lenet.h`` and ``lenet.so``, for CPUs of this machine's kind."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from lenet_export import compiler
from lenet_export.formats.native import assembly, fp32, int8, member, stages
from lenet_export.formats.native.assembly import Program
from lenet_export.formats.native.int8_isa import (
    AVX2,
    AVX_VNNI,
    GENERIC,
    NEON_DOT,
    NEON_INT8,
    VNNI,
)
from lenet_export.formats.native.isa import BASE, BF16, BF16_FLAGS, NEON, NONE, V3, V4, Level
from lenet_export.network import layers
from lenet_export.network.layers import Network
from lenet_export.network.quantize import calibration_batch
from lenet_export.network.steps import Array
from lenet_export.request import Build, Request
from lenet_runtime import cpu
from lenet_runtime.artifact import Requirements
from lenet_runtime.artifact.requirements import this_platform
from lenet_runtime.errors import BackendUnavailable, InputError, expected_one_of
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


def float_program(network: Network, levels: tuple[Level, ...], precision: str) -> Program:
    """The tuned kernels for what is like `Net`, the general ones for all other members."""
    if network.unlike_net:
        return member.program(network, levels, precision)
    return fp32.program(network, levels, precision)


PRECISIONS = {
    "fp32": Precision(
        {
            "x86-64-v4": (V4, V3, NEON, BASE),
            "x86-64-v3": (V3, NEON, BASE),
            "generic": (BASE,),
        },
        lambda network, levels, calibration: float_program(network, levels, "fp32"),
        ("fp32 *", "fp32 *", "fp32 *", "fp32 *"),
    ),
    "bf16": Precision(
        {DEFAULT_ISA: (BF16, NONE)},
        lambda network, levels, calibration: float_program(network, levels, "bf16"),
        ("fp32 x86-64-v4", "fp32 x86-64-v4", "bf16 avx512_bf16", "fp32 x86-64-v4"),
        BF16_FLAGS,
    ),
    "int8": Precision(
        {
            "x86-64-v4": (VNNI, AVX_VNNI, AVX2, NEON_DOT, NEON_INT8, GENERIC),
            "x86-64-v3": (AVX2, NEON_DOT, NEON_INT8, GENERIC),
            "generic": (GENERIC,),
        },
        int8.program,
        ("int16 *", "int8 *", "int8 *", "int8 *"),
    ),
}


def build(request: Request) -> Build:
    """See `lenet_export.formats.native.build`."""
    flags = PRECISIONS[request.precision].flags
    lacking = sorted(set(flags) - cpu.flags())
    if lacking:
        raise BackendUnavailable(
            f"native: {request.precision} is computed by CPU extensions that this CPU lacks: "
            f"{lacking}; export on one that has them, or take --precision fp32 or int8"
        )
    c_compiler = compiler.find()
    network = program(request)
    sources = assembly.sources(network, request)
    library = compiler.build_library(
        c_compiler, sources | assembly.python_module(request), LIBRARY,
        f"-I{compiler.python_headers()}",
    )  # fmt: skip
    own = kernels(network)
    titles = dict.fromkeys(title for kernel in own.values() for title in kernel[1:])
    return Build(
        {name: text.encode() for name, text in sources.items()} | {LIBRARY: library},
        Requirements("cpu", "native", ", ".join(titles), cpu_isa=flags, platform=this_platform()),
        {
            "torch": str(torch.__version__),
            c_compiler.name: c_compiler.version,
            "cflags": c_compiler.flags,
        },
        own,
    )


def require() -> None:
    """Raise `BackendUnavailable` where there is no C compiler or no Python.h."""
    compiler.find()
    compiler.python_headers()


def generate(request: Request) -> dict[str, str]:
    """``lenet.c`` and ``lenet.h`` by name, of a module in eval mode on the CPU; see `build`."""
    return assembly.sources(program(request), request)


def program(request: Request) -> Program:
    """The network's C with the kernels of the request's precision and option ``isa``."""
    isa, precision = request.options.get("isa") or DEFAULT_ISA, request.precision
    every, kind = PRECISIONS["fp32"].levels, PRECISIONS[precision]
    if isa not in every:
        raise InputError(f"isa: {expected_one_of(every, isa)}")
    if isa not in kind.levels:
        own = ", ".join(kind.levels)
        raise InputError(f"isa: {precision} has kernels for {own} alone, found {isa!r}")
    return written(request, kind.levels[isa])


def written(request: Request, levels: tuple[Level, ...]) -> Program:
    """The network's C with kernels for `levels`."""
    precision, digits = request.precision, request.options.get("calibration")
    calibration = calibration_batch(precision, digits, request.preprocessing, request.image_shape)
    network = layers.read(request.module, request.image_shape, "native")
    if precision == "int8":
        layers.require_net_like(network, "native: int8")
    return PRECISIONS[precision].program(network, levels, calibration)


def kernels(program: Program, machine: str = "") -> dict[str, tuple[str, ...]]:
    """What computes each layer on an architecture, by default this one, for `Manifest.kernels`."""
    machines = ("", machine or platform.machine())
    titles = tuple(level.title for level in program.levels if level.machine in machines)
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
