"""Foreign artifacts: manifests, golden files, models and folders as an attacker writes them."""

import contextlib
import json
import os
import shutil
import socket
import struct

from artifact_files import replace_file
from samples import snapshot

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
        node[key] = draw.choice([-1, 2, 0.5, 1e-9, 1e9]) * node[key]
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
    """A golden file with other bytes, and its hash in the manifest."""
    yield from with_other_bytes(artifacts, scratch, "golden.npz", edges=160)


@contextlib.contextmanager
def models(artifacts, scratch):
    """An ONNX model with other bytes, and its hash in the manifest."""
    yield from with_other_bytes(artifacts, scratch, "model.onnx", edges=3000)


def with_other_bytes(artifacts, scratch, name, edges):
    """Half of the cases change the first or the last `edges` bytes, where the structure is."""
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
        draw.note(f"{name}, {where}: {steps}")
        replace_file(folder, name, data)
        with loaded(folder) as session:
            reference.require(session)
        return "right"

    yield case


# ---- objects


STRANGERS = [
    ".DS_Store", "._manifest.json", ".nfs0001", "lost+found", "..data", "README.md", "a\nb",
    "\x1b[2J", "x" * 255, "model.onnx.bak", "sitecustomize.py", os.fsdecode(b"\xff\xfe"),
]  # fmt: skip
TARGETS = [
    "/dev/zero", "/dev/stdin", "/proc/self/mem", "/proc/self/environ", "/etc/passwd", "nowhere",
    ".", "..", "/",
]  # fmt: skip


@contextlib.contextmanager
def objects(artifacts, scratch):
    """An artifact's folder with anything that a file system can hold, in a file's place or beside.

    Its own bytes, behind a link of any kind, are no fault.
    """
    folder, reference, restore = copied(artifacts, scratch)
    contents = snapshot(folder)
    listed = sorted(contents)

    def case(draw):
        steps = []
        try:
            for _ in range(draw.few()):
                name = draw.choice([*listed, *listed, draw.choice(STRANGERS)])
                what = draw.choice(sorted(OBJECTS))
                steps.append(f"{name!r}: {what}")
                draw.note(steps[-1])
                place = folder / name
                data = contents.get(name, b"")
                if place.is_dir() and not place.is_symlink():
                    shutil.rmtree(place)
                else:
                    place.unlink(missing_ok=True)
                OBJECTS[what](place, data, draw)
            with loaded(folder) as session:
                reference.require(session)
            return "right"
        finally:
            shutil.rmtree(scratch / "elsewhere", ignore_errors=True)
            restore()

    yield case


def elsewhere(place, data):
    """The same bytes outside the folder."""
    target = place.parent.parent / "elsewhere" / place.name
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(data)
    return target


def unix_socket(place, data, draw):
    with (
        socket.socket(socket.AF_UNIX) as server,
        contextlib.chdir(place.parent),
        contextlib.suppress(OSError),  # a name of 255 characters is too long for it
    ):
        server.bind(place.name)


def sparse(place, data, draw):
    with place.open("wb") as file:
        file.truncate(2**36)


def device_node(place, data, draw):
    with contextlib.suppress(PermissionError):
        os.mknod(place, 0o20666, os.makedev(1, 5))  # /dev/zero


def linked_hard(place, data, draw):
    os.link(elsewhere(place, data), place)


OBJECTS = {
    "nothing": lambda place, data, draw: None,
    "empty file": lambda place, data, draw: place.touch(),
    "folder": lambda place, data, draw: place.mkdir(),
    "full folder": lambda place, data, draw: (place / "x" / "y").mkdir(parents=True),
    "pipe": lambda place, data, draw: os.mkfifo(place),
    "socket": unix_socket,
    "device": device_node,
    "sparse 64 GiB": sparse,
    "hard link": linked_hard,
    "link to the bytes": lambda p, data, draw: p.symlink_to(elsewhere(p, data)),
    "relative link": lambda p, data, draw: p.symlink_to(f"../elsewhere/{elsewhere(p, data).name}"),
    "link to itself": lambda place, data, draw: place.symlink_to(place.name),
    "odd link": lambda place, data, draw: place.symlink_to(draw.choice(TARGETS)),
    "other bytes": lambda place, data, draw: place.write_bytes(mangled(draw, data or b"x")[0]),
    "the same bytes": lambda place, data, draw: place.write_bytes(data),
    "no rights": lambda place, data, draw: (place.write_bytes(data), place.chmod(0)),
}  # fmt: skip
