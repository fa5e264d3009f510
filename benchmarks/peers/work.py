"""`Work`: the network, the threads and the folders, which are the same for every peer."""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_deploy.training.model import Net
from lenet_runtime import cpu

Images = NDArray[np.float32]
Logits = NDArray[np.float32]
Peer = Callable[[Images], Logits]


class Unavailable(Exception):
    """A peer cannot run on this machine; the message is the reason that the table shows."""


@dataclass(frozen=True)
class Work:
    """Everything that a peer is built from.

    Attributes:
        net: LeNet with the bundled weights, in eval mode.
        onnx: Our ONNX export of the network, with a dynamic batch size.
        batch_sizes: Batch sizes to measure, for peers that compile for one shape.
        threads: Number of CPU threads to compute with.
        cache: Folder that is kept after the run.
        scratch: Folder that is deleted after the run.
        tune: Whether searches that take minutes may be started.
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
        """Name of this CPU and network, on which compiled code depends besides its compiler."""
        import onnx

        # Of the graph alone, because the model also names our version, which changes no kernel.
        graph = onnx.load_model_from_string(self.onnx).graph
        network = graph.SerializeToString(deterministic=True)
        return f"{cpu.level()}-{_short(' '.join(sorted(cpu.flags())).encode())}-{_short(network)}"


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:10]


def in_chunks(run: Peer, images: Images, size: int) -> Logits:
    """Call `run` on `size` images at a time; the last chunk may be smaller."""
    if len(images) <= size:
        return run(images)
    logits = np.empty((len(images), 10), np.float32)
    for start in range(0, len(images), size):
        logits[start : start + size] = run(images[start : start + size])
    return logits


def by_batch_size(build: Callable[..., Peer]) -> Callable[..., Peer]:
    """Turn a builder for one batch size, which compiles for one shape, into one for all of them."""

    @functools.wraps(build)
    def build_all(work: Work, **options: Any) -> Peer:
        peers = {size: build(work, size, **options) for size in work.batch_sizes}
        return lambda images: peers[len(images)](images)

    return build_all
