"""Which kernel runs which batch: names, least batch sizes and shapes, as ``programs.json``."""

import json
import re

from lenet_runtime.errors import DeployError

# From which batch size on. Both switches are estimates until a GPU has measured them
# (benchmarks/fused_sweep.py): one image for each block gives the shortest time as long as the
# blocks' reading of the weights, 170 KB each from the L2 cache, costs little; then eight share them;
# and from about 1,000 images on, blocks of eight no longer all run at once on 132 multiprocessors.
STARTS = {"lenet_one": 1, "lenet_few": 33, "lenet_many": 1025}
RAW = "_raw"  # after the name of the kernel for uint8 digits
_SHAPES = re.compile(r"lenet_shapes\[\d+\] = \{([\d, ]+)\}")


def table(ptx: str) -> bytes:
    """The bytes of ``programs.json``, with the shapes that `ptx` carries.

    Raises:
        DeployError: it carries none.
    """
    found = _SHAPES.search(ptx)
    if found is None:
        raise DeployError("cuda: expected lenet_shapes in the PTX, found nothing of that name")
    numbers = [int(text) for text in found[1].split(",")]
    names = [name + suffix for suffix in ("", RAW) for name in STARTS]
    shapes = {name: numbers[3 * i : 3 * i + 3] for i, name in enumerate(names)}
    document = [
        {
            "start": start,
            "images": shapes[name][0],
            "threads": shapes[name][1],
            "kernel": name,
            "shared_bytes": shapes[name][2],
            "raw_kernel": name + RAW,
            "raw_shared_bytes": shapes[name + RAW][2],
        }
        for name, start in STARTS.items()
    ]
    return (json.dumps(document, indent=2) + "\n").encode()
