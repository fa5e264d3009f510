"""Artifacts made by hand and damaged by hand, for tests that need no engine."""

import copy
import hashlib
import json
import os
from pathlib import Path

from fake_engine import FORMAT
from hypothesis import strategies as st
from samples import first_ten, noise

from lenet_runtime.artifact import (
    SCHEMA_VERSION,
    Artifact,
    FileEntry,
    Manifest,
    Requirements,
    TensorSpec,
    golden,
)
from lenet_runtime.images.preprocess import Preprocessing
from lenet_runtime.parity import TOLERANCES, Comparison, ParityReport

NAMES = ["manifest.json", "model.fake", "golden.npz"]  # what `write_artifact` writes
PASSED = Comparison("digits", 1, 1e-7, 1e-8, 0.1, 1.0, 1e-7, "")


def entry(data):
    return FileEntry(hashlib.sha256(data).hexdigest(), len(data))


def make_manifest(contents=None, batch=None, **changes):
    """A manifest that is right in every field, but for `changes`; `contents` are of its files."""
    fields = {
        "schema_version": SCHEMA_VERSION,
        "format": FORMAT,
        "precision": "fp32",
        "kernels": {},
        "inputs": (TensorSpec("images", "float32", (batch, 1, 32, 32)),),
        "outputs": (TensorSpec("logits", "float32", (batch, 10)),),
        "preprocessing": Preprocessing(),
        "labels": tuple("0123456789"),
        "files": {name: entry(data) for name, data in (contents or {}).items()},
        "requirements": Requirements("any", "fake", "1.0"),
        "tools": {"lenet-deploy": "0.1.0"},
        "weights_sha256": "0" * 64,
        "parity": ParityReport("fp32", TOLERANCES["fp32"], (PASSED,)),
    }
    return Manifest(**fields | changes)


def golden_bytes(rows=4):
    return golden.write(noise(rows), first_ten(noise(rows)))


def write_artifact(folder, batch=None, files=None, **changes):
    """A whole artifact of the fake engine's, unless `files` are others; returns its folder."""
    folder.mkdir(parents=True)
    files = files or {"golden.npz": golden_bytes(batch or 4), "model.fake": b"ten pixels"}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    manifest = make_manifest(files, batch, **changes)
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    return folder


def read_all(folder):
    """Each listed file's bytes, as `Artifact.open` reads them."""
    artifact = Artifact.open(folder)
    return {name: artifact.read(name) for name in artifact.manifest.files}


def open_descriptors():
    """How many descriptors this process has."""
    return len(os.listdir("/dev/fd"))


def edit_manifest(folder, change):
    """Let `change` alter the parsed ``manifest.json`` in place, and write it back."""
    path = folder / "manifest.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))
    return folder


def replace_file(folder, name, data):
    """Put other content into a file and its hash into the manifest, as an attacker would."""
    (folder / name).write_bytes(data)
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    return edit_manifest(folder, lambda document: document["files"].__setitem__(name, entry))


# A right manifest, the same as JSON, and the paths of all objects in it.
MANIFEST = make_manifest({"golden.npz": b"golden", "model.fake": b"model"})
DOCUMENT = json.loads(MANIFEST.to_bytes())
OBJECTS = [
    (), ("inputs", 0), ("preprocessing",), ("files", "golden.npz"), ("requirements",), ("parity",),
    ("parity", "tolerance"), ("parity", "comparisons", 0),
]  # fmt: skip


def read(document):
    """The manifest that a document or its bytes say."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Manifest.from_bytes(text, Path("folder/manifest.json"))


def changed(path, value):
    """The right document, with `value` at `path`."""
    document = copy.deepcopy(DOCUMENT)
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return document


def at(path, document):
    """The node at `path`."""
    for key in path:
        document = document[key]
    return document


@st.composite
def mutated(draw, data):
    """A strategy of what becomes of `data`, bytes, by a few cuts, copies and other values."""
    spoilt = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(spoilt)))
        length = draw(st.integers(0, 12))
        piece = draw(
            st.binary(max_size=4)
            | st.sampled_from([b"\0" * 8, b"\xff" * 8, b"1" * 30, b"[" * 5000, b'"', b"null", b"-"])
            | st.just(bytes(spoilt[place : place + length]) * 2)
        )
        spoilt[place : place + length] = piece
    return bytes(spoilt)
