"""``native``: the network itself, compiled to C and to a library that needs no engine.

The stages, each a module: `graph` and `layers` read the network from the torch module, `pack`
brings its weights into the order and the domain of the loops, `isa` says what each instruction set
offers and how its loops are tiled, `conv` and `dense` write the kernels, `source` puts the C files
together, and `compiler` makes the library. docs/native.md explains the result with a picture.

For ``int8``, `quantize` makes integers of the network, `int8_pack` orders them, `vnni` writes the
kernels for CPUs with dot products of bytes, and `int8` those for all others and the C files;
`bf16` writes what differs from ``fp32``.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lenet_export.formats.native import bf16, compiler, int8, int8_pack, pack, source
from lenet_export.network import layers, quantize, weights
from lenet_export.network.layers import Array, Network
from lenet_export.network.reference import Reference
from lenet_export.request import Build, Request
from lenet_export.verification import mnist_batch
from lenet_runtime import cpu
from lenet_runtime.artifact import Requirements, files
from lenet_runtime.artifact.requirements import this_platform
from lenet_runtime.errors import ArtifactError, BackendUnavailable, InputError
from lenet_runtime.images.preprocess import Preprocessing

DEFAULT_ISA = "x86-64-v4"


def build(request: Request) -> Build:
    """Generate ``lenet.c`` and ``lenet.h``, and compile them into ``lenet.so``.

    The option ``isa`` is the highest x86-64 level to generate kernels for, ``x86-64-v4`` where it
    is not given; the library chooses among them and ``generic`` when it is loaded, so one serves
    every CPU of the platform. But bf16 is for CPUs with ``avx512_bf16`` alone. The option
    ``calibration``, of int8 alone, is *training* digits, uint8 ``(N, 28, 28)``, to take the
    activations' scales from; else those of `quantize.calibration_digits`. A static batch is a
    promise of the manifest: the code takes any.

    Equal weights, calibration, compiler and options give equal bytes.

    Raises:
        InputError: the module is not LeNet's chain of layers, the level is unknown or has no
            kernels of this precision, or the calibration digits cannot be used.
        BackendUnavailable: there is no C compiler or no Python.h, or this CPU cannot run what
            would have to be proven.
        DeployError: the compiler failed.
    """
    level = request.options.get("isa") or DEFAULT_ISA
    calibration = calibration_batch(
        request.precision, request.options.get("calibration"), request.preprocessing
    )
    flags = bf16.FLAGS if request.precision == "bf16" else ()
    lacking = sorted(set(flags) - cpu.flags())
    if lacking:
        raise BackendUnavailable(
            f"native: bf16 is computed by CPU extensions that this CPU lacks: {lacking}; export on "
            "one that has them, or take --precision fp32 or int8"
        )
    found = compiler.find()
    network = _read(request.module, level, request.precision)
    sources = _sources(network, level, request.weights_sha256, request.precision, calibration)
    library = compiler.build_library(found, sources)
    kernels = kernels_of(network, level, request.precision)
    titles = ", ".join(dict.fromkeys(title for kernel in kernels.values() for title in kernel[1:]))
    return Build(
        {name: text.encode() for name, text in sources.items()} | {compiler.LIBRARY: library},
        Requirements("cpu", "native", titles, cpu_isa=flags, platform=this_platform()),
        {"torch": str(torch.__version__), found.name: found.version},
        kernels,
    )


def require() -> None:
    """Raise `BackendUnavailable` where there is no C compiler or no Python.h."""
    compiler.find()
    compiler.python_headers()


def calibration_batch(
    precision: str, images: NDArray[np.uint8] | None, preprocessing: Preprocessing
) -> Array | None:
    """Normalised digits ``(N, 1, 32, 32)`` to calibrate int8 with; None for other precisions.

    Raises:
        InputError: another precision was given digits, or they are not uint8 ``(N, 28, 28)``.
    """
    if precision != "int8":
        if images is not None:
            raise InputError(f"calibration: int8 alone is calibrated, found precision {precision}")
        return None
    digits = quantize.calibration_digits() if images is None else images
    return mnist_batch(quantize.require_calibration(digits), preprocessing)


def generate(
    module: nn.Module,
    isa: str,
    weights_sha256: str,
    precision: str = "fp32",
    calibration: Array | None = None,
) -> dict[str, str]:
    """``lenet.c`` and ``lenet.h`` by name.

    Args:
        module: in eval mode on the CPU.
        isa: the highest level, a key of `source.LEVELS`.
        weights_sha256: see `lenet_export.network.weights.fingerprint`.
        precision: ``fp32``, ``bf16`` or ``int8``.
        calibration: of int8, see `calibration_batch`.

    Raises:
        InputError: see `build`.
    """
    network = _read(module, isa, precision)
    return _sources(network, isa, weights_sha256, precision, calibration)


def _read(module: nn.Module, isa: str, precision: str) -> Network:
    """The network, once it is known that there are kernels for what is asked."""
    if isa not in source.LEVELS:
        raise InputError(f"isa: expected one of {list(source.LEVELS)}, found {isa!r}")
    if precision == "bf16" and isa != DEFAULT_ISA:
        raise InputError(f"isa: bf16 has kernels for {DEFAULT_ISA} alone, found {isa!r}")
    return layers.read(module)


def _sources(
    network: Network, isa: str, weights_sha256: str, precision: str, calibration: Array | None
) -> dict[str, str]:
    if precision == "int8":
        assert calibration is not None
        quantized = quantize.quantize(network, quantize.calibrate(network, calibration))
        return int8.sources(int8_pack.pack(quantized), weights_sha256, isa)
    packed = pack.pack(network)
    if precision == "bf16":
        return bf16.sources(network, packed, weights_sha256)
    return {
        "lenet.c": source.source(network, packed, weights_sha256, isa),
        "lenet.h": source.header(packed, weights_sha256, isa),
    }


def kernels_of(network: Network, isa: str, precision: str) -> dict[str, tuple[str, ...]]:
    """What computes each layer, for `Manifest.kernels`."""
    names = ["conv1", "conv2", *(f"fc{i + 1}" for i in range(len(network.dense)))]
    if precision == "int8":
        titles = int8.LEVELS[isa]
        return {name: ("int8" if name != "conv1" else "int16", *titles) for name in names}
    if precision == "bf16":
        dense = [f"fc{i + 1}" for i in bf16.layers_in_bf16(network)]
        return {
            name: ("bf16", bf16.BF16.title) if name in dense else ("fp32", DEFAULT_ISA)
            for name in names
        }
    return dict.fromkeys(names, ("fp32", *(level.title for level in source.LEVELS[isa])))


def write_source(
    module: nn.Module,
    folder: Path,
    isa: str = DEFAULT_ISA,
    precision: str = "fp32",
    calibration: Array | None = None,
) -> list[Path]:
    """Write ``lenet.c`` and ``lenet.h``, compiled and proven by nobody, into `folder`.

    Args:
        module: in any mode, on any device.
        folder: is made if it is missing.
        isa: see `generate`, as all that follow.
        precision: see there.
        calibration: see there.

    Raises:
        InputError: see `build`, or weights that are not finite.
        ArtifactError: the folder cannot be made or a file not be written.
    """
    weights.require_finite(module)
    reference = Reference(module)
    reference.eager(np.zeros((2, 1, 32, 32), np.float32))  # says best what a broken module lacks
    fingerprint = weights.fingerprint(reference.module)
    sources = generate(reference.module, isa, fingerprint, precision, calibration)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"{folder}: cannot make the folder ({error.strerror})") from error
    paths = []
    for name, text in sources.items():
        files.write_atomically(folder / name, text.encode())
        paths.append(folder / name)
    return paths
