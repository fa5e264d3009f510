"""``native``: a shared library that holds the network and nothing else, called in this process.

The library is a CPython extension module of the stable ABI, which `lenet_export` generates and
compiles. This file loads it from the bytes that were hashed, and splits batches over threads.
"""

import itertools
import os
import sys
from collections.abc import Callable
from functools import partial
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from struct import unpack_from
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime import cpu
from lenet_runtime.artifact import Artifact, Manifest
from lenet_runtime.artifact.private import obstacle, private_file
from lenet_runtime.backends.protocol import Predictor, closed
from lenet_runtime.backends.workers import Workers
from lenet_runtime.errors import ArtifactError, BackendUnavailable, DeployError
from lenet_runtime.formats import FORMATS
from lenet_runtime.images.digits import SIDE
from lenet_runtime.images.pixels import pixels_of
from lenet_runtime.version import __version__

FILE = FORMATS["native"].files[0]
INTERFACE = 1  # of the module's functions, see lenet_export/formats/native/c/python_module.c
# The fewest images that a thread is woken for. Handing them over costs some 40 us, and computing 32
# takes 46 with AVX-512 on a Zen 5: on its two cores 128 images come out even, and 512 gain a factor
# of 1.3 to 1.7. What no worker has begun, the caller computes, so busy cores cost next to nothing.
SHARE = 64

_NAME = "lenet_native"
_FLOAT32 = np.dtype(np.float32)
_ERRORS = (BufferError, MemoryError, RuntimeError, TypeError, ValueError)
# What the loader says where the library is right and the machine is not.
_MACHINE = ("' not found", "cannot open shared object file")
# Modules by the SHA-256 of their library. CPython never unloads one, so loading the same artifact
# again must not map it again.
_loaded: dict[str, Any] = {}

Run = Callable[[NDArray[Any], NDArray[np.float32], bool], bool]


def probe(device: str) -> str:
    """lenet-deploy's version: the engine is part of it. See `Backend.probe`."""
    if sys.implementation.name != "cpython" or "t" in getattr(sys, "abiflags", ""):
        raise BackendUnavailable(
            "native artifacts are for CPython with its global lock, whose stable ABI they are "
            f"compiled for; this is {sys.version.split()[0]!r} of {sys.implementation.name!r}: "
            "use another build of Python, or export another format"
        )
    return __version__


