"""What users give: arrays, pictures and checkpoints, odd or damaged."""

import contextlib
import io
import json
import pickle
import struct
import zipfile

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
    from lenet_runtime.images.pictures import read_digit

    Image.init()
    able = [kind for kind in KINDS if kind in Image.SAVE]
    pixels = raw_digits()

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
            data, steps = large(draw), "large"
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


def large(draw):
    """A PNG of many pixels in few bytes."""
    side = draw.choice([1000, 4000, 8192, 30_000])
    mode = draw.choice(["1", "L", "RGB", "I;16"])
    if side > 10_000:
        mode = "1"
    buffer = io.BytesIO()
    Image.new(mode, (side, draw.choice([side, 1, 500]))).save(buffer, "PNG")
    return buffer.getvalue()


# ---- checkpoints


@contextlib.contextmanager
def checkpoints(artifacts, scratch):
    """State dicts in pickles and safetensors, damaged or hostile: equal weights, or refused."""
    import torch
    from safetensors.torch import save

    from lenet_deploy.training.checkpoint import load_checkpoint

    net = load_checkpoint()
    weights = net.state_dict()
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    whole = {".pt": buffer.getvalue(), ".safetensors": save(weights)}
    proof = scratch / "proof"

    def case(draw):
        suffix = draw.choice([*whole, ".pth", ".ckpt", ".bin"])
        kind = draw.choice(["bytes", "header", "pickle", "zip", "tensors"])
        data, steps = whole.get(suffix, whole[".pt"]), ""
        if kind == "bytes":
            data, steps = mangled(draw, data)
        elif kind == "header":
            data = safetensors_header(draw, whole[".safetensors"])
            suffix = ".safetensors"
        elif kind == "pickle":
            data = hostile_pickle(draw, proof)
        elif kind == "zip":
            data = zip_with(draw, whole[".pt"], hostile_pickle(draw, proof))
        else:
            data, steps = other_tensors(draw, weights, suffix)
        draw.note(f"{kind}{suffix} {steps}")
        path = scratch / f"x{suffix}"
        path.write_bytes(data)
        try:
            found = load_checkpoint(path)
        finally:
            assert not proof.exists(), "ran what the pickle told it to"
        names = {name: value.shape for name, value in found.state_dict().items()}
        assert names == {name: value.shape for name, value in weights.items()}
        assert all(bool(value.isfinite().all()) for value in found.state_dict().values())
        return "read"

    yield case


def safetensors_header(draw, data):
    """A header with odd sizes, offsets, types, depth or length, in front of the same bytes."""
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    entry = header[draw.choice([name for name in header if name != "__metadata__"])]
    what = draw.choice(["dtype", "shape", "offsets", "length", "deep", "metadata", "twice"])
    text = None
    if what == "dtype":
        entry["dtype"] = draw.choice(["F64", "F16", "BF16", "I8", "BOOL", "X", 3, None])
    elif what == "shape":
        entry["shape"] = draw.choice([[], [0], [-1], [2**62, 4], [2**64], ["a"], None, [54, 1]])
    elif what == "offsets":
        entry["data_offsets"] = draw.choice([[0, 0], [-1, 4], [2**63, 2**63], [8, 4], [0], None])
    elif what == "deep":
        text = b"[" * draw.choice([10, 1000, 100_000])
    elif what == "metadata":
        header["__metadata__"] = draw.choice(
            [{"a": "b" * 10**6}, {"a": 1}, [], None, {"\ud800": ""}]
        )
    elif what == "twice":
        text = json.dumps(header).encode()[:-1] + b"," + json.dumps(header).encode()[1:]
    text = json.dumps(header).encode() if text is None else text
    length = draw.choice([0, 1, 2**31, 2**63, 2**64 - 1]) if what == "length" else len(text)
    return struct.pack("<Q", length) + text + data[8 + size :]


class Runs:
    """Makes a folder where somebody unpickles it."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


def hostile_pickle(draw, proof):
    """A pickle that runs code, nests deeply, repeats itself, or is none."""
    what = draw.choice(["code", "in dict", "deep", "bomb", "long", "none", "mangled"])
    if what == "code":
        return pickle.dumps(Runs(proof), protocol=draw.randrange(6))
    if what == "in dict":
        return pickle.dumps({"conv1.weight": Runs(proof)})
    if what == "deep":
        return b"\x80\x02" + b"]" * draw.choice([10, 10_000, 200_000]) + b"a" * 10 + b"."
    if what == "bomb":
        return b"\x80\x02](" + b"].2e" * 20 + b"."
    if what == "long":
        return b"\x80\x04\x8d" + struct.pack("<Q", draw.choice([2**31, 2**40, 2**63])) + b"x."
    if what == "none":
        return draw.randbytes(draw.choice([0, 1, 100, 10_000]))
    return mangled(draw, pickle.dumps(Runs(proof)))[0]


def zip_with(draw, data, replaced):
    """torch's archive with another pickle, or with names that lead elsewhere."""
    source, buffer = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    compression = draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(buffer, "w", compression) as target:
        for name in source.namelist():
            text = replaced if name.endswith("data.pkl") else source.read(name)
            as_name = name
            if draw.random() < 0.1:
                as_name = draw.choice(["../x", "/x", name * 2, name.replace("archive", "b")])
            if draw.random() < 0.05:
                text = bytes(2**24)
            if draw.random() < 0.9:
                target.writestr(as_name, text)
    return buffer.getvalue()


def other_tensors(draw, weights, suffix):
    """A state dict with other names, shapes, types or values."""
    import torch
    from safetensors.torch import save

    changed = {name: value.clone() for name, value in weights.items()}
    name = draw.choice(list(changed))
    what = draw.choice(
        ["drop", "rename", "shape", "double", "half", "nan", "more", "view", "sparse"]
    )
    value = changed[name]
    changed |= {
        "drop": {}, "rename": {f"module.{name}": value}, "shape": {name: value[..., :1].clone()},
        "double": {name: value.double()}, "half": {name: value.half()},
        "nan": {name: value.fill_(float("nan"))} if what == "nan" else {},
        "more": {"more": torch.zeros(3)}, "view": {name: value.flatten()},
        "sparse": {name: value.to_sparse()} if (what, suffix) == ("sparse", ".pt") else {},
    }[what]  # fmt: skip
    if what in ("drop", "rename"):
        del changed[name]
    if suffix == ".safetensors":
        return save(changed), f"{what} {name}"
    buffer = io.BytesIO()
    nested = draw.choice([changed, {"state_dict": changed}, {"model": changed}, [changed]])
    torch.save(nested, buffer)
    return buffer.getvalue(), f"{what} {name}"
