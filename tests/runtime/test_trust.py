"""Formats that run code load only for who vouches for them: the caller, or the writing process."""

import json

import pytest
from artifact_files import edit_manifest, make_manifest, replace_file
from fake_engine import FORMAT
from processes import python

import lenet_runtime
from lenet_runtime.artifact import Artifact, trust
from lenet_runtime.errors import ArtifactError, InputError
from lenet_runtime.formats import FORMATS


@pytest.fixture
def folder(folder, monkeypatch):
    """An artifact of the fake engine, where this process has written none."""
    monkeypatch.setattr(trust, "_written", set())
    return folder


def test_code_is_not_loaded_without_trust(folder, monkeypatch):
    monkeypatch.setattr("fake_engine.load", lambda *arguments: pytest.fail("was loaded"))
    with pytest.raises(ArtifactError, match="pass trust=True"):
        lenet_runtime.load(folder)


def test_trust_is_for_one_call(folder):
    lenet_runtime.load(folder, trust=True).close()
    with pytest.raises(ArtifactError):
        lenet_runtime.load(folder)


@pytest.mark.parametrize("trust", ["false", "no", 0, 1, None, [], object()])
def test_trust_is_true_or_false(folder, trust):
    """A configuration's "false" is a true string."""
    with pytest.raises(InputError, match="trust"):
        lenet_runtime.load(folder, trust=trust)
    with pytest.raises(InputError, match="unproven: expected True or False"):
        lenet_runtime.load(folder, trust=True, unproven=trust)


def test_the_process_that_wrote_it_may_load_it_and_its_copy(folder, copy_of):
    trust.remember(Artifact.open(folder))
    lenet_runtime.load(folder).close()
    lenet_runtime.load(copy_of(Artifact.open(folder))).close()


@pytest.mark.parametrize(
    "tamper",
    [
        lambda folder: replace_file(folder, "model.fake", b"ten viruses"),
        lambda folder: edit_manifest(folder, lambda document: None),
        lambda folder: edit_manifest(folder, lambda d: d["tools"].update(torch="0")),
    ],
    ids=["another model", "another spelling", "another word"],
)
def test_tampering_revokes_it(folder, tamper):
    trust.remember(Artifact.open(folder))
    tamper(folder)
    with pytest.raises(ArtifactError, match="trust"):
        lenet_runtime.load(folder)


def test_tampering_with_the_file_alone_fails_its_hash(folder):
    trust.remember(Artifact.open(folder))
    (folder / "model.fake").write_bytes(b"ten PIXELS")
    with pytest.raises(ArtifactError, match="SHA-256"):
        lenet_runtime.load(folder)


def test_only_onnx_is_data():
    """A new format counts as code until somebody says here why it is not."""
    assert [name for name, known in FORMATS.items() if not known.runs_code] == ["onnx"]
    assert FORMAT not in FORMATS
    assert make_manifest(format=FORMAT).runs_code


def load_in_a_fresh_process(artifact):
    """What loading it without trust answers, and then what it answers with trust."""
    code = """
import json, sys
import lenet_runtime
for trust in (False, True):
    try:
        lenet_runtime.load(sys.argv[1], trust=trust).close()
        print(json.dumps(["loaded", ""]))
    except lenet_runtime.DeployError as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""
    return [json.loads(line) for line in python(code, artifact.path).stdout.splitlines()]


def test_onnx_needs_no_trust(onnx_artifact):
    assert load_in_a_fresh_process(onnx_artifact) == [["loaded", ""]] * 2


@pytest.mark.parametrize(
    "format", ["torchscript", pytest.param("torch-compile", marks=pytest.mark.slow)]
)
def test_code_needs_trust_in_another_process(format, request):
    artifact = request.getfixturevalue(f"{format.replace('-', '_')}_artifact")
    (error, message), trusted = load_in_a_fresh_process(artifact)
    assert error == "ArtifactError"
    assert "trust=True" in message
    assert trusted == ["loaded", ""]
    lenet_runtime.load(artifact.path).close()  # this process wrote it
