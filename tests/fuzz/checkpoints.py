"""Checkpoints, damaged and hostile: pickles, archives and headers of safetensors."""

import argparse
import contextlib
import io
import itertools
import json
import os
import pickle
import struct
import zipfile
from collections import Counter, OrderedDict
from datetime import datetime
from pathlib import PurePosixPath

from tests.fuzz.artifacts import mangled


@contextlib.contextmanager
def checkpoints(artifacts, scratch):
    """Files damaged, hostile, wrapped or of odd networks: a network that runs, or refused."""
    import torch
    from safetensors.torch import save

    from lenet_deploy.training.checkpoint import load_checkpoint, load_network

    torch.set_num_threads(1)
    weights = load_checkpoint().state_dict()
    whole = {".pt": saved(weights), ".old": saved(weights, False), ".safetensors": save(weights)}
    proof = scratch / "proof"

    def case(draw):
        kind = draw.choice(["bytes", "header", "pickle", "zip", "tensors", "objects", "family"])
        base = draw.choice([*whole])
        data, steps, expected = whole[base], "", None
        if kind == "bytes":
            data, steps = mangled(draw, data)
        elif kind == "header":
            data = safetensors_header(draw, whole[".safetensors"])
        elif kind == "pickle":
            data = hostile_pickle(draw, proof)
        elif kind == "zip":
            data = zip_with(draw, whole[".pt"], hostile_pickle(draw, proof))
        elif kind == "tensors":
            data, steps = other_tensors(draw, weights, base)
        elif kind == "objects":
            data, steps = odd_objects(draw, weights, base)
        else:
            data, steps, expected = wrapped_network(draw, base)
        draw.note(f"{kind}{base} {steps}")
        path = scratch / f"x{draw.choice(['.pt', '.pth', '.ckpt', '.bin', '.safetensors', ''])}"
        path.write_bytes(data)
        try:
            loaded = load_network(path)
        finally:
            path.unlink()
            assert not proof.exists(), "ran what the pickle told it to"
        found = loaded.module.state_dict()
        assert all(bool(value.isfinite().all()) for value in found.values())
        assert all(value.dtype == torch.float32 for value in found.values())
        with torch.inference_mode():
            logits = loaded.module(torch.zeros(2, *loaded.input_shape))
        assert logits.shape == (2, len(loaded.labels))
        if expected is not None:
            assert sorted(map(digest, found.values())) == sorted(map(digest, expected))
        return "read"

    yield case


def digest(tensor):
    return tensor.float().contiguous().numpy().tobytes()


def saved(thing, is_zip=True):
    """What `torch.save` writes."""
    import torch

    buffer = io.BytesIO()
    torch.save(thing, buffer, _use_new_zipfile_serialization=is_zip)
    return buffer.getvalue()


def wrapped_network(draw, base):
    """A network of the family or nearly, under any names and in any wrappings; and its weights."""
    import torch
    from safetensors.torch import save

    random = torch.Generator().manual_seed(draw.randrange(2**31))
    kernel, widths = draw.choice([3, 5]), [draw.choice([1, 3]), *draw.choices(range(1, 9), k=3)]
    widths = widths[: draw.choice([2, 3, 3, 4])]
    side = draw.choice([28, 32])
    for _ in widths[1:]:
        side = (side - kernel + 1) // 2
    sizes = [widths[-1] * side * side, *draw.choices(range(1, 9), k=draw.randrange(3)), 10]
    shapes = [(b, a, kernel, kernel) for a, b in itertools.pairwise(widths)]
    shapes += [(b, a) for a, b in itertools.pairwise(sizes)]
    pattern = draw.choice(
        ["conv{}", "{}", "layer.{}.0", "a{}.module.x", "net.{}", "forward{}", "{}x"]
    )
    weights = {}
    has_bias = draw.random() < 0.8
    for i, shape in enumerate(shapes):
        weights[f"{pattern.format(i)}.weight"] = torch.randn(shape, generator=random)
        if has_bias:
            weights[f"{pattern.format(i)}.bias"] = torch.randn(shape[0], generator=random)
    steps = f"{shapes} {pattern}"
    expected = list(weights.values())
    if draw.random() < 0.2:
        dtype = draw.choice([torch.float16, torch.bfloat16, torch.float64])
        weights = {name: value.to(dtype) for name, value in weights.items()}
        expected = list(weights.values())
    if draw.random() < 0.3:
        weights["steps"] = torch.tensor(3)
    for _ in range(draw.randrange(3)):
        prefix = draw.choice(["module.", "_orig_mod.", "model.", "net.", "0.", "x.y."])
        weights = {prefix + name: value for name, value in weights.items()}
        steps += f" {prefix}"
    if draw.random() < 0.3:  # no longer a network, most often
        name = draw.choice([*weights])
        weights[name] = weights[name][..., :-1].clone() if weights[name].dim() else weights[name]
        expected, steps = None, f"{steps} cut {name}"
    if base == ".safetensors":
        return save(weights), steps, expected
    nest = draw.choice([None, "state_dict", "model", "x"])
    return saved({nest: weights} if nest else weights, base == ".pt"), f"{steps} {nest}", expected


class Built:
    """Pickles as a call of a class, with a state, items or both."""

    def __init__(self, *parts):
        self.parts = parts

    def __reduce_ex__(self, protocol):
        return self.parts


def odd_objects(draw, weights, base):
    """A state dict whose dicts, tensors or neighbours are not what they seem, or have no end."""
    import torch

    hidden = dict.fromkeys(["items", "keys", "dim", "get", "foreign", "detach", "numel"], 3)
    what = draw.choice(["dict", "tensor", "beside", "cycle", "shared", "wide", "inside", "strides"])
    thing = dict(weights)
    if what == "dict":
        thing = Built(OrderedDict, (), hidden, None, iter(weights.items()))
    elif what == "tensor":
        value = torch.nn.Parameter(weights["conv1.weight"])
        value.__dict__.update(hidden)
        thing["conv1.weight"] = value
    elif what == "beside":
        kind = draw.choice([argparse.Namespace, OrderedDict, Counter, datetime, PurePosixPath])
        state = draw.choice([hidden, None, ({}, {"a": 1}), 3, "x"])
        items = draw.choice([None, iter({"a": 1}.items())])
        thing = {
            "model": thing,
            "other": Built(kind, draw.choice([(), ("2",)]), state, None, items),
        }
    elif what == "cycle":
        thing = {"weights": thing}
        thing["again"] = thing
        thing = draw.choice([thing, {"model": thing}])
    elif what == "shared":
        inner = {"x": torch.zeros(2, 2)}
        for _ in range(30):
            inner = {"a": inner, "b": inner}
        thing = inner
    elif what == "wide":
        thing = {str(i): draw.choice([{}, thing, i]) for i in range(1000)}
    elif what == "inside":
        name = draw.choice([*weights, "other"])
        thing[name] = draw.choice([Runs, argparse.Namespace(), torch.float16, 3, [thing], None])
    else:
        name = draw.choice([*weights])
        size = draw.choice([3, 2**14, 2**40])
        thing[name] = torch.zeros(1).expand(size) if size < 2**20 else torch.zeros(1).expand(2**62)
    return saved(thing, base != ".old"), what


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
        "sparse": {name: value.to_sparse() if suffix != ".safetensors" else value},
    }[what]  # fmt: skip
    if what in ("drop", "rename"):
        del changed[name]
    if suffix == ".safetensors":
        return save(changed), f"{what} {name}"
    nested = draw.choice([changed, {"state_dict": changed}, {"model": changed}, [changed]])
    return saved(nested, suffix == ".pt"), f"{what} {name}"
