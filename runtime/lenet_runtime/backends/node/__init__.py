"""``node``: a web artifact in a process of Node, where its own ``lenet.js`` runs ``lenet.wasm``.

What a browser would answer, in Python: for `lenet_export` to prove, and for everybody to compare.
Images and logits go through pipes, some 30 us a call.
"""

import json
from pathlib import Path
from struct import pack
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.artifact import Artifact
from lenet_runtime.backends.node.child import Child, find, length
from lenet_runtime.backends.protocol import Predictor, closed
from lenet_runtime.errors import ArtifactError, DeployError
from lenet_runtime.formats import FORMATS

WASM, MODULE = FORMATS["web"].files[:2]
PIECE = 256  # images in a frame, so that an answer never takes long


def probe(device: str) -> str:
    """The version of Node. See `Backend.probe`."""
    return find()[1]


class Node(Predictor):
    """A child process with one network in it. Calls of several threads take turns.

    Args:
        script: the text of ``lenet.js``.
        wasm: the bytes of ``lenet.wasm``.
        where: what errors call the network.

    Attributes:
        weights_sha256: of the network that answered.
        image_shape: the (C, H, W) of its images.
        classes: logits of an image.
        variant: the code of ``lenet.wasm`` that runs.

    Raises:
        BackendUnavailable: Node cannot be started.
        ArtifactError: these files are no network, or not one network.
    """

    def __init__(self, script: bytes, wasm: bytes, where: Path) -> None:
        self._child, self._lock, self._closed = Child(find()[0]), Lock(), False
        try:
            told = json.loads(self._child.ask([length(script), script, length(wasm), wasm]))
        except DeployError as error:
            raise ArtifactError(f"{where}: {error}; export it again") from error
        self.weights_sha256: str = told["weights"]
        self.image_shape = tuple(told["shape"])
        self.classes: int = told["classes"]
        self.variant: str = told["variant"]

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`."""
        logits = np.empty((len(images), self.classes), np.float32)
        for first in range(0, len(images), PIECE):
            piece = images[first : first + PIECE]
            answer = self._ask([pack("<I", len(piece)), piece])
            if len(answer) != 4 * len(piece) * self.classes:
                raise DeployError(
                    f"node: expected {len(piece)} rows of {self.classes} logits, found "
                    f"{len(answer)} bytes; load the artifact again"
                )
            logits[first : first + PIECE] = np.frombuffer(answer, "<f4").reshape(-1, self.classes)
        return logits

    def _ask(self, parts: list[object]) -> bytes:
        with self._lock:
            if self._closed:
                closed()
            if not self._child.end.alive:
                raise DeployError("node: the process was ended by an earlier call; load it again")
            answer = self._child.ask(parts)
        if self._closed:
            self.close()
        return answer

    def close(self) -> None:
        """End the process; where another thread is in a call, once that is done."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            try:
                self._child.end()
            finally:
                self._lock.release()


def load(artifact: Artifact, device: str, threads: int | None) -> Node:
    """See `lenet_runtime.backends.Backend.load`. JavaScript has one thread, whatever is asked."""
    manifest = artifact.manifest
    where = artifact.path / MODULE
    node = Node(artifact.read(MODULE), artifact.read(WASM), where)
    found = node.weights_sha256, node.image_shape, node.classes
    expected = manifest.weights_sha256, manifest.image_shape, manifest.classes
    if found != expected:
        node.close()
        raise ArtifactError(
            f"{where}: expected the network {expected} as the manifest says, found {found}; "
            "export it again"
        )
    return node


def starts(artifact: Artifact) -> tuple[int, ...]:
    """The same code for every batch size; see `lenet_runtime.backends.Backend.starts`."""
    return (1,)
