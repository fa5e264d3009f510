"""read_digit and read_arrays: every file that cannot be used is an InputError that says why."""

import contextlib
import gzip
import io
import struct
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest
from drawings import assert_like
from mutated_pictures import outcomes
from PIL import Image
from processes import python

from lenet_runtime.errors import InputError
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.files import FORMATS, picture_suffixes, read_arrays, read_digit

DIGITS = load_digits()


def picture(kind="PNG", size=(100, 100), **options):
    page = Image.new("L", size, 255)
    page.paste(0, (size[0] // 2 - 5, 20, size[0] // 2 + 5, 80))
    file = io.BytesIO()
    page.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore")
def test_mutated_pictures_are_read_or_an_input_error():
    """Pillow warns of much, and any other error than InputError ends the test."""
    counts = outcomes(read_digit, InputError, per_format=40)
    assert {"PNG", "JPEG", "WEBP", "TIFF"} <= counts.keys()
    assert counts.get("SPIDER", (0, 40)) == (0, 40), "not on the list of formats"
    assert sum(taken for taken, _ in counts.values()) > 100


def test_an_error_of_a_plugin_is_an_input_error(monkeypatch):
    class PluginError(Exception):
        pass

    def fail(self):
        raise PluginError("decoder 7")

    monkeypatch.setattr(PIL.ImageFile.ImageFile, "load", fail)
    with pytest.raises(InputError, match="decoder 7"):
        read_digit(io.BytesIO(picture()))


def test_formats_are_a_list_and_not_what_is_registered(monkeypatch):
    assert not {"EPS", "WMF", "SPIDER", "PSD", "FITS"} & set(FORMATS)
    opened = []
    monkeypatch.setitem(PIL.Image.OPEN, "MINE", (opened.append, lambda start: True))
    monkeypatch.setattr(PIL.Image, "ID", ["MINE", *PIL.Image.ID])
    with pytest.raises(InputError, match="expected a picture"):
        read_digit(io.BytesIO(b"mine" * 20))
    assert not opened
    assert not {".eps", ".pdf"} & picture_suffixes()
    assert {".png", ".jpg", ".jpeg", ".webp", ".tiff"} <= picture_suffixes()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"%PDF-1.7 " + b"x" * 80, "found a PDF; save its page as PNG"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "found an SVG drawing; export"),
        (b'\xef\xbb\xbf<?xml version="1.0"?><svg/>', "found XML, such as an SVG"),
        (b"<!DOCTYPE html><html>404</html>", "found an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "found a pointer of Git LFS"),
        (b"data:image/png;base64,iVBORw0KGgo=", "found a data URL"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n" + b"x" * 99, "found PostScript"),
        (b"", "found an empty file"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 90, "found HEIC.*pip install pillow-heif"),
        (b"hello, this is text" * 9, "found another or a damaged file"),
    ],
)
def test_what_is_no_picture_is_named(data, says, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=says):
        read_digit(io.BytesIO(data))


def test_heic_is_read_where_its_plugin_is(monkeypatch):
    """The plugin is a fake that reads PNG after the header of HEIC."""
    header = b"\0\0\0\x18ftypheic"

    def register():
        def open_heif(file, name):
            file.seek(len(header))
            return Image.open(io.BytesIO(file.read()))

        PIL.Image.OPEN["HEIF"] = (open_heif, lambda start: start.startswith(header[:12]))

    monkeypatch.setattr(PIL.Image, "OPEN", dict(PIL.Image.OPEN))
    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
    digit = read_digit(io.BytesIO(header + picture()))
    assert digit.inverted


def test_a_blank_first_frame_is_said_to_be_one_of_several():
    blank, page = Image.new("L", (90, 90), 255), Image.open(io.BytesIO(picture(size=(90, 90))))
    file = io.BytesIO()
    blank.save(file, "GIF", save_all=True, append_images=[page, blank])
    with pytest.raises(InputError, match=r"blank 90x90 picture.*frame 1 of . taken"):
        read_digit(io.BytesIO(file.getvalue()))


MEMORY = """
import io, resource, sys
import numpy as np
import PIL.Image
from lenet_runtime.errors import InputError
from lenet_runtime.images.files import read_digit
PIL.Image.init()
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_digit(io.BytesIO(data))
except InputError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(
    ("mode", "kind", "side"),
    [("I;16", "PNG", 8192), ("RGBA", "PNG", 8192), ("RGB", "PNG", 7000), ("RGB", "WEBP", 3600)],
)
def test_no_picture_takes_more_than_300_mib(mode, kind, side, tmp_path):
    if mode == "I;16":
        page = Image.fromarray(np.full((side, side), 60000, np.uint16))
    else:
        page = Image.new(mode, (side, side), "white")
    page.paste(0, (side // 3, side // 4, side // 2, side * 3 // 4))
    options = {"compress_level": 1} if kind == "PNG" else {"method": 0, "quality": 10}
    page.save(tmp_path / "large", kind, **options)
    del page
    with (tmp_path / "large").open("rb") as file:
        output = subprocess.run(
            [sys.executable, "-c", MEMORY], stdin=file, capture_output=True, check=True, text=True
        ).stdout
    assert int(output.split()[-1]) < 300, output


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "F", "I"])
def test_large_pictures_of_every_mode_are_averaged_strip_by_strip(mode):
    page = Image.fromarray(255 - DIGITS.images[0]).resize((2600, 2600))
    if mode in ("I;16", "F", "I"):
        dtype = {"I;16": np.uint16, "F": np.float32, "I": np.int32}[mode]
        page = Image.fromarray(np.asarray(page).astype(dtype))
    else:
        page = page.convert("RGB" if mode == "CMYK" else mode).convert(mode)
    file = io.BytesIO()
    page.save(file, "TIFF")
    assert_like(read_digit(file).pixels, least=0.93)


def idx(images):
    return struct.pack(">IIII", 0x803, *images.shape) + images.tobytes()


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def csv(images, labels=None, header=None):
    rows = images.reshape(len(images), -1)
    rows = rows if labels is None else np.column_stack([labels, rows])
    lines = ([header] if header else []) + [",".join(map(str, row)) for row in rows.tolist()]
    return ("\n".join(lines) + "\n").encode()


SIX, LABELS = DIGITS.images[:6], DIGITS.labels[:6]
NAMES = ",".join(["label", *(f"pixel{i}" for i in range(784))])


@pytest.mark.parametrize(
    ("data", "labelled"),
    [
        (idx(SIX), False),
        (npy(SIX), False),
        (npz(images=SIX, labels=LABELS), True),
        (npz(x_test=SIX, y_test=LABELS, x_train=SIX[:1], y_train=LABELS[:1]), True),
        (npz(arr_0=SIX), False),
        (csv(SIX), False),
        (csv(SIX, LABELS), True),
        (csv(SIX, LABELS, NAMES), True),
        (csv(SIX, header=NAMES.removeprefix("label,")), False),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_files_of_arrays_are_read(data, labelled, pack):
    images, labels = read_arrays(pack(data))
    np.testing.assert_array_equal(images.reshape(6, 28, 28), SIX)
    assert (labels is not None) is labelled
    if labelled:
        np.testing.assert_array_equal(labels, LABELS)


def test_the_label_column_may_be_the_last():
    rows = np.column_stack([SIX.reshape(6, -1), LABELS])
    header = NAMES.removeprefix("label,") + ",label"
    images, labels = read_arrays(csv(rows, header=header))
    np.testing.assert_array_equal(images, SIX.reshape(6, -1))
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (idx(SIX)[:-1], "expected IDX of 6 images of 28x28 bytes"),
        (idx(SIX)[:10], "damaged file"),
        (struct.pack(">II", 0x801, 3) + b"abc", "found IDX labels; give the file of images"),
        (npy(SIX)[:90], "damaged file"),
        (npy(np.array([{}], object)), "damaged file"),
        (npz(images=SIX)[:400], "damaged file"),
        (npz(pixels=SIX), r"expected an array named images, found \['pixels'\]"),
        (gzip.compress(idx(SIX))[:-9], "damaged file"),
        (gzip.compress(bytes(201 * 2**20), 1), "expected at most"),
        (b"1,2,x\n", "damaged file"),
        (b"\xff\xfe\x00", "damaged file"),
        (csv(SIX.astype(float) + 0.5), "expected CSV of whole numbers"),
        (csv(SIX.astype(int) + 9), "expected CSV of whole numbers"),
    ],
)
def test_damaged_files_of_arrays_are_input_errors(data, says):
    with pytest.raises(InputError, match=says):
        read_arrays(data)


@pytest.mark.parametrize(
    "data", [idx(SIX), npy(SIX), npz(images=SIX), csv(SIX), gzip.compress(idx(SIX))]
)
def test_mutated_files_of_arrays_are_read_or_an_input_error(data):
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(random.integers(1, 5)):
            damaged[random.integers(min(len(damaged), 300))] = random.integers(256)
        with contextlib.suppress(InputError):
            assert isinstance(read_arrays(bytes(damaged))[0], np.ndarray)


def test_reading_arrays_needs_no_pillow():
    python(
        "import sys; from lenet_runtime.images.files import read_arrays;"
        "assert not [m for m in sys.modules if m.partition('.')[0] in ('PIL', 'torch')]"
    )


def test_which_frame_counts_is_a_step():
    page = Image.open(io.BytesIO(picture(size=(90, 90))))
    file = io.BytesIO()
    page.save(file, "TIFF", save_all=True, append_images=[page.rotate(90)])
    assert read_digit(io.BytesIO(file.getvalue())).steps[0] == "frame 1 of 2 taken"
