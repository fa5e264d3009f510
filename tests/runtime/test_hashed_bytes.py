"""What is loaded is what was hashed: whoever changes the files in between changes nothing."""

import sys

import numpy as np
import pytest
from every_format import EACH
from samples import noise

from lenet_runtime import load
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import native
from lenet_runtime.errors import ArtifactError

opened = []


@pytest.fixture(scope="module", autouse=True)
def watch():
    """Note every file that Python opens; an audit hook stays for the life of the process."""
    sys.addaudithook(lambda event, arguments: event == "open" and opened.append(str(arguments[0])))


@pytest.mark.parametrize("format", EACH)
def test_a_listed_file_that_changes_after_its_hash_does_not_matter(
    exported, copy_of, monkeypatch, format
):
    """Each engine gets the bytes, or a private copy of them; the folder is not opened again."""
    monkeypatch.setattr(native, "_loaded", {})
    original = exported(format)
    with load(original, trust=True) as session:
        expected = session.run(noise(3))
    artifact = Artifact.open(copy_of(original))
    for name in artifact.manifest.files:
        (artifact.path / name).write_bytes(b"exchanged")
    monkeypatch.setattr(native, "_loaded", {})
    opened.clear()
    with load(artifact, trust=True) as session:
        np.testing.assert_array_equal(session.run(noise(3)), expected)
    assert not [name for name in opened if name.startswith(str(artifact.path))]
    with pytest.raises(ArtifactError, match="found 9 bytes that differ"):
        load(artifact.path, trust=True)


@pytest.mark.parametrize("format", EACH)
def test_every_listed_file_is_hashed_at_every_load(exported, copy_of, format):
    """Those that nothing runs, too: ``lenet.c`` is what people read and compile."""
    folder = copy_of(exported(format))
    for name in Artifact.open(folder).manifest.files:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(ArtifactError, match=rf"{name}: expected \d+ bytes with SHA-256"):
            load(folder, trust=True)
        (folder / name).write_bytes(data)
    load(folder, trust=True).close()
