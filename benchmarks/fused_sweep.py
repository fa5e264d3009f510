"""Variants of the `cuda` format's kernels, each timed on a GPU: python benchmarks/fused_sweep.py

For every precision and tile it compiles the kernels anew, checks that all variants answer with the
same bits, and times the launches between CUDA events, inputs and outputs in device memory. Three
tables: the tile of large batches (images and warps of a block), the three kernels at each batch
size (which gives `programs.STARTS`), and the share of the memory's bandwidth.
Needs a GPU, its driver, NVRTC and nothing else; takes a few minutes.
"""

import argparse
import ctypes
import os
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_bench.gpu.stopwatch import Stopwatch
from lenet_deploy.training.checkpoint import load_checkpoint
from lenet_export.formats.cuda import compiler, pack, programs
from lenet_export.network import layers
from lenet_runtime import cuda
from lenet_runtime.backends.fused.programs import Program
from lenet_runtime.errors import BackendUnavailable
from lenet_runtime.images.preprocess import Preprocessing

# Images and warps of a block, blocks that a multiprocessor should hold.
TILES = {
    2: ((16, 4, 4), (16, 4, 3), (16, 8, 3), (16, 8, 2), (32, 8, 2), (48, 8, 2), (64, 16, 1)),
    4: ((8, 4, 2), (16, 4, 2), (16, 8, 1), (32, 8, 1)),
}
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384, 65536)
IMAGE_BYTES, REPEATS, ROUNDS = 4096, 20, 7


class Variant:
    """One compilation, loaded, with buffers for the largest batch."""

    def __init__(
        self, context: cuda.Context, precision: str, weights: bytes, largest: int, *defines: str
    ) -> None:
        nvrtc = compiler.load()
        architecture = f"sm_{context.gpu.compute_capability.replace('.', '')}"
        ptx = compiler.compile_for(nvrtc, compiler.PTX, precision, *defines).code
        made = compiler.compile_for(nvrtc, architecture, precision, *defines)
        self.usage = compiler.usage(made.log)
        table = programs.table(ptx.decode(), precision)
        self.programs = {p.kernel: p for p in programs.read(table)}
        names = list(self.programs)
        self.functions = dict(zip(names, context.functions(made.code, names), strict=True))
        for name, function in self.functions.items():
            function.allow_shared(self.programs[name].shared_bytes)
        self.context, self.stream = context, context.stream()
        self.weights = context.allocate(len(weights))
        self.weights.write(weights)
        self.images = context.allocate(largest * IMAGE_BYTES)
        self.logits = context.allocate(largest * 40)

    def launch(self, kernel: str, count: int) -> None:
        program: Program = self.programs[kernel]
        arguments = cuda.Arguments(
            ctypes.c_ulonglong(self.images.pointer),
            ctypes.c_ulonglong(self.weights.pointer),
            ctypes.c_ulonglong(self.logits.pointer),
            ctypes.c_uint(count),
        )
        self.functions[kernel].launch(
            self.stream,
            arguments,
            blocks=-(-count // program.images),
            threads=program.threads,
            shared=program.shared_bytes,
        )

    def microseconds(self, kernel: str, count: int) -> float:
        """Median over rounds of the time of a launch, within a graph of `REPEATS` launches."""
        graph = self.stream.capture(lambda: [self.launch(kernel, count) for _ in range(REPEATS)])
        start, end = self.context.event(), self.context.event()
        times = []
        for _ in range(ROUNDS + 1):
            start.record(self.stream.handle)
            graph.launch(self.stream)
            end.record(self.stream.handle)
            self.stream.synchronize()
            times.append(end.microseconds_since(start) / REPEATS)
        graph.close()
        return statistics.median(times[1:])

    def answer(self, kernel: str, images: NDArray[np.float32]) -> NDArray[np.float32]:
        self.images.write(images.tobytes())
        self.launch(kernel, len(images))
        out = self.context.pinned(len(images) * 40)
        self.stream.download(out.pointer, self.logits.pointer, out.nbytes)
        self.stream.synchronize()
        found = out.array.view(np.float32).reshape(-1, 10).copy()
        out.close()
        return found

    def close(self) -> None:
        for thing in (self.stream, self.weights, self.images, self.logits):
            thing.close()


def tiles(context: cuda.Context, precision: str, weights: bytes, largest: int) -> None:
    print(f"\n{precision}: tiles of lenet_many at {largest} images")
    print("images warps blocks  regs spills shared     us   M images/s  same bits")
    noise = np.random.default_rng(0).standard_normal((100, 1, 32, 32), np.float32)
    expected: Any = None
    for images, warps, blocks in TILES[2 if precision in ("fp16", "bf16") else 4]:
        defines = [f"LENET_TILE={images}", f"LENET_WARPS={warps}", f"LENET_BLOCKS={blocks}"]
        try:
            variant = Variant(context, precision, weights, largest, *defines)
        except Exception as error:
            print(f"{images:6} {warps:5} {blocks:6}  {str(error).splitlines()[0][:90]}")
            continue
        used, program = variant.usage["lenet_many"], variant.programs["lenet_many"]
        answer = variant.answer("lenet_many", noise)
        expected = answer if expected is None else expected
        time = variant.microseconds("lenet_many", largest)
        print(
            f"{images:6} {warps:5} {blocks:6}  {used.registers:4} {used.spill_stores:6} "
            f"{program.shared_bytes:6} {time:7.1f}  {largest / time:10.1f}  "
            f"{np.array_equal(answer, expected)}"
        )
        variant.close()


def switches(
    context: cuda.Context, precision: str, weights: bytes, sizes: Sequence[int], bandwidth: float
) -> None:
    print(
        f"\n{precision}: microseconds of each kernel; M images/s, and their share of what a copy "
        f"within the GPU moves, {bandwidth / 1e12:.2f} TB/s read and written"
    )
    variant = Variant(context, precision, weights, max(sizes))
    names = list(variant.programs)
    print("  batch " + "".join(f"{name:>12}" for name in names) + "    best       M/s   share")
    for size in sizes:
        times = [variant.microseconds(name, size) for name in names]
        best = min(times)
        share = size * IMAGE_BYTES / (best * 1e-6) / bandwidth
        print(
            f"{size:7} "
            + "".join(f"{time:12.2f}" for time in times)
            + f"  {names[times.index(best)]:>10} {size / best:7.1f} {share:6.1%}"
        )
    variant.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", type=int, default=0)
    parser.add_argument("--precision", action="append", choices=list(compiler.TYPES))
    parser.add_argument("--largest", type=int, default=65536)
    options = parser.parse_args()
    os.environ["CUDA_CACHE_DISABLE"] = "1"  # a compilation that NVRTC remembers has no log
    try:
        context = cuda.Context(options.device)
    except BackendUnavailable as error:
        sys.exit(f"fused_sweep needs an NVIDIA GPU: {error}")
    network = layers.read(load_checkpoint(), (1, 32, 32))
    with context:
        bandwidth = Stopwatch(context).bytes_per_second
        print(context.gpu)
        for precision in options.precision or compiler.TYPES:
            weights = pack.pack(network, precision, Preprocessing())
            if precision != "fp32":
                tiles(context, precision, weights, options.largest)
            sizes = [size for size in SIZES if size <= options.largest]
            switches(context, precision, weights, sizes, bandwidth)
    context.close()


if __name__ == "__main__":
    sys.exit(main())
