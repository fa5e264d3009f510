"""Opens files of pictures and of arrays: whatever is wrong with them is an `InputError`.

Decoders are other people's code and read what anybody may send, so the formats are a fixed list,
sizes are checked before anything is decoded, and every error of a decoder is translated here.
"""

import contextlib
import functools
import gzip
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import BackendUnavailable, InputError
from lenet_runtime.images.pictures import MAX_PIXELS, DigitImage, damaged, mnist_style
from lenet_runtime.version import pip_install

if TYPE_CHECKING:
    from PIL.Image import Image

# Programs such as EPS, for which Pillow runs Ghostscript, are not among them.
FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM",
    "TGA", "TIFF", "WEBP",
)  # fmt: skip
MAX_BYTES = 200 * 2**20  # of a decoded picture, and of an array
DRAFT = 960  # a JPEG decodes directly to a size whose longer side is not much larger than this
# Arrays of an NPZ file, the first of which that it has is taken.
IMAGE_KEYS, LABEL_KEYS = ("images", "x_test", "x", "arr_0"), ("labels", "y_test", "y")
# Bytes that decoders take for a pixel, beyond the picture itself.
_DECODERS = {
    "AVIF": 8, "GIF": 4, "HEIF": 8, "JPEG2000": 12, "MPO": 6, "TIFF": 4, "WEBP": 12,
}  # fmt: skip
_BYTES = {"1": 2, "L": 1, "P": 5, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # else 4

# What else is sent as a picture: its first bytes, its name, and what helps.
_STRANGERS = (
    (b"%PDF", "a PDF", "save its page as PNG"),
    (b"%!PS", "PostScript", "save it as PNG"),
    (b"\xc5\xd0\xd3\xc6", "EPS", "save it as PNG"),
    (b"<svg", "an SVG drawing", "export it as PNG"),
    (b"<html", "an HTML page", "fetch the picture itself"),
    (b"<!doctype html", "an HTML page", "fetch the picture itself"),
    (b"<?xml", "XML, such as an SVG drawing", "export it as PNG"),
    (b"version https://git-lfs", "a pointer of Git LFS", "fetch the file with git lfs pull"),
    (b"data:", "a data URL", "decode its base64 part into a file"),
)
_HEIC = "HEIC, as iPhones save it"


def read_digit(file: Path | BinaryIO) -> DigitImage:
    """Open a picture, such as PNG or JPEG, and turn it into an image like MNIST's.

    HEIC needs the plugin pillow-heif.

    Raises:
        InputError: the file is not a picture, is damaged or enormous, or shows no digit.
        BackendUnavailable: Pillow is not installed.
        OSError: the file cannot be opened.
    """
    if isinstance(file, Path):
        with file.open("rb") as stream:
            return read_digit(stream)
    with open_picture(file, grey=True) as image:
        return mnist_style(image)


@contextlib.contextmanager
def open_picture(file: BinaryIO, *, grey: bool) -> "Iterator[Image]":
    """The picture in a file, which may be anybody's; what fails in the block is translated, too.

    A JPEG is decoded directly to about `DRAFT` pixels in grey, where that is asked for.

    Raises:
        InputError: as `read_digit`.
        BackendUnavailable: as `read_digit`.
    """
    try:
        import PIL.Image
    except ImportError as error:
        raise BackendUnavailable(
            f"reading pictures needs Pillow, which this brings: {pip_install('cpu')}"
        ) from error
    start = file.read(64)
    file.seek(0)
    try:
        with PIL.Image.open(file, formats=_formats()) as image:
            _check_cost(image)
            if grey and image.format in ("JPEG", "MPO"):
                share = DRAFT / max(image.size)
                image.draft("L", (int(image.width * share), int(image.height * share)))
            yield image
    except InputError:
        raise
    except PIL.UnidentifiedImageError as error:
        raise InputError(_unknown(start)) from error
    except PIL.Image.DecompressionBombError as error:
        raise InputError(f"expected at most {MAX_PIXELS} pixels; {error}") from error
    except Exception as error:  # whatever a plugin raises on what anybody may have sent
        raise damaged(error) from error


def is_picture(name: str) -> bool:
    """Whether a file's name says that it is a picture, and not a hidden one."""
    return not name.startswith(".") and Path(name).suffix.lower() in picture_suffixes()


@functools.cache
def picture_suffixes() -> frozenset[str]:
    """Suffixes of the files that `read_digit` opens, in lower case and with the dot."""
    from PIL import Image

    formats = _formats()
    kinds = Image.registered_extensions().items()
    return frozenset(suffix for suffix, kind in kinds if kind in formats)


def _formats() -> list[str]:
    """The formats of the list that this installation of Pillow opens."""
    from PIL import Image

    Image.init()
    if "HEIF" not in Image.OPEN:
        try:
            import pillow_heif
        except ImportError:
            pass
        else:
            pillow_heif.register_heif_opener()
    return [name for name in FORMATS if name in Image.OPEN]


def _check_cost(image: "Image") -> None:
    """Refuse a picture whose decoding takes more memory than there should be need for."""
    width, height = image.size
    if image.format == "JPEG":  # decodes to a smaller size, but a progressive one is kept whole
        cost = 6 if image.info.get("progressive") else 0
    else:
        cost = _BYTES.get(image.mode, 4) + _DECODERS.get(image.format or "", 0)
    if width * height > MAX_PIXELS or width * height * cost > MAX_BYTES:
        raise InputError(
            f"expected a picture of at most {min(MAX_PIXELS, MAX_BYTES // max(cost, 1))} pixels "
            f"as {image.format}, found {width}x{height}; make it smaller"
        )


def _unknown(start: bytes) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, name, advice in _STRANGERS:
        if text.startswith(magic.lower()):
            return f"expected a picture, found {name}; {advice}"
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        return f"expected a picture, found {_HEIC}; pip install pillow-heif, or save it as JPEG"
    if not start:
        return "expected a picture, found an empty file"
    return (
        "expected a picture that Pillow reads, such as PNG or JPEG, found another or a "
        "damaged file; save it as PNG"
    )


def is_array_file(start: bytes, name: str) -> bool:
    """Whether a file, by its first bytes and its name, holds arrays of digits and no picture."""
    magics = (b"\x93NUMPY", b"PK\x03\x04", b"\x1f\x8b", b"\0\0\x08\x03", b"\0\0\x08\x01")
    return start.startswith(magics) or name.lower().endswith(".csv")


def read_arrays(data: bytes, name: str = "") -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    """Read IDX, NPY, NPZ or CSV, each also gzipped: images of any kind and labels, if it has any.

    In NPZ, images are called ``images``, ``x_test``, ``x`` or ``arr_0`` and labels ``labels``,
    ``y_test`` or ``y``. CSV has 784 columns of pixels; a column more holds labels: the one that
    its header calls ``label``, else the first.

    Raises:
        InputError: the file is damaged, takes more than 200 MiB, or holds no images.
    """
    try:
        if data[:2] == b"\x1f\x8b":
            with gzip.open(io.BytesIO(data)) as stream:
                data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise InputError(f"expected at most {MAX_BYTES} bytes, found more; split the file")
        if data[:2] == b"\0\0":
            return _read_idx(data), None
        if data[:6] == b"\x93NUMPY":
            return np.load(io.BytesIO(data), allow_pickle=False), None
        if data[:4] == b"PK\x03\x04":
            return _read_npz(data)
        return _read_csv(data.decode("utf-8-sig"))
    except InputError:
        raise
    except Exception as error:  # NumPy, zipfile and zlib raise many kinds on damaged files
        raise InputError(
            f"expected IDX, NPY, NPZ or CSV, found a damaged file or another: {error}"
        ) from error


def _read_idx(data: bytes) -> NDArray[np.uint8]:
    if data[2:4] == b"\x08\x01":
        raise InputError("expected images, found IDX labels; give the file of images")
    count, height, width = np.frombuffer(data, ">u4", 3, 4).astype(int).tolist()
    if data[2:4] != b"\x08\x03" or count * height * width != len(data) - 16:
        raise InputError(
            f"expected IDX of {count} images of {height}x{width} bytes, found {len(data) - 16} "
            "bytes; the file is damaged, fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=16).reshape(count, height, width)


def _read_npz(data: bytes) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
            raise InputError(f"expected at most {MAX_BYTES} bytes unpacked, found more")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        images = [key for key in IMAGE_KEYS if key in arrays]
        labels = [key for key in LABEL_KEYS if key in arrays]
        if not images:
            raise InputError(f"expected an array named images, found {sorted(arrays)}")
        return arrays[images[0]], arrays[labels[0]].astype(np.int64) if labels else None


def _read_csv(text: str) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    first = text.split("\n", 1)[0].lower().replace('"', "").strip().split(",")
    named = not first[0].strip().lstrip("-").replace(".", "", 1).isdigit()
    rows = np.loadtxt(io.StringIO(text), delimiter=",", skiprows=int(named), ndmin=2)
    column = None
    if rows.shape[1] in (785, 1025):
        column = first.index("label") if named and "label" in first else 0
    pixels: NDArray[Any] = rows if column is None else np.delete(rows, column, axis=1)
    if not (pixels.max(initial=0) <= 1 and (pixels % 1).any()):  # whole numbers
        pixels = _bytes(pixels)
    return pixels, None if column is None else rows[:, column].astype(np.int64)


def _bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if (pixels % 1).any() or pixels.min(initial=0) < 0 or pixels.max(initial=0) > 255:
        raise InputError("expected CSV of whole numbers of 0 to 255, or of fractions of 0 to 1")
    return pixels.astype(np.uint8)
