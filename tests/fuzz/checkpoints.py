"""Checkpoints, damaged and hostile: pickles, archives and headers of safetensors."""

import contextlib
import io
import json
import os
import pickle
import struct
import zipfile

from tests.fuzz.artifacts import mangled


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
                text = bytes(2**20)  # more would be the memory of this program itself
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
