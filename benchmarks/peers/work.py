"""`Work`: the one network, the threads and the folder that every peer is given."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lenet_deploy.training.model import Net
from lenet_runtime import cpu

Images = NDArray[np.float32]
Logits = NDArray[np.float32]
Peer = Callable[[Images], Logits]


class Unavailable(Exception):
    """A peer that is not here; the message is the reason that the table shows."""


@dataclass(frozen=True)
class Work:
    """What peers are built from.

    Attributes:
        net: LeNet with the bundled weights, in eval mode.
        onnx: our export of it, batch size dynamic.
        batch_sizes: that will be measured, for peers that compile for one shape.
        threads: to compute with.
        cache: a folder that outlives the run.
        scratch: a folder that does not.
        tune: whether searches that take minutes may be started.
    """

    net: Net
    onnx: bytes
    batch_sizes: tuple[int, ...]
    threads: int
    cache: Path
    scratch: Path
    tune: bool

    @property
    def key(self) -> str:
        """What compiled code depends on besides its compiler: this CPU and the network."""
        import onnx

        # The graph alone: our version, which the model names too, changes no kernel.
        graph = onnx.load_model_from_string(self.onnx).graph
        network = graph.SerializeToString(deterministic=True)
        return f"{cpu.level()}-{_short(' '.join(sorted(cpu.flags())).encode())}-{_short(network)}"


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:10]


def in_chunks(run: Peer, images: Images, size: int) -> Logits:
    """`run` over `images`, `size` at a time; the last chunk may be smaller."""
    if len(images) <= size:
        return run(images)
    logits = np.empty((len(images), 10), np.float32)
    for start in range(0, len(images), size):
        logits[start : start + size] = run(images[start : start + size])
    return logits


def by_batch_size(work: Work, build: Callable[[int], Peer]) -> Peer:
    """One engine per batch size, for those that compile for a single shape."""
    engines = {size: build(size) for size in work.batch_sizes}

    def run(images: Images) -> Logits:
        return engines[len(images)](images)

    return run
