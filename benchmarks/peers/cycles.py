"""Cycles of the CPU for an image: `native` artifacts and ONNX Runtime, in turns in one process.

    python -m benchmarks.peers.cycles [--avx2] [--rounds N] FOLDER [FOLDER...]

The first artifact is what the others are compared with. With --avx2, ONNX Runtime is held to AVX2
(`avx2`). A turn is some 200 us; the time is the fastest tenth's slowest, and the clock is measured
in the turns between by a chain of integer multiplications, three cycles each (`cycles.c`).
"""

import argparse
import contextlib
import ctypes
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import avx2

SIZES = (1, 8, 64, 512)
TURN_US = 200
CHAIN = 40_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.cycles", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--avx2", action="store_true", help="hold ONNX Runtime to AVX2")
    parser.add_argument("--rounds", type=int, default=400, metavar="N")
    arguments = parser.parse_args()
    registers = avx2.hold() if arguments.avx2 else None
    with contextlib.redirect_stdout(sys.stderr):
        avx2.save_model()
    engines = {str(folder): _native(folder) for folder in arguments.folders}
    engines["InferenceSession.run"] = _onnxruntime()
    with tempfile.TemporaryDirectory(prefix="cycles-") as scratch:
        clock, times = measure(engines, _chain(Path(scratch)), arguments.rounds)
    if registers:
        print(f"{registers.held()} CPUIDs of ONNX Runtime answered without AVX-512")
    print(f"{clock:.3f} GHz; cycles an image [the first over this; ONNX Runtime over this]")
    print(f"{'batch size':32}" + "".join(f"{size:>23}" for size in SIZES))
    first, last = next(iter(times.values())), times["InferenceSession.run"]
    for name, row in times.items():
        cells = []
        for size in SIZES:
            ratios = f"{first[size] / row[size]:.3f}; {last[size] / row[size]:.2f}"
            cells.append(f"{row[size] * clock:>9.0f} [{ratios}]")
        print(f"{name[-32:]:32}" + "".join(f"{cell:>23}" for cell in cells))
    return 0


def _native(folder: Path) -> Callable[..., Any]:
    import lenet_runtime

    return lenet_runtime.load(folder, threads=1, trust=True).run


def _onnxruntime() -> Callable[..., Any]:
    from lenet_runtime.backends.ort.core import import_onnxruntime

    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(avx2.MODEL, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


def _chain(scratch: Path) -> Callable[[int], int]:
    source, library = Path(__file__).with_suffix(".c"), scratch / "cycles.so"
    command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True, timeout=60)
    chain = ctypes.CDLL(str(library)).chain
    chain.argtypes, chain.restype = [ctypes.c_ulong], ctypes.c_ulong
    return chain  # type: ignore[no-any-return]


def measure(
    engines: dict[str, Callable[..., Any]], chain: Callable[[int], int], rounds: int
) -> tuple[float, dict[str, dict[int, float]]]:
    """The clock in GHz and, by engine and batch size, the nanoseconds for an image."""
    rng = np.random.default_rng(0)
    found: dict[tuple[str, int], list[float]] = {}
    clocks = []
    for size in SIZES:
        batches = [
            rng.standard_normal((size, 1, 32, 32), np.float32) for _ in range(max(2, 16 // size))
        ]
        calls = {}
        for name, run in engines.items():
            run(batches[0])
            calls[name] = max(1, round(TURN_US * 1e3 / (_timed(run, batches, 3) * size)))
        for _ in range(rounds if size < 512 else rounds // 4):
            started = time.perf_counter_ns()
            chain(CHAIN)
            clocks.append(3 * CHAIN / (time.perf_counter_ns() - started))
            for name in rng.permutation(list(engines)):
                taken = _timed(engines[name], batches, calls[name])
                found.setdefault((name, size), []).append(taken)
    times: dict[str, dict[int, float]] = {name: {} for name in engines}
    for (name, size), values in found.items():
        times[name][size] = float(np.quantile(values, 0.1))
    return float(np.quantile(clocks, 0.9)), times


def _timed(run: Callable[..., Any], batches: list[Any], calls: int) -> float:
    """Nanoseconds for an image, of some calls."""
    started = time.perf_counter_ns()
    for i in range(calls):
        run(batches[i % len(batches)])
    return (time.perf_counter_ns() - started) / (calls * len(batches[0]))


if __name__ == "__main__":
    sys.exit(main())
