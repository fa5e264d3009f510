"""What users give: arrays and pictures, odd or damaged."""

import contextlib
import io
import itertools

import numpy as np
from PIL import Image
from samples import noise, raw_digits

from lenet_runtime.errors import InputError
from tests.fuzz.artifacts import loaded, mangled

# ---- arrays


DTYPES = [
    "<f4", "<f4", "<f4", ">f4", "<f2", "<f8", "u1", "i4", "?", "c8", "O", "S4", "M8[s]", "V4",
    [("x", "<f4")],
]  # fmt: skip
SHAPES = [
    (3, 1, 32, 32), (3, 1, 32, 32), (3, 1, 32, 32), (0, 1, 32, 32), (1, 1, 32, 32), (1, 32, 32),
    (3, 32, 32), (3, 28, 28), (28, 28), (3, 784), (3, 32, 32, 1), (3, 3, 32, 32), (), (0,),
    (3, 1, 32, 31), (2, 0, 32, 32), (1, 3, 1, 32, 32),
]  # fmt: skip


class Subclass(np.ndarray):
    """An array of a class of its own."""


def unaligned(x):
    """The same values, one byte off every boundary."""
    raw = np.empty(x.nbytes + 1, np.uint8)[1:]
    raw[:] = np.frombuffer(x.tobytes(), np.uint8)
    return raw.view(x.dtype).reshape(x.shape)


LAYOUTS = {
    "plain": lambda x: x,
    "Fortran": np.asfortranarray,
    "reversed": lambda x: x[..., ::-1],
    "every other": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "transposed": lambda x: np.swapaxes(np.swapaxes(x, -1, -2).copy(), -1, -2),
    "one for all": lambda x: np.broadcast_to(x[:1], x.shape),
    "unaligned": unaligned,
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "subclass": lambda x: x.view(Subclass),
    "masked": lambda x: np.ma.masked_array(x, np.zeros(x.shape, bool)),
    "recarray": lambda x: x.view(np.recarray),
    "list": lambda x: x.tolist(),
    "scalar": lambda x: x.ravel()[0],
    "memoryview": memoryview,
}  # fmt: skip


@contextlib.contextmanager
def arrays(artifacts, scratch):
    """Arrays of any kind: the answer to their plain copy if the rule admits them, else InputError.

    The rule, as README has it: a `numpy.ndarray`, not masked, of native float32 ``(N, 1, 32, 32)``,
    every value finite.
    """
    with loaded(artifacts / "onnx") as onnx, loaded(artifacts / "native", trust=True) as native:

        def case(draw):
            dtype, shape, layout = map(draw.choice, (DTYPES, SHAPES, list(LAYOUTS)))
            if draw.random() < 0.5:
                dtype, shape = "<f4", (draw.randrange(4), 1, 32, 32)
            draw.note(f"{dtype} {shape} {layout}")
            values = noise(3, draw.randrange(2**31), draw.choice([1, 1e-30, 1e20, 0]))
            array = np.resize(values, shape)
            if array.size and draw.random() < 0.2:
                array.flat[draw.randrange(array.size)] = draw.choice([np.nan, np.inf, -np.inf])
            try:
                with np.errstate(all="ignore"):
                    array = LAYOUTS[layout](cast(array, dtype))
            except (ValueError, TypeError, IndexError):
                return "no such array"
            before = array.tobytes() if isinstance(array, np.ndarray) else None
            session = draw.choice([onnx, native])
            if draw.random() < 0.4:
                return pictured(session, array)
            if not admitted(array):
                return refused(session.run, array)
            plain = np.ascontiguousarray(array).view(np.ndarray).copy()
            answer = session.run(array)
            assert (answer.shape, answer.dtype) == ((len(plain), 10), np.float32)
            assert array.tobytes() == before, "wrote into the input"
            np.testing.assert_array_equal(answer, session.run(plain))
            return "right"

        yield case


def cast(array, dtype):
    if dtype == "V4":
        return array.view("V4")
    return array.astype(dtype)


def admitted(array):
    """Whether `Session.run` is to take it; written anew, not read off the product."""
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        return False
    if array.dtype != np.dtype(np.float32) or not array.dtype.isnative or array.ndim != 4:
        return False
    return array.shape[1:] == (1, 32, 32) and bool(np.isfinite(np.asarray(array)).all())


def refused(run, array):
    try:
        run(array)
    except InputError:
        return "refused"
    raise AssertionError("taken, against the rule")


def pictured(session, array):
    """`predict` answers or raises InputError; what it may take is tested by hand."""
    try:
        prediction = session.predict(array)
    except InputError:
        return "refused"
    assert len(prediction.labels) > 0 or not np.size(array)
    return "predicted"


# ---- pictures


KINDS = {
    "PNG": {}, "JPEG": {}, "GIF": {}, "BMP": {}, "TIFF": {}, "WEBP": {}, "PPM": {}, "ICO": {},
    "TGA": {}, "PCX": {}, "SGI": {}, "JPEG2000": {}, "AVIF": {}, "SPIDER": {}, "DDS": {}, "MPO": {},
    "IM": {}, "MSP": {}, "XBM": {}, "ICNS": {}, "QOI": {}, "BLP": {},
}  # fmt: skip
MODES = ["L", "L", "RGB", "RGBA", "1", "P", "LA", "CMYK", "I;16", "I", "F"]


@contextlib.contextmanager
def pictures(artifacts, scratch):
    """Files of pictures with damaged bytes: a digit of 28x28 or InputError."""
    from lenet_runtime.images.files import read_digit

    Image.init()
    able = [kind for kind in KINDS if kind in Image.SAVE]
    pixels, huge = raw_digits(), list(large())

    def case(draw):
        kind, mode, side = draw.choice(able), draw.choice(MODES), draw.choice([28, 28, 5, 32, 90])
        digit = 255 - pixels[draw.randrange(len(pixels))]
        picture = Image.fromarray(digit).resize((side, side)).convert("L")
        buffer = io.BytesIO()
        try:
            picture.convert(mode).save(buffer, kind)
        except (OSError, ValueError, KeyError):
            mode = "L"
            try:
                picture.save(buffer := io.BytesIO(), kind)
            except (OSError, ValueError, KeyError):
                return "no such picture"
        data, steps = buffer.getvalue(), "whole"
        if draw.random() < 0.95:
            data, steps = mangled(draw, data)
        if draw.random() < 0.05:  # a header that promises a large picture
            steps, data = draw.choice(huge)
        draw.note(f"{kind} {mode} {side}: {steps}")
        if draw.random() < 0.1:
            (scratch / "x").write_bytes(data)
            source = scratch / "x"
        else:
            source = io.BytesIO(data)
        found = np.asarray(read_digit(source).pixels)
        assert (found.shape, found.dtype) == ((28, 28), np.uint8)
        return "read"

    yield case


def large():
    """PNGs of many pixels in few bytes; made before any case, whose memory is the product's."""
    for side, mode in itertools.product((1000, 4000, 8192, 30_000), ("1", "L", "RGB", "I;16")):
        for height in (side, 1, 500):
            if side * height <= 2**26 or mode == "1":
                buffer = io.BytesIO()
                Image.new(mode, (side, height)).save(buffer, "PNG", compress_level=1)
                yield f"{mode} {side}x{height}", buffer.getvalue()
