"""``--target aarch64``: the same files for 64-bit ARM under Linux.

Where this machine is another, they are cross-compiled, and proven under QEMU: the object of
``lenet.c`` that is linked into ``lenet.so`` is linked into a program, too, which QEMU runs. The
program is not part of the artifact.
"""

import functools
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lenet_export import compiler
from lenet_export.compiler import FLAGS, Compiler
from lenet_export.formats.native import assembly, host
from lenet_export.formats.native.assembly import Program, text
from lenet_export.formats.native.int8_isa import GENERIC, NEON_DOT, NEON_INT8
from lenet_export.formats.native.isa import BASE, NEON, Level
from lenet_export.request import Build, Request
from lenet_runtime.artifact import Artifact, Requirements
from lenet_runtime.artifact.requirements import this_platform
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError

MACHINE = "aarch64"
PLATFORM = f"linux-{MACHINE}"
EMULATOR = f"qemu-{MACHINE}"
LEVELS: dict[str, tuple[Level, ...]] = {
    "fp32": (NEON, BASE),
    "int8": (NEON_DOT, NEON_INT8, GENERIC),
}
# With every extension that QEMU knows, and one of 2012 with none: all kernels of int8 run.
CPUS = {"fp32": ("max",), "int8": ("max", "cortex-a53")}
_SECONDS = 600


def build(request: Request) -> Build:
    """See `lenet_export.formats.native.build`."""
    is_here = this_platform() == PLATFORM
    require()
    tool = compiler.find() if is_here else compiler.find_cross(MACHINE)
    network = program(request)
    sources = assembly.sources(network, request)
    library, driver = _compile(tool, sources, request)
    kernels = host.kernels(network, MACHINE)
    titles = dict.fromkeys(title for kernel in kernels.values() for title in kernel[1:])
    return Build(
        {name: text.encode() for name, text in sources.items()} | {host.LIBRARY: library},
        Requirements("cpu", "native", ", ".join(titles), platform=PLATFORM, target=MACHINE),
        {"torch": str(torch.__version__), tool.name: tool.version, "cflags": tool.flags},
        kernels,
        emulator=None if is_here else functools.partial(_emulate, driver),
    )


def require() -> None:
    """Raise `BackendUnavailable` where there is no compiler for it, no Python.h or no QEMU."""
    compiler.python_headers()
    if this_platform() == PLATFORM:
        compiler.find()
        return
    compiler.find_cross(MACHINE)
    if shutil.which(EMULATOR) is None:
        raise BackendUnavailable(
            f"native: expected {EMULATOR} on PATH, which runs the code for its proof, found none; "
            "install it (Debian: apt install qemu-user) or export on a 64-bit ARM machine; "
            "--source-only writes the C source without proof"
        )


def generate(request: Request) -> dict[str, str]:
    """``lenet.c`` and ``lenet.h`` by name, of a module in eval mode on the CPU; see `build`."""
    return assembly.sources(program(request), request)


def program(request: Request) -> Program:
    """The network's C for 64-bit ARM, and for any other CPU."""
    if "isa" in request.options:
        raise InputError(f"isa: {MACHINE} has no levels of x86-64; drop --isa")
    return host.written(request, LEVELS[request.precision])


def _compile(tool: Compiler, sources: dict[str, str], request: Request) -> tuple[bytes, bytes]:
    """``lenet.so``, and a static program that reads images and writes logits."""
    more = assembly.python_module(request) | {"driver.c": assembly.named(text("driver.c"), request)}
    link = [*tool.command, *FLAGS]
    with tempfile.TemporaryDirectory(prefix="lenet-export-") as temporary:
        folder = Path(temporary)
        for name, content in (sources | more).items():
            (folder / name).write_text(content, encoding="utf-8")
        compiler.run([*link, "-c", "-o", "lenet.o", "lenet.c"], folder, "lenet.o")
        headers = [f"-I{compiler.python_headers()}", *_configuration(folder)]
        module = [*link, "-shared", *headers, "-o", host.LIBRARY, "lenet.o", "python_module.c"]
        driver = [*link, "-static", "-o", "driver", "lenet.o", "driver.c"]
        return compiler.run(module, folder, host.LIBRARY), compiler.run(driver, folder, "driver")


def _configuration(folder: Path) -> list[str]:
    """Where Python.h finds pyconfig.h for 64-bit ARM, if it is Debian's, which asks for it.

    It is this machine's, of equal sizes of types as on all 64-bit Linux; the stable ABI needs no
    more of it.
    """
    own = Path(sysconfig.get_config_h_filename())
    place = folder / f"{MACHINE}-linux-gnu" / f"python{sysconfig.get_python_version()}"
    place.mkdir(parents=True)
    shutil.copyfile(own, place / "pyconfig.h")
    return ["-I."]


class Emulated(Predictor):
    """The network's program, run by QEMU.

    Args:
        driver: the program.
        precision: of the arithmetic.
        classes: logits of an image.
    """

    def __init__(self, driver: bytes, precision: str, classes: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lenet-export-")
        self._program = Path(self._folder.name) / "driver"
        self._program.write_bytes(driver)
        self._program.chmod(0o700)
        self._cpus, self._classes = CPUS[precision], classes

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`.

        Raises:
            DeployError: the program failed, or CPUs answer differently.
        """
        first, *others = (self._answers(cpu, images) for cpu in self._cpus)
        if any(other != first for other in others):
            raise DeployError(f"native: kernels differ on the CPUs {', '.join(self._cpus)}")
        return np.frombuffer(first, np.float32).reshape(len(images), self._classes).copy()

    def _answers(self, cpu: str, images: NDArray[np.float32]) -> bytes:
        command = [EMULATOR, "-cpu", cpu, str(self._program), str(len(images))]
        try:
            done = subprocess.run(
                command, input=images.tobytes(), capture_output=True, check=False, timeout=_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeployError(f"native: {shlex.join(command[:3])} did not run ({error})") from error
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip()[-500:]
            raise DeployError(
                f"native: {shlex.join(command[:3])} ended with {done.returncode}: {words}"
            )
        return done.stdout

    def close(self) -> None:
        """Remove the program."""
        self._folder.cleanup()


def _emulate(driver: bytes, artifact: Artifact) -> Predictor:
    return Emulated(driver, artifact.manifest.precision, artifact.manifest.classes)
