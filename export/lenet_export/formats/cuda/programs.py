"""Which kernel runs which batch: names, least batch sizes and shapes, as ``programs.json``."""

import dataclasses
import json
import re

import numpy as np

from lenet_runtime.backends.fused.programs import Program
from lenet_runtime.errors import DeployError

KERNELS = ("lenet_one", "lenet_few", "lenet_many")
# From which batch size on each kernel is used, as measured on an H100 (benchmarks/fused_sweep.py).
# `lenet_one` is fastest until each of its 132 multiprocessors has an image. A block of `lenet_few`
# takes 8 images, in fp32 4: two rounds of blocks are faster than one of `lenet_many`, in fp32 one.
STARTS = dict.fromkeys(("tf32", "fp16", "bf16"), (1, 133, 2113)) | {"fp32": (1, 133, 529)}
RAW = "_raw"  # after the name of the kernel for uint8 digits
# NVRTC writes the array as bytes, without the zeros at the end.
_SHAPES = re.compile(r"\.b8 lenet_shapes\[(\d+)\] = \{([\d,\s]+)\}")


def table(ptx: str, precision: str) -> bytes:
    """The bytes of ``programs.json``, with the shapes that `ptx` carries.

    Raises:
        DeployError: it carries none.
    """
    found = _SHAPES.search(ptx)
    if found is None:
        raise DeployError("cuda: expected the bytes of lenet_shapes in the PTX, found none")
    values = bytes(int(text) for text in found[2].split(","))
    numbers = np.frombuffer(values.ljust(int(found[1]), b"\0"), "<u4").tolist()
    names = [name + suffix for suffix in ("", RAW) for name in KERNELS]
    shapes = {name: numbers[3 * i : 3 * i + 3] for i, name in enumerate(names)}
    rows = []
    for name, start in zip(KERNELS, STARTS[precision], strict=True):
        images, threads, shared = shapes[name]
        raw = name + RAW
        program = Program(start, images, threads, name, shared, raw, shapes[raw][2])
        rows.append(dataclasses.asdict(program))
    return (json.dumps(rows, indent=2) + "\n").encode()


def read(document: bytes) -> list[Program]:
    """The programs of `table`'s bytes."""
    return [Program(**row) for row in json.loads(document)]
