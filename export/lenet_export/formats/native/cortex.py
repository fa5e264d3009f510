"""``--target cortex-m``: ``lenet.c`` and ``lenet.h`` for microcontrollers, one image at a time.

``lenet.so`` is the very same C with its plain kernels, compiled for this machine, so that a proof
and whoever loads the artifact run what a Cortex-M0 runs. It takes pixels, as the microcontroller
does. Where ``arm-none-eabi-gcc`` is installed, the manifest also says what the C takes of flash and
RAM on each core.

Logits are float32 in int8, too, and equal to the bit to those of ``--target host``: their bits are
computed on integers, so nothing of a floating-point library is linked, and no answer is rounded
once more. Of fp32 the logits are within the tolerance, not equal to the host's: black is taken out
of the sums, and no filter of conv2 is transformed.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from lenet_export import compiler
from lenet_export.formats.native import assembly, cortex_fixed, cortex_fp32, cortex_int8
from lenet_export.network import layers, quantize
from lenet_export.network.layers import Network
from lenet_export.request import Build, Request
from lenet_runtime import __version__
from lenet_runtime.artifact import Requirements
from lenet_runtime.artifact.requirements import this_platform
from lenet_runtime.errors import DeployError, InputError
from lenet_runtime.formats import FORMATS

LIBRARY = FORMATS["native"].files[0]
CROSS_COMPILER = "arm-none-eabi-gcc"
# The cores whose kernels differ, and the flags that choose them.
CORES = {
    "cortex-m0": "-mcpu=cortex-m0",
    "cortex-m3": "-mcpu=cortex-m3",
    "cortex-m4": "-mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16",
    "cortex-m7": "-mcpu=cortex-m7 -mfloat-abi=hard -mfpu=fpv5-sp-d16",
    "cortex-m55": "-mcpu=cortex-m55 -mfloat-abi=hard",
}
_KERNELS = {
    "fp32": "float32; without an FPU the compiler's library computes, slowly.",
    "int8": "int8 on integers alone: pairs of int16 (SMLAD) where the core has them, else plain C.",
}


def build(request: Request) -> Build:
    """See `lenet_export.formats.native.build`.

    Raises:
        InputError: also of a network that is not like `Net` or does not answer logits,
            or a static batch.
    """
    if request.static_batch is not None:
        raise InputError(
            f"static batch: cortex-m takes one image at a time, found {request.static_batch}; "
            "leave it out"
        )
    c_compiler = compiler.find()
    sources = generate(request)
    module = assembly.python_module(request)
    module["python_module.c"] = module["python_module.c"].replace('"lenet.h"', '"batch.h"')
    module["batch.h"] = assembly.named(assembly.text("cortex/batch.h"), request)
    library = compiler.build_library(
        c_compiler, sources | module, LIBRARY, f"-I{compiler.python_headers()}"
    )
    others = ["conv2", *(f"fc{i + 1}" for i in range(len(_network(request).dense)))]
    kernels = dict.fromkeys(others, (request.precision, "cortex-m"))
    first = "int16" if request.precision == "int8" else request.precision
    return Build(
        {name: text.encode() for name, text in sources.items()} | {LIBRARY: library},
        Requirements("cpu", "native", "cortex-m", platform=this_platform(), target="cortex-m"),
        {
            "torch": str(torch.__version__),
            c_compiler.name: c_compiler.version,
            "cflags": c_compiler.flags,
        }
        | sizes(sources),
        {"conv1": (first, "cortex-m"), **kernels},
    )


def require() -> None:
    """See `lenet_export.formats.native.require`."""
    compiler.find()
    compiler.python_headers()


def generate(request: Request) -> dict[str, str]:
    """See `lenet_export.formats.native.generate`."""
    network, pixels = _network(request), request.preprocessing
    if "isa" in request.options:
        raise InputError(
            "isa: the compiler chooses a microcontroller's kernels by -mcpu; leave isa out"
        )
    calibration = quantize.calibration_batch(
        request.precision, request.options.get("calibration"), pixels, request.image_shape
    )
    if calibration is None:
        parts, size = cortex_fp32.constants(network, pixels), cortex_fp32.workspace(network)
    else:
        quantized = quantize.quantize(network, quantize.calibrate(network, calibration))
        quantized = cortex_fixed.without_idle_scales(quantized)
        parts, size = cortex_int8.constants(quantized, pixels), cortex_int8.workspace(quantized)
    words = {
        "VERSION": __version__,
        "WEIGHTS": request.weights_sha256,
        "SIDE": str(request.image_shape[1] - 2 * pixels.padding),
        "CLASSES": str(network.classes),
        "LABELS": ", ".join(map(assembly.comment, request.labels)),
        "KERNELS": _KERNELS[request.precision],
        "WORDS": str(-(-size // 4)),
        "BYTES": str(-(-size // 4) * 4),
    }
    outline = f"cortex/{request.precision}.c"
    return {
        "lenet.c": assembly.named(assembly.text(outline, words, parts), request),
        "lenet.h": assembly.named(assembly.text("cortex/lenet.h", words), request),
    }


def _network(request: Request) -> Network:
    network = layers.read(request.module, request.image_shape, "native")
    return layers.require_net_like(network, "native: cortex-m", logits=True)


def sizes(sources: dict[str, str]) -> dict[str, str]:
    """Flash and RAM on each core, for `Manifest.tools`; empty without the cross compiler.

    Flash is code and constants; RAM is the workspace, without the stack.

    Raises:
        DeployError: the compiler failed.
    """
    if shutil.which(CROSS_COMPILER) is None:
        return {}
    words = re.search(r"word\[(\d+)\]", sources["lenet.h"])
    assert words is not None
    report = {}
    with tempfile.TemporaryDirectory(prefix="lenet-export-") as temporary:
        for name, text in sources.items():
            Path(temporary, name).write_text(text, encoding="utf-8")
        for core, flags in CORES.items():
            command = [CROSS_COMPILER, *flags.split(), "-mthumb", "-O2", "-c", "lenet.c"]
            _run(command, temporary)
            flash = _run(["arm-none-eabi-size", "lenet.o"], temporary).split()[6]
            report[core] = f"{flash} bytes of flash, {4 * int(words[1])} of RAM, the stack apart"
    return report


def _run(command: list[str], folder: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeployError(f"{command[0]} failed on lenet.c:\n{done.stderr[-2000:]}")
    return done.stdout
