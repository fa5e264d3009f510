"""Which kernel runs which batch: names, least batch sizes and shapes, as ``programs.json``."""

import dataclasses
import json
import re

import numpy as np

from lenet_runtime.backends._fused_programs import Program
from lenet_runtime.errors import DeployError

# From which batch size on. Both switches are estimates until a GPU has measured them
# (benchmarks/fused_sweep.py): one image for each block gives the shortest time as long as the
# weights, which each block reads from the L2 cache, 170 KB, cost little; then eight share them; and
# from about 1,000 images on, blocks of eight no longer all run at once on 132 multiprocessors.
STARTS = {"lenet_one": 1, "lenet_few": 33, "lenet_many": 1025}
RAW = "_raw"  # after the name of the kernel for uint8 digits
# NVRTC writes the array as bytes, without the zeros at the end.
_SHAPES = re.compile(r"\.b8 lenet_shapes\[(\d+)\] = \{([\d,\s]+)\}")


def table(ptx: str) -> bytes:
    """The bytes of ``programs.json``, with the shapes that `ptx` carries.

    Raises:
        DeployError: it carries none.
    """
    found = _SHAPES.search(ptx)
    if found is None:
        raise DeployError("cuda: expected the bytes of lenet_shapes in the PTX, found none")
    values = bytes(int(text) for text in found[2].split(","))
    numbers = np.frombuffer(values.ljust(int(found[1]), b"\0"), "<u4").tolist()
    names = [name + suffix for suffix in ("", RAW) for name in STARTS]
    shapes = {name: numbers[3 * i : 3 * i + 3] for i, name in enumerate(names)}
    rows = []
    for name, start in STARTS.items():
        images, threads, shared = shapes[name]
        raw = name + RAW
        program = Program(start, images, threads, name, shared, raw, shapes[raw][2])
        rows.append(dataclasses.asdict(program))
    return (json.dumps(rows, indent=2) + "\n").encode()


def read(document: bytes) -> list[Program]:
    """The programs of `table`'s bytes."""
    return [Program(**row) for row in json.loads(document)]
