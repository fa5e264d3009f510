"""`Session`: what users hold. It checks the input once for all engines; engines only compute."""

import ctypes
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from lenet_runtime import process
from lenet_runtime.artifact import Artifact, Manifest
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.errors import DeployError, InputError, ParityError
from lenet_runtime.images.prediction import Prediction, from_logits
from lenet_runtime.images.preprocess import normalise, to_pixels
from lenet_runtime.plans.chunks import run_in_chunks

if TYPE_CHECKING:
    from PIL.Image import Image

_FLOAT32 = np.dtype(np.float32)
Run = Callable[[NDArray[np.float32]], NDArray[np.float32] | None]


class Session:
    """A loaded network: float32 images in, float32 logits out. Made by `load`.

    Thread-safe: any number of threads may call `run` and `predict` on one session. Use it as a
    context manager, or call `close`.

    Attributes:
        artifact: the artifact that was loaded.
        backend: the key of `lenet_runtime.BACKENDS` whose engine runs the artifact.
        device: the device that the engine runs on: ``cpu`` or ``cuda:N``.
        threads: CPU threads asked for; None is the backend's default, see `load`.
        chunk: images in a chunk that batches of two chunks or more are cut into; None where no
            batch is cut.
        check_finite: Whether NaN and infinities are refused.

    A child of `os.fork` finds its parent's sessions refusing with `DeployError`, since its threads
    and locks did not come with it; those of ``native`` answer there. When the interpreter ends,
    sessions are closed. ``copy.copy`` and pickling load the same artifact again.
    """

    def __init__(
        self,
        predictor: Predictor,
        artifact: Artifact,
        backend: str,
        *,
        device: str = "cpu",
        threads: int | None = None,
        chunk: int | None = None,
        check_finite: bool = True,
    ) -> None:
        self.artifact = artifact
        self.backend = backend
        self.device = device
        self.threads = threads
        self.chunk = chunk
        self.check_finite = check_finite
        manifest = artifact.manifest  # its properties cost more than a call's own checks
        self._batch_size, self._image_shape = manifest.batch_size, manifest.image_shape
        self._classes, self._output = manifest.classes, manifest.output
        self._predictor: Predictor | None = predictor
        # What `run` calls; it returns None where a value is not finite.
        self._run: Run | None = predictor.run_checked if check_finite else predictor.run
        self._refusal = "is closed; load it again"  # once there is no predictor
        process.register(self)

    @property
    def manifest(self) -> Manifest:
        """What the artifact is."""
        return self.artifact.manifest

    @property
    def predictor(self) -> Predictor:
        """The engine itself, without the checks of `run`.

        Raises:
            DeployError: the session is closed, or came here by `os.fork`.
        """
        if self._predictor is None:
            raise DeployError(f"this session of {self.artifact.path} {self._refusal}")
        return self._predictor

    # The order of the checks is by cost, and the common case falls through without a call, but for
    # the predictor's own: they cost less than 2 us, where an engine takes 20
    # (benchmarks/overhead.py measures both).
    def run(
        self, images: NDArray[np.float32], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return the logits of a batch of preprocessed images, or what the output's name says.

        A module that ends in log_softmax or softmax has an artifact whose `Manifest.output` is
        ``log_probabilities`` or ``probabilities``, and these are what is returned. Nothing is
        cast: see `predict` for pictures.

        Args:
            images: float32 ``(N, C, H, W)``, as `Manifest.image_shape` says, in native byte order;
                N may be 0, and must be the artifact's own where that is static. An array that is
                not C-contiguous and aligned is copied.
            out: where to put the logits: float32 ``(N, K)``, C-contiguous and writable.

        Returns:
            Logits, float32 ``(N, K)``: `out` where it was given, else a new array.

        Raises:
            InputError: another type, dtype, byte order or shape, or NaN or infinity (unless
                loaded with ``check_finite=False``). There is no answer and `out` is untouched.
            DeployError: the session is closed, or the engine failed.
            ParityError: the engine answered with logits of another shape.
        """
        if (
            type(images) is not np.ndarray
            or images.dtype is not _FLOAT32
            or images.shape[1:] != self._image_shape
            or not images.flags.carray  # C-contiguous, aligned and writable
        ):
            images = self._checked_layout(images)
        size = len(images)
        if self._batch_size is not None and size != self._batch_size:
            raise InputError(
                f"images: this artifact was exported for batches of {self._batch_size}, "
                f"found {size}; export without --static-batch for any size"
            )
        if out is not None:
            self._check_out(out, size)
        run = self._run or self.predictor.run  # the property says that the session is closed
        logits: NDArray[np.float32] | None
        if size == 0:
            logits = np.empty((0, self._classes), np.float32)
        elif self.chunk is None or size <= self.chunk:
            logits = run(images)
        else:
            logits = run_in_chunks(run, images, self.chunk)
        if logits is None:
            _refuse_non_finite(images)
        if logits.shape != (
            size,
            self._classes,
        ):  # not even `out=` could tell: one row would fill it
            self._refuse_answer(logits, size)
        if out is None:
            return logits
        np.copyto(out, logits)
        return out

    def predict(
        self,
        images: "NDArray[Any] | Image | bytes | Sequence[Image | bytes]",
        top_k: int | None = None,
    ) -> Prediction:
        """Classify pictures; padding and normalising are done here.

        Args:
            images: for Net's shape uint8 ``(N, 28, 28)``, ``(N, 784)`` or ``(N, 32, 32)``, bool or
                floats in [0, 1] of these shapes; or a PIL image, or the bytes of a picture's file,
                such as an upload of PNG or JPEG, or a list of these; for others see `to_pixels`.
            top_k: classes to rank, 1 to K; None for three, or for all where there are fewer.

        Raises:
            InputError: see `to_pixels`.
            DeployError: see `run`.
        """
        pixels, warnings = to_pixels(images, self.manifest.preprocessing, self._image_shape)
        return self.predict_pixels(pixels, top_k, warnings)

    def predict_pixels(
        self,
        pixels: NDArray[Any],
        top_k: int | None = None,
        warnings: tuple[tuple[str, ...], ...] = (),
    ) -> Prediction:
        """Classify pixels that were checked before: `predict` without its look at the whole array.

        Args:
            pixels: what `to_pixels` returns, or rows of that.
            top_k: as of `predict`.
            warnings: doubts about each picture, which the answer repeats.

        Raises:
            DeployError: see `run`.
        """
        logits = self._run_pixels(pixels)
        if logits is None:
            logits = self.run(normalise(pixels, self.manifest.preprocessing, self._image_shape))
        top_k = min(3, self._classes) if top_k is None else top_k
        return from_logits(logits, self.manifest.labels, top_k, warnings, output=self._output)

    def _run_pixels(self, pixels: NDArray[Any]) -> NDArray[np.float32] | None:
        """The logits of raw digits, of an engine that prepares them itself; None for all else."""
        run_pixels = self.predictor.run_pixels
        if run_pixels is None or pixels.dtype != np.uint8 or pixels.shape[1:] != (28, 28):
            return None
        if not len(pixels) or self._batch_size not in (None, len(pixels)):
            return None
        logits = run_pixels(np.ascontiguousarray(pixels))
        if logits.shape != (len(pixels), self._classes):
            self._refuse_answer(logits, len(pixels))
        return logits

    def _refuse_answer(self, logits: NDArray[np.float32], size: int) -> NoReturn:
        raise ParityError(
            f"{self.artifact.path}: {self.backend} answered {size} images with logits of shape "
            f"{logits.shape}, expected {(size, self._classes)}; the model or the engine is at "
            "fault, and this session must not be used"
        )

    def _checked_layout(self, images: object) -> NDArray[np.float32]:
        """Accept what only needs a copy; say exactly what is wrong with everything else."""
        # An array is no masked one, and the first use of `np.ma` imports it, in 10 ms.
        if type(images) is not np.ndarray and (
            not isinstance(images, np.ndarray) or isinstance(images, np.ma.MaskedArray)
        ):
            raise InputError(
                f"images: expected a numpy.ndarray, found {type(images).__name__}; "
                "convert it yourself: numpy.asarray(images, dtype=numpy.float32)"
            )
        if images.dtype != _FLOAT32:
            order = "" if images.dtype.isnative else " in foreign byte order"
            raise InputError(
                f"images: expected dtype float32, found {images.dtype.name}{order}; "
                "nothing is cast for you: images.astype(numpy.float32), or Session.predict for "
                "pixels"
            )
        shape = f"(N, {', '.join(map(str, self._image_shape))})"
        if images.ndim != 4 or images.shape[1:] != self._image_shape:
            raise InputError(
                f"images: expected shape {shape}, found {images.shape}; "
                "Session.predict takes pixels, and pads and normalises"
            )
        return np.require(images, requirements=["C_CONTIGUOUS", "ALIGNED", "ENSUREARRAY"])

    def _check_out(self, out: object, size: int) -> None:
        found = type(out).__name__
        if isinstance(out, np.ndarray) and not isinstance(out, np.ma.MaskedArray):
            right = out.dtype == _FLOAT32 and out.shape == (size, self._classes)
            if right and out.flags.c_contiguous and out.flags.writeable:
                return
            found += f" of {out.dtype} {out.shape}" + ("" if out.flags.writeable else ", read-only")
        raise InputError(
            "out: expected a writable C-contiguous float32 array of shape "
            f"({size}, {self._classes}), found {found}"
        )

    def warmup(self, batch_sizes: Sequence[int] = (1,), runs: int = 3) -> None:
        """Run black images at each batch size, so that no user pays for lazy set-up.

        A static artifact is run at its own size.

        Raises:
            InputError: a batch size below 1.
        """
        for size in batch_sizes:
            if size < 1:
                raise InputError(f"batch_sizes: expected sizes of at least 1, found {size}")
            black = np.zeros((self._batch_size or size, 2, 2), np.uint8)
            images = normalise(black, self.manifest.preprocessing, self._image_shape)
            for _ in range(runs):
                self.run(images)

    def close(self) -> None:
        """Give the engine back; closing twice is fine.

        A call that is under way in another thread still ends well, or raises `DeployError` before
        its next chunk where its batch is cut.
        """
        predictor, self._predictor = self._predictor, None
        self._run = None
        if predictor is not None:
            predictor.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def after_fork(self) -> None:
        """In a forked child, refuse from now on and leave the engine as it is; `process` calls it.

        Nothing happens where the engine survives a fork, or the session is closed.
        """
        if self._predictor is None or self._predictor.survives_fork:
            return
        predictor, self._predictor, self._run = self._predictor, None, None
        self._refusal = "was loaded before os.fork, and engines stay there; load it in the worker"
        # An engine that ended here would wait for threads that are the parent's.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(predictor))

    def __repr__(self) -> str:
        state = "closed" if self._predictor is None else f"{self.backend} on {self.device}"
        return f"<Session {self.artifact.path} ({state})>"


def _refuse_non_finite(images: NDArray[np.float32]) -> NoReturn:
    bad = ~np.isfinite(images)
    if not bad.any():
        raise InputError("images: were changed while they were checked; give each call its own")
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    raise InputError(
        f"images: expected finite values, found {int(bad.sum())} that are NaN or infinite, the "
        f"first at {first}; clean the input, or load with check_finite=False to let them through"
    )
