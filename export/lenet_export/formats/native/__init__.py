"""``native``: the network itself, compiled to C and to a library that needs no engine.

The stages, each a module: `winograd` says which convolutions bear Winograd's rounding, `pack`
brings the network's weights into the order and the domain of the loops, `isa` says what each
instruction set offers and how its loops are tiled, `conv` and `dense` write the unrolled kernels,
`fp32` adds the constants, `assembly` puts the C files of ``c/`` round them, and `compiler` makes
the library. docs/native.md explains the result with a picture.

For ``int8``, `int8_pack` orders the quantised network, `int8_isa` says what each instruction set's
dot products take, `int8_conv`, `int8_minimal` and `int8_dense` write the kernels, and `int8` adds
the constants.

For microcontrollers, `cortex` puts the parts of `cortex_int8` or `cortex_fp32` into ``c/cortex/``.
"""

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import numpy as np

from lenet_export.formats.native import cortex_package
from lenet_export.formats.native.host import PRECISIONS as PRECISIONS
from lenet_export.network import weights
from lenet_export.network.reference import Reference
from lenet_export.request import Build, Request
from lenet_runtime.artifact import files
from lenet_runtime.errors import ArtifactError, InputError, expected_one_of
from lenet_runtime.formats import TARGETS

# What makes the C and the library for each of `TARGETS`: modules with ``build(request) -> Build``,
# ``generate(request) -> dict[str, str]`` and ``require()``, see the functions below.
_MAKERS = {
    "host": "lenet_export.formats.native.host",
    "aarch64": "lenet_export.formats.native.aarch64",
    "wasm": "lenet_export.formats.native.wasm",
    "cortex-m": "lenet_export.formats.native.cortex",
}
# What `write_source` puts beside the C, for targets whose build systems ask for more.
_PACKAGES = {"cortex-m": cortex_package.generate}


def build(request: Request) -> Build:
    """Generate ``lenet.c`` and ``lenet.h``, and compile them for the option ``target``.

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
    return _of(request).build(request)  # type: ignore[no-any-return]


def require() -> None:
    """Raise `BackendUnavailable` where there is no C compiler or no Python.h."""
    importlib.import_module(_MAKERS["host"]).require()


def generate(request: Request) -> dict[str, str]:
    """``lenet.c`` and ``lenet.h`` by name, of a module in eval mode on the CPU; see `build`."""
    return _of(request).generate(request)  # type: ignore[no-any-return]


def _of(request: Request) -> Any:
    """The module that makes what the option ``target`` names."""
    name = request.options.get("target") or "host"
    if name not in TARGETS:
        raise InputError(f"target: {expected_one_of(TARGETS, name)}")
    if request.precision not in TARGETS[name].precisions:
        own = " or ".join(TARGETS[name].precisions)
        raise InputError(f"target: {name} computes in {own}, found {request.precision}")
    if name not in _MAKERS:
        raise InputError(f"target: this version makes nothing for {name} yet")
    return importlib.import_module(_MAKERS[name])


def write_source(request: Request, folder: Path) -> list[Path]:
    """Write ``lenet.c`` and ``lenet.h``, compiled and proven by nobody, into `folder`.

    For a microcontroller also what its build systems ask for, see `cortex_package`.

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
    request = dataclasses.replace(request, module=reference.module)
    sources = generate(request)
    if package := _PACKAGES.get(request.options.get("target", "host")):
        sources |= package(request)
    paths = [folder / name for name in sources]
    for path, text in zip(paths, sources.values(), strict=True):
        parent = path.parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtifactError(f"{parent}: cannot make the folder ({error.strerror})") from error
        files.write_atomically(path, text.encode())
    return paths
