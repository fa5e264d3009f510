"""``native``: the network itself, compiled to C and to a library that needs no engine.

The stages, each a module: `graph` and `layers` read the network from the torch module, `pack`
brings its weights into the order and the domain of the loops, `isa` says what each instruction set
offers and how its loops are tiled, `conv` and `dense` write the kernels, `source` puts the C files
together, and `compiler` makes the library. docs/native.md explains the result with a picture.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from lenet_export import weights
from lenet_export.native import compiler, layers, pack, source
from lenet_export.reference import Reference
from lenet_export.request import Build, Request
from lenet_runtime import _files
from lenet_runtime.artifact import Requirements
from lenet_runtime.errors import ArtifactError, InputError
from lenet_runtime.requirements import this_platform

DEFAULT_ISA = "x86-64-v4"


def build(request: Request) -> Build:
    """Generate ``lenet.c`` and ``lenet.h``, and compile them into ``lenet.so``.

    The option ``isa`` is the highest x86-64 level to generate kernels for, ``x86-64-v4`` where it
    is not given; the library chooses among them and ``generic`` when it is loaded, so one serves
    every CPU of the platform. A static batch is a promise of the manifest: the code takes any.

    Equal weights, compiler and options give equal bytes.

    Raises:
        InputError: the module is not LeNet's chain of layers, or the level is unknown.
        BackendUnavailable: there is no C compiler or no Python.h.
        DeployError: the compiler failed.
    """
    level = request.options.get("isa") or DEFAULT_ISA
    found = compiler.find()
    sources = generate(request.module, level, request.weights_sha256)
    library = compiler.build_library(found, sources)
    titles = ", ".join(isa.title for isa in source.LEVELS[level])
    return Build(
        {name: text.encode() for name, text in sources.items()} | {compiler.LIBRARY: library},
        Requirements("cpu", "native", titles, platform=this_platform()),
        {"torch": str(torch.__version__), found.name: found.version},
    )


def require() -> None:
    """Raise `BackendUnavailable` where there is no C compiler or no Python.h."""
    compiler.find()
    compiler.python_headers()


def generate(module: nn.Module, isa: str, weights_sha256: str) -> dict[str, str]:
    """``lenet.c`` and ``lenet.h`` by name.

    Args:
        module: in eval mode on the CPU.
        isa: the highest level, a key of `source.LEVELS`.
        weights_sha256: see `lenet_export.weights.fingerprint`.

    Raises:
        InputError: see `build`.
    """
    if isa not in source.LEVELS:
        raise InputError(f"isa: expected one of {list(source.LEVELS)}, found {isa!r}")
    network = layers.read(module)
    packed = pack.pack(network)
    return {
        "lenet.c": source.source(network, packed, weights_sha256, isa),
        "lenet.h": source.header(packed, weights_sha256, isa),
    }


def write_source(module: nn.Module, folder: Path, isa: str = DEFAULT_ISA) -> list[Path]:
    """Write ``lenet.c`` and ``lenet.h``, compiled and proven by nobody, into `folder`.

    Raises:
        InputError: see `build`, or weights that are not finite.
        ArtifactError: the folder cannot be made or a file not be written.
    """
    weights.require_finite(module)
    reference = Reference(module)
    reference.eager(np.zeros((2, 1, 32, 32), np.float32))  # says best what a broken module lacks
    sources = generate(reference.module, isa, weights.fingerprint(reference.module))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"{folder}: cannot make the folder ({error.strerror})") from error
    paths = []
    for name, text in sources.items():
        _files.write_atomically(folder / name, text.encode())
        paths.append(folder / name)
    return paths