class Native(Predictor):
    """One loaded library.

    Args:
        module: the extension module.
        threads: that a batch is split over, at least `SHARE` images each, the caller's among them.
            The answers do not depend on it.
        classes: logits of an image.
    """

    survives_fork = True  # no locks of its own, and a child starts its own workers

    def __init__(self, module: Any, threads: int, classes: int = 10) -> None:
        self._classes = classes
        self.isa: str = module.isa()
        self._run: Run = module.run
        self._threads = threads
        self._split_from = 2 * SHARE if threads > 1 else sys.maxsize
        self._workers: Workers | None = None

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`."""
        logits = np.empty((len(images), self._classes), _FLOAT32)
        self._fill(images, logits, check_finite=False)
        return logits

    def run_checked(self, images: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """See `lenet_runtime.backends.Predictor.run_checked`."""
        logits = np.empty((len(images), self._classes), _FLOAT32)
        return logits if self._fill(images, logits, check_finite=True) else None

    def _fill(self, images: NDArray[Any], logits: NDArray[np.float32], check_finite: bool) -> bool:
        run = self._run  # once: `close` may come in between
        try:
            if len(images) < self._split_from:
                return run(images, logits, check_finite)
            return self._fill_split(run, images, logits, check_finite)
        except _ERRORS as error:
            raise DeployError(f"native failed on {images.shape}: {error}") from error

    def _fill_split(
        self, run: Run, images: NDArray[Any], logits: NDArray[np.float32], check: bool
    ) -> bool:
        workers = self._workers
        if workers is None or workers.pid != os.getpid():
            # Two threads may both come here, and the loser's workers end with its call.
            workers = self._workers = Workers(self._threads - 1)
        size = len(images)
        # Equal shares, even where whole chunks would make unequal ones: the largest ends last.
        parts = min(self._threads, size // SHARE)
        cuts = [size * part // parts for part in range(parts + 1)]
        return workers.all(
            [partial(run, images[a:b], logits[a:b], check) for a, b in itertools.pairwise(cuts)]
        )

    def close(self) -> None:
        """End the threads; a run that is under way in another thread keeps them until done."""
        self._run = closed
        self._workers = None


class Microcontroller(Native):
    """The code of a microcontroller, which takes pixels.

    Args:
        module: see `Native`.
        threads: see `Native`.
        manifest: the artifact's.
    """

    pixels_only = True

    def __init__(self, module: Any, threads: int, manifest: Manifest) -> None:
        super().__init__(module, threads, manifest.classes)
        self._preprocessing, self._image_shape = manifest.preprocessing, manifest.image_shape
        if manifest.image_shape[1] - 2 * manifest.preprocessing.padding == SIDE:
            self.run_pixels = self._answer

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`.

        Raises:
            InputError: see `pixels_of`.
        """
        return self._answer(pixels_of(images, self._preprocessing, self._image_shape))

    def run_checked(self, images: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """See `lenet_runtime.backends.Predictor.run_checked`."""
        return self.run_if_finite(images)

    def _answer(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = np.empty((len(pixels), self._classes), _FLOAT32)
        self._fill(pixels, logits, check_finite=False)
        return logits


def load(artifact: Artifact, device: str, threads: int | None) -> Native:
    """See `lenet_runtime.backends.Backend.load`. None is as many threads as there are cores to use.

    They cost nothing between two calls, and a batch of fewer than two shares wakes none.
    """
    where = artifact.path / FILE
    data = artifact.read(FILE)
    digest = artifact.manifest.files[FILE].sha256
    module = _loaded.get(digest)
    if module is None:
        module = _loaded.setdefault(digest, _load_module(data, where))
    found, expected = module.weights_sha256, artifact.manifest.weights_sha256
    if found != expected:
        raise ArtifactError(
            f"{where}: expected the network {expected!r} as the manifest says, found {found!r}; "
            "export it again"
        )
    threads = threads or cpu.usable_cores()
    if artifact.manifest.requirements.target == "cortex-m":
        return Microcontroller(module, threads, artifact.manifest)
    return Native(module, threads, artifact.manifest.classes)


def starts(artifact: Artifact) -> tuple[int, ...]:
    """The same code for every batch size; see `lenet_runtime.backends.Backend.starts`."""
    return (1,)


def _load_module(data: bytes, where: Path) -> Any:
    """Make a module of the library, and check that it is one of ours."""
    if _cut_short(data):
        raise _refusal(where, "the file is cut short")
    with private_file(data, FILE) as path:
        loader = ExtensionFileLoader(_NAME, path)
        try:
            module = module_from_spec(ModuleSpec(_NAME, loader, origin=path))
            loader.exec_module(module)
        except (ImportError, SystemError) as error:
            raise _refusal(where, str(error).replace(path, FILE)) from error
    found = getattr(module, "interface", None)
    if found != INTERFACE:
        raise ArtifactError(
            f"{where}: expected a library with interface {INTERFACE}, found {found!r}; it was "
            "made by another version of lenet-deploy: export it again"
        )
    return module


def _cut_short(data: bytes) -> bool:
    """Whether a 64-bit ELF file lacks its end, where its section headers are.

    The system's loader does not look, and a process that touches what is missing is killed.
    """
    if data[:6] != b"\x7fELF\x02\x01" or len(data) < 64:
        return False
    (offset,), (size, count) = unpack_from("<Q", data, 40), unpack_from("<HH", data, 58)
    return bool(offset + size * count > len(data))


def _refusal(where: Path, reason: str) -> DeployError:
    if advice := obstacle(reason):
        return BackendUnavailable(f"{where}: this system cannot load it ({reason}); {advice}")
    if any(text in reason for text in _MACHINE):
        return BackendUnavailable(
            f"{where}: this system cannot load it ({reason}); export it again on this machine"
        )
    return ArtifactError(
        f"{where}: not a native library for this platform, or damaged ({reason}); export it again"
    )
