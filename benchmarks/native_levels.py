"""The kernels of `native` for each instruction set, side by side: time, instructions, a port model.

    python benchmarks/native_levels.py [--turns N] [--cpu znver3]

Needs a C compiler. Compiles each level by itself, fp32 and int8, and lets those that this CPU runs
take turns in one process, on the bundled digits: the least us for an image at batch sizes 1, 8, 64
and 512. Where valgrind is there, callgrind counts instructions for an image at batch 64 (it knows
neither AVX-512 nor AVX-VNNI). Where llvm-mca is there, too, the cycles that another CPU would take:
of each function, the instructions that were counted, divided by those in a cycle that llvm-mca
foresees for its largest loop. It knows no cache misses and no mispredicted branches.
"""

import argparse
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from lenet_deploy.training.checkpoint import load_checkpoint
from lenet_export import compiler
from lenet_export.formats.native import PRECISIONS, assembly
from lenet_export.formats.native.isa import NONE, Level
from lenet_export.network import layers
from lenet_export.network.quantize import calibration_batch
from lenet_export.request import Request
from lenet_runtime import cpu
from lenet_runtime.devices import Device
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing, to_batch

BATCHES = (1, 8, 64, 512)
SHAPE = (1, 32, 32)


def levels(precision: str) -> list[Level]:
    """Those that this CPU runs, best first."""
    every = PRECISIONS[precision].levels["x86-64-v4"]
    return [
        level for level in every
        if level is not NONE and level.machine in ("", "x86_64")
        and cpu.flags().issuperset(cpu.KERNELS[level.title])
    ]  # fmt: skip


def library(precision: str, level: Level, folder: Path) -> Path:
    """A library of this level's kernels, and of the portable ones, which every artifact has."""
    module = load_checkpoint()
    request = Request(module, "native", precision, Device("cpu"), options={})
    calibration = calibration_batch(precision, None, Preprocessing(), SHAPE)
    portable = PRECISIONS[precision].levels["generic"][-1]
    program = PRECISIONS[precision].program(
        layers.read(module, SHAPE, "native"), tuple(dict.fromkeys((level, portable))), calibration
    )
    own = folder / f"{precision}-{level.name}"
    own.mkdir()
    for name, text in assembly.sources(program, request).items():
        (own / name).write_text(text)
    command = (*compiler.find().command, *compiler.FLAGS, "-shared", "-o", "lenet.so", "lenet.c")
    subprocess.run(command, cwd=own, check=True)
    return own / "lenet.so"


def counted(driver: Path, path: Path, level: Level, images: bytes) -> dict[str, float]:
    """Instructions of each function for an image at batch 64; none where they cannot be counted."""
    out = path.with_name("callgrind.out")
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--dump-instr=no",
               "--toggle-collect=lenet_run", str(driver), "0", "64", str(path)]  # fmt: skip
    if (
        not shutil.which("valgrind")
        or subprocess.run(command, input=images, capture_output=True, check=False).returncode
    ):
        return {}
    text = subprocess.run(
        ["callgrind_annotate", "--threshold=100", out], capture_output=True, text=True, check=True
    ).stdout
    lines = re.findall(r"^ *([\d,]+) \(.*?\) +\S*?:(\w+)", text, re.MULTILINE)
    # Where valgrind hides the level's features from the library, this is another level's.
    own = any(name.startswith(f"{level.name}_") for _, name in lines) or not level.features
    return {name: int(count.replace(",", "")) / 256 for count, name in lines} if own else {}


def foreseen(path: Path, function: str, model: str) -> float | None:
    """Instructions in a cycle that llvm-mca foresees for the largest innermost loop."""
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", f"--disassemble={function}", path],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    lines = re.findall(r"^ +([0-9a-f]+):\t([^#<\n]*)", text, re.MULTILINE)
    place = {address: i for i, (address, _) in enumerate(lines)}
    loops = []
    for end, (_, line) in enumerate(lines):
        jump = re.match(r"j\w+ +([0-9a-f]+)", line)
        if jump and place.get(jump[1], end) < end - 6:  # not one that fetches cache lines alone
            loops.append((place[jump[1]], end))
    inner = [
        (a, b) for a, b in loops
        if not any((c, d) != (a, b) and a <= c and d <= b for c, d in loops)
    ]  # fmt: skip
    if not inner:
        return None
    start, end = max(inner, key=lambda loop: loop[1] - loop[0])
    body = "\n".join(re.sub(r"^(j\w+) .*", r"\1 1f", line) for _, line in lines[start : end + 1])
    body = re.sub(r"0x[0-9a-f]+\(%rip\)", "there(%rip)", body)
    command = ["llvm-mca", f"-mcpu={model}", "-iterations=100"]
    report = subprocess.run(
        command, input=f"{body}\n1:\n", capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"IPC: +([\d.]+)", report)
    return float(found[1]) if found else None


def cycles(path: Path, instructions: dict[str, float], model: str) -> float | None:
    """What that model takes for an image; functions without a loop at 3 instructions a cycle."""
    if not instructions or not shutil.which("llvm-mca"):
        return None
    return sum(n / (foreseen(path, name, model) or 3) for name, n in instructions.items())


def timed(driver: Path, libraries: list[Path], turns: int, images: bytes) -> list[list[float]]:
    """The least us for an image, by library and then by batch size."""
    columns = [
        subprocess.run(
            [driver, str(turns), str(batch), *libraries],
            input=images, capture_output=True, check=True,
        ).stdout.split()
        for batch in BATCHES
    ]  # fmt: skip
    return [[float(time) / 1000 for time in row] for row in zip(*columns, strict=True)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--turns", type=int, default=300)
    parser.add_argument("--cpu", default="znver3", help="as LLVM names it")
    arguments = parser.parse_args()
    digits = to_batch(np.resize(load_digits().images, (512, 28, 28)), Preprocessing()).tobytes()
    every = [(precision, level) for precision in ("int8", "fp32") for level in levels(precision)]
    with tempfile.TemporaryDirectory(prefix="lenet-levels-") as name:
        folder, source = Path(name), Path(__file__).with_suffix(".c")
        driver = folder / "driver"
        subprocess.run([*compiler.find().command, "-O2", "-o", driver, source, "-ldl"], check=True)
        libraries = [library(precision, level, folder) for precision, level in every]
        times = timed(driver, libraries, max(1, arguments.turns), digits)
        print(f"{cpu.model()}: us for an image by batch size; instructions for one of 64, and the")
        print(f"cycles of {arguments.cpu} that llvm-mca foresees for them")
        print(" " * 20 + "".join(f"{word:>9}" for word in (*BATCHES, "instr", "cycles")))
        for (precision, level), path, row in zip(every, libraries, times, strict=True):
            instructions = counted(driver, path, level, digits)
            taken = cycles(path, instructions, arguments.cpu)
            figures = [f"{time:9.3f}" for time in row]
            figures += [f"{value:9.0f}" if value else f"{'-':>9}"
                        for value in (sum(instructions.values()), taken)]  # fmt: skip
            print(f"{f'{precision} {level.title}':20}" + "".join(figures), flush=True)


if __name__ == "__main__":
    main()
