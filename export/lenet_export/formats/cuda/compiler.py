"""NVRTC, NVIDIA's compiler as a library: CUDA C++ to code for each kind of GPU, on any machine."""

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from lenet_runtime.errors import BackendUnavailable, DeployError

# What to make binary code for, and the compute capabilities that it serves: those of its major
# number, from its own on. A100, RTX 30 and 40; H100 and H200; B200 and B300; RTX 50.
ARCHITECTURES = {
    "sm_80": (8.0, 8.6, 8.7, 8.9),
    "sm_90": (9.0,),
    "sm_100": (10.0, 10.3),
    "sm_120": (12.0, 12.1),
}
# For every later GPU, whose driver compiles it.
PTX = "compute_80"
TYPES = {"fp32": "Float", "tf32": "TensorFloat", "fp16": "Half", "bf16": "BrainFloat"}
SOURCE = "lenet.cu"
_INSTALL = "pip install cuda-bindings nvidia-cuda-nvrtc (PyTorch's CUDA builds bring both)"


@dataclass(frozen=True)
class Compiled:
    """One compilation.

    Attributes:
        code: a cubin, or PTX's text.
        log: of the compiler; of a cubin, with the registers of each kernel.
    """

    code: bytes
    log: str


@dataclass(frozen=True)
class Usage:
    """What a kernel takes of a GPU, as ptxas reports it: registers, and bytes of local memory."""

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int


def load() -> Any:
    """The module `cuda.bindings.nvrtc`, with a library behind it.

    Raises:
        BackendUnavailable: either is missing.
    """
    try:
        from cuda.bindings import nvrtc

        version(nvrtc)
    except (ImportError, RuntimeError) as error:
        raise BackendUnavailable(f"cuda: NVRTC cannot be loaded ({error}); {_INSTALL}") from error
    return nvrtc


def version(nvrtc: Any) -> str:
    """NVRTC's version, ``13.2``."""
    _, major, minor = nvrtc.nvrtcVersion()
    return f"{major}.{minor}"


def supported(nvrtc: Any) -> tuple[str, ...]:
    """The architectures of `ARCHITECTURES` that this NVRTC knows."""
    (numbers,) = _checked(nvrtc, "architectures", nvrtc.nvrtcGetSupportedArchs())
    return tuple(name for name in ARCHITECTURES if int(name[3:]) in list(numbers))


def source() -> dict[str, bytes]:
    """The kernels' text: ``lenet.cu`` and what it includes, by name."""
    folder = files("lenet_export.formats.cuda")
    found = [*folder.iterdir(), *folder.joinpath("device").iterdir()]
    return {f.name: f.read_bytes() for f in found if f.name.endswith((".cu", ".cuh"))}


def compile_for(nvrtc: Any, architecture: str, precision: str, *defines: str) -> Compiled:
    """Compile the kernels of one precision.

    Args:
        nvrtc: see `load`.
        architecture: ``sm_90`` for a cubin, ``compute_80`` for PTX.
        precision: a key of `TYPES`.
        *defines: macros, ``NAME=value``.

    Raises:
        DeployError: NVRTC refuses the source.
    """
    texts = source()
    main = texts.pop(SOURCE)
    names = [name.encode() for name in texts]
    (program,) = _checked(
        nvrtc,
        "program",
        nvrtc.nvrtcCreateProgram(main, SOURCE.encode(), len(texts), list(texts.values()), names),
    )
    defines = (f"LENET_PRECISION={TYPES[precision]}", *defines)
    options = [f"--gpu-architecture={architecture}", "--std=c++17", *(f"-D{d}" for d in defines)]
    if architecture.startswith("sm_"):
        options.append("--ptxas-options=-v")
    try:
        failed = nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options])[0]
        log = _text(nvrtc, program, "ProgramLog").decode(errors="replace").rstrip("\0 \n")
        if failed:
            raise DeployError(f"cuda: NVRTC cannot compile for {architecture} ({failed}): {log}")
        kind = "CUBIN" if architecture.startswith("sm_") else "PTX"
        return Compiled(_text(nvrtc, program, kind), log)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def usage(log: str) -> dict[str, Usage]:
    """What ptxas reports of each kernel in a log of `compile_for`."""
    found = {}
    for part in re.split(r"Compiling entry function '", log)[1:]:
        stack = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes", part)
        registers = re.search(r"Used (\d+) registers", part)
        if stack is None or registers is None:
            raise DeployError(f"cuda: expected ptxas to report registers, found {part!r}")
        numbers = (int(number) for number in stack.groups())
        found[part.partition("'")[0]] = Usage(int(registers[1]), *numbers)
    return found


def _text(nvrtc: Any, program: Any, kind: str) -> bytes:
    size: int
    (size,) = _checked(nvrtc, kind, getattr(nvrtc, f"nvrtcGet{kind}Size")(program))
    # NVRTC writes into it. Two bytes more, because Python keeps a single object for each of the
    # bytes strings of length 0 and 1, and an empty log has length 1.
    buffer = bytes(size + 2)
    _checked(nvrtc, kind, getattr(nvrtc, f"nvrtcGet{kind}")(program, buffer))
    return buffer[:size]


def _checked(nvrtc: Any, what: str, result: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a function of NVRTC gave, without its status."""
    if result[0] != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise DeployError(f"cuda: NVRTC fails on {what} ({result[0]})")
    return result[1:]
