"""Foreign artifacts: manifests, golden files, models and folders as an attacker writes them."""

import contextlib
import io
import json
import shutil
import struct
import zipfile

import numpy as np
from artifact_files import replace_file

import lenet_runtime
from lenet_runtime.artifact import Artifact
from lenet_runtime.artifact import golden as golden_file
from lenet_runtime.images.digits import load_digits
from lenet_runtime.parity import TOLERANCES, compare

ODD = [
    None, True, False, -1, 0, 1, 3, 2**31, 2**63, 2**64, 10**400, 0.5, 1e308, -0.0, "", "x", "onnx",
    "native", "fp32", "int8", "../x", "/etc/passwd", "a\0b", "\ud800", "\x1b[31m", "\u202e",
    "9" * 5000, [], {}, [None], [[]] * 50, {"": {}}, "\u00e9", "N" * 100_000,
]  # fmt: skip


class Reference:
    """An artifact's images and eager's logits, to hold every session against."""

    def __init__(self, folder):
        artifact = Artifact.open(folder)
        self.images, self.logits = golden_file.read(artifact)
        self.digits = load_digits().images[:3]

    def require(self, session, *, pictures=False):
        """The session answers rightly, one image alone and all together."""
        for images, logits in ((self.images, self.logits), (self.images[:1], self.logits[:1])):
            answer = session.run(images)
            found = compare(answer, logits, TOLERANCES["fp32"])
            assert found.ok, f"answers wrongly: {found.reason}"
        if pictures:
            assert len(session.predict(self.digits).labels) == len(self.digits)


@contextlib.contextmanager
def loaded(folder, **options):
    with lenet_runtime.load(folder, threads=1, **options) as session:
        yield session


def copied(artifacts, scratch, name="onnx"):
    """A private copy, the reference for its answers, and what puts the copy back as it was."""
    folder, source = scratch / "a", artifacts / name
    shutil.copytree(source, folder)

    def restore():
        shutil.rmtree(folder) if folder.is_dir() and not folder.is_symlink() else folder.unlink()
        shutil.copytree(source, folder)

    return folder, Reference(source), restore


# ---- manifests


@contextlib.contextmanager
def manifests(artifacts, scratch):
    """A manifest with odd values, keys and bytes."""
    folder, reference, _ = copied(artifacts, scratch)
    path = folder / "manifest.json"
    right = path.read_bytes()

    def case(draw):
        document = json.loads(right)
        steps = [altered(draw, document) for _ in range(draw.few())]
        data = json.dumps(document).encode()
        if draw.random() < 0.3:
            data, more = mangled(draw, right if draw.random() < 0.5 else data)
            steps.append(more)
        elif draw.random() < 0.02:  # deeper than json itself would write
            data = data.replace(b"{", b'{"x": ' + b"[" * 100_000, 1)
            steps.append("deep")
        draw.note(" | ".join(steps))
        path.write_bytes(data)
        with loaded(folder) as session:
            reference.require(session, pictures=True)
        return "right"

    yield case


def altered(draw, document):
    """Change one place of a JSON document; returns what was done."""
    node, path = document, []
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return f"{path}: empty already"
        key = draw.choice(keys)
        path.append(key)
        if isinstance(node[key], dict | list) and draw.random() < 0.8:
            node = node[key]
            continue
        break
    what = draw.choice(["odd", "odd", "odd", "delete", "rename", "more", "nest", "number"])
    if what == "delete":
        del node[key]
    elif what == "rename" and isinstance(node, dict):
        node[str(draw.choice(ODD))] = node.pop(key)
    elif what == "more" and isinstance(node, list):
        node.extend([node[key]] * draw.choice([1, 2, 10, 1000]))
    elif what == "nest":
        for _ in range(draw.choice([1, 10, 100])):
            node[key] = [node[key]]
    elif what == "number" and type(node[key]) in (int, float):
        node[key] *= draw.choice([-1, 2, 10**9] if type(node[key]) is int else [-1, 0.5, 1e-9, 1e9])
    else:
        node[key] = draw.choice(ODD)
    return f"{what} {path}"


