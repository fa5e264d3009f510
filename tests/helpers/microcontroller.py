"""A microcontroller's C, compiled for this machine or run under QEMU."""

import ctypes
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from native_c import FLAGS, WARNINGS, any_compiler, new_folder, request, shell, write

from lenet_export.formats.native.cortex import CORES, CROSS_COMPILER, generate

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples" / "microcontroller"
# The machines of QEMU that have these cores, and their linker scripts.
MACHINES = {
    "cortex-m0": ("microbit", "microbit.ld"),
    "cortex-m3": ("mps2-an385", "mps2.ld"),
    "cortex-m4": ("mps2-an386", "mps2.ld"),
    "cortex-m7": ("mps2-an500", "mps2.ld"),
    "cortex-m55": ("mps3-an547", "mps3-an547.ld"),
}
_WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")


def sources(module, precision="int8", **options):
    """lenet.c and lenet.h."""
    own = request(module, precision=precision, **options)
    del own.options["isa"]
    return generate(own)


class Host:
    """The C with its plain kernels as a library of this machine."""

    def __init__(self, files, cc=None, *flags):
        folder = write(files)
        shell(
            cc or any_compiler(), *FLAGS, *WARNINGS, "-shared", *flags, "-o", "lenet.so", "lenet.c",
            cwd=folder,
        )  # fmt: skip
        self.c = ctypes.CDLL(folder / "lenet.so")
        self.words = int(re.search(r"word\[(\d+)\]", files["lenet.h"])[1])
        self.classes = int(re.search(r"LENET_LOGITS (\d+)", files["lenet.h"])[1])

    def call(self, pixels, logits, workspace):
        """The code that lenet_classify returns for arrays, or None for NULL."""
        return self.c.lenet_classify(
            *(None if a is None else ctypes.c_void_p(a.ctypes.data)
              for a in (pixels, logits, workspace))
        )  # fmt: skip

    def run(self, pixels):
        """Classes ``(N,)`` and logits ``(N, K)`` of pixels ``(N, 28, 28)``, in poisoned memory."""
        logits = np.full((len(pixels), self.classes), np.nan, np.float32)
        classes = []
        for image, row in zip(np.ascontiguousarray(pixels), logits, strict=True):
            memory = np.full(self.words + 2, 0xA5A5A5A5, np.uint32)
            classes.append(self.call(image, row, memory[1:-1]))
            assert (memory[[0, -1]] == 0xA5A5A5A5).all(), "wrote around the workspace"
        return np.array(classes), logits


@dataclass
class Report:
    """What the program of the example printed, and what its parts take.

    Attributes:
        classes: of each digit.
        logits: of each digit, float32 ``(N, 10)``.
        stack: bytes that a call took at most.
        workspace: bytes.
        flash: bytes of lenet.c's code and constants.
    """

    classes: np.ndarray
    logits: np.ndarray
    stack: int
    workspace: int
    flash: int


def need_machine():
    for tool in (CROSS_COMPILER, "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on PATH")


def run(files, core, pixels, seconds=120):
    """The example's program with these sources, on this core under QEMU."""
    machine, script = MACHINES[core]
    folder = write(files)
    (folder / "digits.bin").write_bytes(np.ascontiguousarray(pixels).tobytes())
    compiler = [CROSS_COMPILER, *CORES[core].split(), "-mthumb", "-O2", "-std=c11"]
    shell(*compiler, *_WARNINGS, "-c", "lenet.c", cwd=folder)
    shell(
        *compiler, "-nostartfiles", "--specs=nano.specs", "-I.", f"-I{EXAMPLE}",
        f"-L{EXAMPLE}", f"-T{script}", "lenet.o", HERE / "microcontroller.c", EXAMPLE / "startup.c",
        "-o", "program.elf", cwd=folder,
    )  # fmt: skip
    size = shell("arm-none-eabi-size", "lenet.o", cwd=folder).split()
    done = subprocess.run(
        ["qemu-system-arm", "-machine", machine, "-nographic", "-monitor", "none", "-serial",
         "none", "-semihosting-config", "enable=on,target=native", "-kernel", "program.elf"],
        cwd=folder, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *rows, last = done.stderr.strip().split("\n")
    _, stack, _, workspace = last.split()
    bits = [[int(word, 16) for word in row.split()[1:]] for row in rows]
    return Report(
        np.array([int(row.split()[0]) for row in rows]),
        np.array(bits, np.uint32).view(np.float32),
        int(stack), int(workspace), int(size[6]),
    )  # fmt: skip


__all__ = ["EXAMPLE", "MACHINES", "Host", "Report", "need_machine", "new_folder", "run", "sources"]
