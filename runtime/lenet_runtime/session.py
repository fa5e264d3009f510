"""`Session`: what users hold. It checks the input once for all engines; engines only compute."""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from lenet_runtime import devices
from lenet_runtime.artifact import Artifact, Manifest, golden, requirements
from lenet_runtime.artifact import trust as trusted
from lenet_runtime.backends import BACKENDS, Predictor, choose
from lenet_runtime.errors import ArtifactError, DeployError, InputError
from lenet_runtime.images.prediction import Prediction, from_logits
from lenet_runtime.images.preprocess import to_batch

if TYPE_CHECKING:
    from PIL.Image import Image

_FLOAT32 = np.dtype(np.float32)
_IMAGE_SHAPE = (1, 32, 32)
_INFINITY = float("inf")
# OpenBLAS splits dot products of more than 10,000 elements over its own threads, which a session
# with threads=1 must not wake; 8 images have 8,192.
_MAX_DOT_IMAGES = 8
_EXCHANGES = 10  # of the artifact's folder, that one load outlasts
_MAX_THREADS = 1024  # engines take more, and then fail to start them in ways of their own


class Session:
    """A loaded network: float32 images in, float32 logits out. Made by `load`.

    Thread-safe: any number of threads may call `run` and `predict` on one session. Use it as a
    context manager, or call `close`.

    Attributes:
        artifact: what was loaded.
        backend: the key of `lenet_runtime.BACKENDS` that runs it.
        device: that it runs on.
        threads: CPU threads asked for; None is the engine's own choice.
    """

    def __init__(
        self,
        predictor: Predictor,
        artifact: Artifact,
        backend: str,
        *,
        device: str = "cpu",
        threads: int | None = None,
        check_finite: bool = True,
    ) -> None:
        self.artifact = artifact
        self.backend = backend
        self.device = device
        self.threads = threads
        self._check_finite = check_finite
        self._batch_size = artifact.manifest.batch_size
        self._predictor: Predictor | None = predictor
        # Of a `CheckingPredictor`, whose check replaces ours; None for all others.
        self._run_checked = getattr(predictor, "run_checked", None) if check_finite else None

    @property
    def manifest(self) -> Manifest:
        """What the artifact is."""
        return self.artifact.manifest

    @property
    def predictor(self) -> Predictor:
        """The engine itself, without the checks of `run`.

        Raises:
            DeployError: the session is closed.
        """
        if self._predictor is None:
            raise DeployError(f"this session of {self.artifact.path} is closed; load it again")
        return self._predictor

    # The order of the checks is by cost, and the common case falls through without a call: they
    # cost less than 2 us, where an engine takes 20 (benchmarks/overhead.py measures both).
    def run(
        self, images: NDArray[np.float32], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return the logits of a batch of preprocessed images.

        Nothing is cast: see `predict` for pictures.

        Args:
            images: float32 ``(N, 1, 32, 32)`` in native byte order; N may be 0, and must be the
                artifact's own where that is static. An array that is not C-contiguous and
                aligned is copied.
            out: where to put the logits: float32 ``(N, 10)``, C-contiguous and writable.

        Returns:
            Logits, float32 ``(N, 10)``: `out` where it was given, else a new array.

        Raises:
            InputError: another type, dtype, byte order or shape, or NaN or infinity (unless
                loaded with ``check_finite=False``). There is no answer and `out` is untouched.
            DeployError: the session is closed, or the engine failed.
        """
        if (
            type(images) is not np.ndarray
            or images.dtype is not _FLOAT32
            or images.shape[1:] != _IMAGE_SHAPE
            or not images.flags.carray  # C-contiguous, aligned and writable
        ):
            images = _checked_layout(images)
        size = len(images)
        if self._batch_size is not None and size != self._batch_size:
            raise InputError(
                f"images: this artifact was exported for batches of {self._batch_size}, "
                f"found {size}; export without --static-batch for any size"
            )
        run_checked = self._run_checked
        if run_checked is None and self._check_finite and not all_finite(images, size):
            _refuse_non_finite(images)
        if out is not None:
            _check_out(out, size)
        predictor = self._predictor or self.predictor  # the property says what a closed one is
        if size == 0:
            logits = np.empty((0, 10), np.float32)
        elif run_checked is None:
            logits = predictor.run(images)
        else:
            logits = run_checked(images)
            if logits is None:
                _refuse_non_finite(images)
        if out is None:
            return logits
        np.copyto(out, logits)
        return out

    def predict(
        self, images: "NDArray[Any] | Image | Sequence[Image]", top_k: int = 3
    ) -> Prediction:
        """Classify pictures of digits; padding and normalising are done here.

        Args:
            images: uint8 ``(N, 28, 28)`` or ``(N, 32, 32)``, floats in [0, 1] of these shapes,
                or a PIL image or a sequence of them; see `to_batch`.
            top_k: classes to rank, 1 to 10.

        Raises:
            InputError: see `to_batch`.
            DeployError: see `run`.
        """
        logits = self._run_pixels(images)
        if logits is None:
            logits = self.run(to_batch(images, self.manifest.preprocessing))
        return from_logits(logits, self.manifest.labels, top_k)

    def _run_pixels(self, images: object) -> NDArray[np.float32] | None:
        """The logits of raw digits, of an engine that prepares them itself; None for all else."""
        predictor = self.predictor
        if not getattr(predictor, "takes_pixels", False) or not isinstance(images, np.ndarray):
            return None
        plain = images.dtype == np.uint8 and images.ndim == 3 and images.shape[1:] == (28, 28)
        if not plain or isinstance(images, np.ma.MaskedArray) or not len(images):
            return None
        if self._batch_size not in (None, len(images)):
            return None
        logits: NDArray[np.float32] = predictor.run_pixels(np.ascontiguousarray(images))  # type: ignore[attr-defined]
        return logits

    def warmup(self, batch_sizes: Sequence[int] = (1,), runs: int = 3) -> None:
        """Run black images at each batch size, so that no user pays for lazy set-up.

        A static artifact is run at its own size.

        Raises:
            InputError: a batch size below 1.
        """
        for size in batch_sizes:
            if size < 1:
                raise InputError(f"batch_sizes: expected sizes of at least 1, found {size}")
            images = np.zeros((self._batch_size or size, *_IMAGE_SHAPE), np.float32)
            for _ in range(runs):
                self.run(images)

    def close(self) -> None:
        """Give the engine back; a call that is under way in another thread still ends well.

        Closing twice is fine.
        """
        predictor, self._predictor = self._predictor, None
        self._run_checked = None
        if predictor is not None:
            predictor.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._predictor is None else f"{self.backend} on {self.device}"
        return f"<Session {self.artifact.path} ({state})>"


def load(
    path: str | os.PathLike[str],
    backend: str = "auto",
    device: str = "cpu",
    threads: int | None = None,
    trust: bool = False,
    *,
    check_finite: bool = True,
    unproven: bool = False,
) -> Session:
    """Load an artifact, prove on its golden images that it answers rightly, and return it.

    Args:
        path: the artifact's folder; with ``fastest``, a folder of artifacts with a plan.
        backend: a key of `lenet_runtime.BACKENDS`; or ``auto``, the first of the table that runs
            this format on this device; or ``fastest``, which follows the plan of
            ``lenet-deploy tune`` (`lenet_runtime.plans.routing`).
        device: ``cpu``, ``cuda`` (the first GPU) or ``cuda:N``. What is asked for is what runs;
            there is no fallback.
        threads: CPU threads of the engine, 1 to 1024; None is the engine's own choice.
        trust: allow an artifact that runs code; needed for every format but ``onnx``, unless
            this process exported it.
        check_finite: refuse NaN and infinities in every `Session.run`.
        unproven: allow an artifact of ``export --no-verify`` that was not proven since. For what
            proves it: ``lenet-deploy verify --record``.

    Raises:
        ArtifactError: the artifact is damaged, foreign, or runs code and is not trusted.
        BackendUnavailable: the engine, the device or a CPU extension is not here.
        InputError: an argument is wrong.
        ParityError: the self-test failed.
    """
    if threads is not None and (type(threads) is not int or not 1 <= threads <= _MAX_THREADS):
        raise InputError(
            f"threads: expected an integer from 1 to {_MAX_THREADS} or None, found {threads!r}"
        )
    for argument, value in (("trust", trust), ("unproven", unproven)):
        if type(value) is not bool:  # a configuration's "false" is true
            raise InputError(f"{argument}: expected True or False, found {value!r}")
    for _ in range(_EXCHANGES):
        before = _identity(path)
        try:
            return _load(path, backend, device, threads, trust, check_finite, unproven)
        except ArtifactError:
            # An export replaced the folder while it was read: half of what was read is the old
            # artifact's. The new one is whole.
            if _identity(path) == before:
                raise
    return _load(path, backend, device, threads, trust, check_finite, unproven)


def _identity(path: str | os.PathLike[str]) -> tuple[int, int, int] | None:
    """Which folder `path` leads to at this moment; None for none.

    With the time of its last change, since a new folder may get the number of a deleted one.
    """
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns


def _load(  # noqa: PLR0917  the arguments of load, which are checked
    path: str | os.PathLike[str],
    backend: str,
    device: str,
    threads: int | None,
    trust: bool,
    check_finite: bool,
    unproven: bool,
) -> Session:
    if backend == "fastest":
        from lenet_runtime.plans.routing import load_fastest

        return load_fastest(Path(path), device, threads, trust, check_finite=check_finite)
    device = str(devices.parse(device))
    artifact = Artifact.open(path)
    name = choose(artifact.manifest.format, backend, device)
    requirements.require(artifact.manifest, BACKENDS[name], device, artifact.path)
    _require_proof(artifact, device, unproven=unproven)
    trusted.require(artifact, trust)
    predictor = BACKENDS[name].load(artifact, device, threads)
    session = Session(
        predictor, artifact, name, device=device, threads=threads, check_finite=check_finite
    )
    try:
        starts = BACKENDS[name].starts(artifact)
        golden.self_test(session.run, artifact, name, starts)
        golden.pixel_test(predictor, artifact, name, starts)
    except BaseException:
        session.close()
        raise
    return session


def _require_proof(artifact: Artifact, device: str, *, unproven: bool) -> None:
    report = artifact.manifest.parity
    if not report.comparisons:
        if unproven:
            return
        raise ArtifactError(
            f"{artifact.path}: it was exported with --no-verify, and nobody has compared it with "
            f"eager PyTorch; run lenet-deploy verify {artifact.path} --device {device} --trust "
            "--record on a machine like this one"
        )
    if not report.ok:
        raise ArtifactError(f"{artifact.path}: its parity report says it failed; export it again")


def _checked_layout(images: object) -> NDArray[np.float32]:
    """Accept what only needs a copy; say exactly what is wrong with everything else."""
    if not isinstance(images, np.ndarray) or isinstance(images, np.ma.MaskedArray):
        raise InputError(
            f"images: expected a numpy.ndarray, found {type(images).__name__}; "
            "convert it yourself: numpy.asarray(images, dtype=numpy.float32)"
        )
    if images.dtype != _FLOAT32:
        order = "" if images.dtype.isnative else " in foreign byte order"
        raise InputError(
            f"images: expected dtype float32, found {images.dtype.name}{order}; "
            "nothing is cast for you: images.astype(numpy.float32), or Session.predict for pixels"
        )
    if images.ndim != 4 or images.shape[1:] != _IMAGE_SHAPE:
        raise InputError(
            f"images: expected shape (N, 1, 32, 32), found {images.shape}; "
            "Session.predict takes (N, 28, 28) and pads"
        )
    return np.require(images, requirements=["C_CONTIGUOUS", "ALIGNED", "ENSUREARRAY"])


def all_finite(images: NDArray[np.float32], size: int) -> bool:
    """Whether no value is NaN or infinite.

    A sum of squares cannot cancel, so it is finite only if all values are, and BLAS does it in
    0.5 us where ``isfinite().all()`` takes 1.6. Squares of values beyond 1e19 overflow; the exact
    test then decides.
    """
    if size <= _MAX_DOT_IMAGES and np.vdot(images, images) < _INFINITY:
        return True
    return bool(np.isfinite(images).all())


def _refuse_non_finite(images: NDArray[np.float32]) -> NoReturn:
    bad = ~np.isfinite(images)
    if not bad.any():
        raise InputError("images: were changed while they were checked; give each call its own")
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    raise InputError(
        f"images: expected finite values, found {int(bad.sum())} that are NaN or infinite, the "
        f"first at {first}; clean the input, or load with check_finite=False to let them through"
    )


def _check_out(out: object, size: int) -> None:
    found = type(out).__name__
    if isinstance(out, np.ndarray) and not isinstance(out, np.ma.MaskedArray):
        right = out.dtype == _FLOAT32 and out.shape == (size, 10)
        if right and out.flags.c_contiguous and out.flags.writeable:
            return
        found += f" of {out.dtype} {out.shape}" + ("" if out.flags.writeable else ", read-only")
    raise InputError(
        f"out: expected a writable C-contiguous float32 array of shape ({size}, 10), found {found}"
    )
