"""What a model takes: `images`, `pixels` or `file`, whichever the request sends."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.artifact import Manifest
from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import normalise, to_pixels
from lenet_serve.errors import ServeError, require_time
from lenet_serve.limits import Limits
from lenet_serve.protocol.infer import InferRequest, Tensor

IMAGES, PIXELS, FILE = "images", "pixels", "file"
_BASE64 = (b"iVBORw0KGgo", b"/9j/")  # what PNG and JPEG begin with, in base64
DATATYPES = {IMAGES: "FP32", PIXELS: "UINT8", FILE: "BYTES"}


def shapes(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    """The shape of one image in each input, without the batch."""
    channels, height, width = manifest.image_shape
    padding = 2 * manifest.preprocessing.padding
    pixels = (height - padding, width - padding) + ((3,) if channels == 3 else ())
    return {IMAGES: manifest.image_shape, PIXELS: pixels, FILE: ()}


class Inputs:
    """Checks a request's input and prepares its images.

    Args:
        manifest: What the artifact is.
        limits: `Limits.rows` is what counts here.
    """

    def __init__(self, manifest: Manifest, limits: Limits) -> None:
        self._shape, self._batch_size = manifest.image_shape, manifest.batch_size
        self._preprocessing, self._limits = manifest.preprocessing, limits
        self._image_bytes = 4 * math.prod(self._shape)

    def size(self, request: InferRequest) -> tuple[int, int]:
        """Images and bytes of a request, by what it says, before anything else is checked.

        Raises:
            ServeError: There are too many images, however few are under way: to try again is no
                use.
        """
        if not request.inputs:
            return 0, 0
        tensor = request.inputs[0]
        data: Any = tensor.data
        if not tensor.datatype:
            rows, size = len(data) // self._image_bytes, len(data)
        else:
            rows = tensor.shape[0] if tensor.shape else 0
            size = data.nbytes if isinstance(data, np.ndarray) else sum(map(len, data))
        if rows > self._limits.rows:
            raise self._wrong_rows(tensor, rows)
        return rows, size

    def images(self, request: InferRequest, deadline: float | None = None) -> NDArray[np.float32]:
        """The images ``(N, C, H, W)``; what is doubtful about pictures goes to the request.

        Args:
            request: The request.
            deadline: The moment of `time.monotonic` after which no picture is decoded any more.

        Raises:
            ServeError: There is not exactly one input, or it is of another name, datatype or shape
                or has too many images or none.
            InputError: Pixels or pictures are refused, as `Session.predict` would.
        """
        tensor = self._only(request.inputs)
        if not tensor.datatype:
            tensor = self._raw(tensor)
        expected = DATATYPES.get(tensor.name)
        if expected is None:
            raise ServeError(
                f"inputs[0].name: expected one of {', '.join(DATATYPES)}, found {tensor.name!r}"
            )
        if tensor.datatype != expected:
            raise ServeError(
                f"{tensor.name}: expected datatype {expected}, found {tensor.datatype!r}"
            )
        if tensor.name == IMAGES and tensor.shape[1:] != self._shape:
            raise self._wrong_shape(tensor)
        self._check_rows(tensor)
        if tensor.name == IMAGES:
            images: NDArray[np.float32] = np.asarray(tensor.data)
            return images
        if tensor.name == FILE:
            pixels, request.warnings = self._pictures(tensor, deadline)
        else:
            pixels, _ = to_pixels(np.asarray(tensor.data), self._preprocessing, self._shape)
        request.pixels = pixels
        return normalise(pixels, self._preprocessing, self._shape)

    def _only(self, inputs: list[Tensor]) -> Tensor:
        if len(inputs) != 1:
            names = ", ".join(repr(tensor.name) for tensor in inputs[:4]) or "none"
            raise ServeError(
                f"inputs: expected exactly one of {', '.join(DATATYPES)}, found {len(inputs)}"
                f" ({names})"
            )
        return inputs[0]

    def _raw(self, tensor: Tensor) -> Tensor:
        """A raw body as images, as many as it has bytes for."""
        raw: Any = tensor.data
        count, rest = divmod(len(raw), self._image_bytes)
        if rest or not count:
            raise ServeError(
                f"body: expected raw FP32 images of {self._image_bytes} bytes each, found "
                f"{len(raw)} bytes"
            )
        shape = (count, *self._shape)
        data = np.ndarray(shape, np.float32, bytearray(raw))  # aligned, and writable
        return Tensor(IMAGES, DATATYPES[IMAGES], shape, data)

    def _check_rows(self, tensor: Tensor) -> None:
        rows = tensor.shape[0] if tensor.shape else 0
        if self._batch_size is not None and rows != self._batch_size:
            raise ServeError(
                f"{tensor.name}: expected {self._batch_size} images, the batch size that this "
                f"model was exported for, found shape {list(tensor.shape)}"
            )
        if not 1 <= rows <= self._limits.rows:
            raise self._wrong_rows(tensor, rows)

    def _pictures(
        self, tensor: Tensor, deadline: float | None
    ) -> tuple[NDArray[Any], tuple[tuple[str, ...], ...]]:
        """The pixels of each picture, and the doubts about each."""
        if tensor.shape[1:] not in ((), (1,)):
            raise self._wrong_shape(tensor)
        pixels: list[NDArray[Any]] = []
        doubts: list[tuple[str, ...]] = []
        for index, file in enumerate(tensor.data):
            require_time(deadline)
            if file.startswith(_BASE64):
                raise ServeError(
                    f"{FILE}[{index}]: expected a picture's bytes, found them as base64; say so by "
                    "the input's parameter content_type, base64"
                )
            try:
                own, warnings = to_pixels([file], self._preprocessing, self._shape)
            except InputError as error:
                text = str(error).replace("images[0]", f"{FILE}[{index}]", 1)
                raise ServeError(text) from error
            pixels.append(own)
            doubts += warnings
        return np.concatenate(pixels), tuple(doubts)

    def _wrong_rows(self, tensor: Tensor, rows: int) -> ServeError:
        most = f"expected 1 to {self._limits.rows} images (--max-rows)"
        return ServeError(f"{tensor.name or 'body'}: {most}, found {rows}")

    def _wrong_shape(self, tensor: Tensor) -> ServeError:
        shape = "[N" + "".join(f",{n}" for n in self._shape if tensor.name == IMAGES) + "]"
        return ServeError(f"{tensor.name}: expected shape {shape}, found {list(tensor.shape)}")


def require_finite(images: NDArray[np.float32]) -> None:
    """Refuse NaN and infinities before images are computed with those of others.

    Raises:
        ServeError: There are some. Of images that are computed alone, the session says it.
    """
    if not np.isfinite(images).all():
        first = [int(i) for i in np.argwhere(~np.isfinite(images))[0]]
        raise ServeError(f"images{first}: expected finite values, found NaN or infinity")