def mangled(draw, data):
    """Change, drop, double or insert bytes; returns the data and what was done."""
    data, steps = bytearray(data), []
    for _ in range(draw.few()):
        what, at = draw.choice(["flip", "byte", "cut", "drop", "double", "insert"]), 0
        at = draw.randrange(len(data) or 1)
        length = min(draw.choice([1, 2, 4, 8, 64, 1000]), len(data) - at)
        if what == "flip" and data:
            data[at] ^= 1 << draw.randrange(8)
        elif what == "byte" and data:
            data[at] = draw.choice([0, 1, 0x7F, 0x80, 0xFF, *b'"{[\\'])
        elif what == "cut":
            del data[at:]
        elif what == "drop":
            del data[at : at + length]
        elif what == "double":
            data[at:at] = data[at : at + length]
        else:
            data[at:at] = draw.randbytes(length)
        steps.append(f"{what} at {at} of {length}")
    return bytes(data), ", ".join(steps)


# ---- files whose hashes were made to fit


@contextlib.contextmanager
def golden(artifacts, scratch):
    """A golden file with other bytes or other arrays, and its hash in the manifest."""
    yield from with_other_bytes(artifacts, scratch, "golden.npz", edges=160, written=other_golden)


@contextlib.contextmanager
def models(artifacts, scratch):
    """An ONNX model with other bytes, and its hash in the manifest."""
    yield from with_other_bytes(artifacts, scratch, "model.onnx", edges=3000)


def other_golden(draw, right):
    """A whole archive, its checksums right, of arrays that are not those of this artifact."""
    with zipfile.ZipFile(io.BytesIO(right)) as archive:
        arrays = {name: np.load(io.BytesIO(archive.read(name))) for name in archive.namelist()}
    steps = []
    for _ in range(draw.few()):
        name = draw.choice(list(arrays))
        what = draw.choice(sorted(ARRAYS))
        with contextlib.suppress(ValueError, TypeError, IndexError):
            arrays[name] = ARRAYS[what](arrays[name], draw)
        steps.append(f"{name}: {what}")
    if draw.random() < 0.2:
        arrays[draw.choice(["../x.npy", "more.npy", "images.npy ", "x"])] = np.ones(3)
        steps.append("one more")
    buffer = io.BytesIO()
    compression = draw.choice([zipfile.ZIP_STORED] * 4 + [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array), allow_pickle=True)
            archive.writestr(name, member.getvalue())
    return buffer.getvalue(), ", ".join(steps)


ARRAYS = {
    "other values": lambda x, draw: x + np.float32(draw.choice([1e-7, 1e-3, 1, 1e30])),
    "not finite": lambda x, draw: np.where(np.arange(x.size).reshape(x.shape) == 3, np.nan, x),
    "infinite": lambda x, draw: np.full_like(x, np.inf),
    "fewer": lambda x, draw: x[: draw.choice([0, 1, 2])],
    "more": lambda x, draw: np.concatenate([x] * draw.choice([2, 30])),
    "turned": lambda x, draw: x[::-1],
    "double": lambda x, draw: x.astype(float),
    "big-endian": lambda x, draw: x.astype(">f4"),
    "objects": lambda x, draw: x[:1, :1].astype(object),
    "flat": lambda x, draw: x.ravel(),
    "Fortran": lambda x, draw: np.asfortranarray(x),
    "zeros": lambda x, draw: np.zeros_like(x),
}


def with_other_bytes(artifacts, scratch, name, edges, written=None):
    """Half of the cases change the first or the last `edges` bytes, where the structure is.

    Where there is `written`, half of all cases are files that it makes.
    """
    folder, reference, _ = copied(artifacts, scratch)
    right = (folder / name).read_bytes()

    def case(draw):
        where = draw.choice(["start", "end", "all", "all"])
        cut = {"start": edges, "end": len(right) - edges, "all": len(right)}[where]
        if where == "end":
            tail, steps = mangled(draw, right[cut:])
            data = right[:cut] + tail
        else:
            head, steps = mangled(draw, right[:cut])
            data = head + right[cut:]
        if draw.random() < 0.1:  # a number of four bytes somewhere
            at = draw.randrange(len(data) - 4 or 1) if len(data) > 4 else 0
            value = draw.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1])
            data = data[:at] + struct.pack("<I", value) + data[at + 4 :]
            steps += f", number {value} at {at}"
        if written and draw.random() < 0.5:
            data, steps = written(draw, right)
        draw.note(f"{name}, {where}: {steps}")
        replace_file(folder, name, data)
        with loaded(folder) as session:
            reference.require(session)
        return "right"

    yield case
