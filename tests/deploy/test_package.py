"""`package`: whole or not at all, and nothing that is not ours is replaced."""

import dataclasses
import hashlib
import json
import os
import stat

import pytest
from artifact_files import write_artifact
from cli_helper import run

from lenet_deploy.packaging import TARGETS, Package, Target, write
from lenet_deploy.packaging.target import RECORD_NAME, filled
from lenet_export import publish
from lenet_runtime import Artifact
from lenet_runtime.errors import ArtifactError, InputError

CONTENT = {"a.txt": b"one", "deep/er/run.sh": b"#!/bin/sh\n", "deep/lib.so": b"\x7fELF\0\xff"}
TARGET = Target("any", "a target of tests", lambda package: CONTENT)


@pytest.fixture(scope="module")
def artifact(exported):
    return Artifact.open(exported("native").path)


@pytest.fixture
def package(artifact):
    return Package(artifact)


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_package_has_binary_files_scripts_and_a_record_of_them(package, tmp_path):
    paths = write(TARGET, package, tmp_path / "new" / "p")
    written = content(tmp_path / "new" / "p")
    record = json.loads(written.pop(RECORD_NAME))
    assert written == CONTENT
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert record["artifact"] == package.artifact.digest
    assert record["files"]["a.txt"] == hashlib.sha256(b"one").hexdigest()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in paths]
    assert modes == [0o644, 0o755, 0o644]


def test_an_artifact_is_copied_to_the_byte(package, artifact):
    files = package.artifact_files("models/1")
    assert {name.removeprefix("models/1/"): data for name, data in files.items()} == {
        p.name: p.read_bytes() for p in artifact.path.iterdir()
    }


def test_a_manifest_is_copied_as_it_was_hashed_or_not_at_all(tmp_path):
    """An int8 artifact says `0` where a float is; another program may lay it out anew."""
    folder = write_artifact(tmp_path / "a")
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text())))
    package = Package(Artifact.open(folder))
    assert package.artifact_files("b")["b/manifest.json"] == manifest.read_bytes()
    manifest.write_text(manifest.read_text() + " ")
    with pytest.raises(ArtifactError, match="was replaced while it was packaged"):
        package.artifact_files("b")


def test_an_artifact_that_nobody_has_proven_is_refused(artifact):
    parity = dataclasses.replace(artifact.manifest.parity, comparisons=())
    manifest = dataclasses.replace(artifact.manifest, parity=parity)
    with pytest.raises(ArtifactError, match=r"nobody has proven it.*verify .* --record"):
        Package(dataclasses.replace(artifact, manifest=manifest))


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "a\nb", "x" * 129, "é", "a'"])
def test_names_that_no_server_takes_are_refused(artifact, name):
    with pytest.raises(InputError, match=r"^name: expected letters"):
        Package(artifact, name)


def test_a_package_is_replaced_by_force_alone(package, tmp_path):
    write(TARGET, package, tmp_path / "p")
    (tmp_path / "p" / "a.txt").write_text("edited")
    with pytest.raises(InputError, match=r"already; pass force=True"):
        write(TARGET, package, tmp_path / "p")
    smaller = dataclasses.replace(TARGET, files=lambda package: {"b": b"two"})
    write(smaller, package, tmp_path / "p", force=True)
    assert set(content(tmp_path / "p")) == {"b", RECORD_NAME}
    assert os.listdir(tmp_path) == ["p"]


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_text("precious"),
        lambda path: path.symlink_to("nowhere"),
        lambda path: (path.mkdir(), (path / "notes").write_text("precious")),
        lambda path: (path.mkdir(), (path / RECORD_NAME).write_text('{"files": 3}')),
        lambda path: (path.mkdir(), (path / RECORD_NAME).write_text("[]"), (path / "x").touch()),
        lambda path: (path.mkdir(), (path / RECORD_NAME).mkdir(), (path / "x").touch()),
    ],
)
def test_what_is_not_ours_is_never_replaced(package, tmp_path, make):
    make(tmp_path / "p")
    with pytest.raises(InputError, match=r"expected a (package|folder) or nothing, found"):
        write(TARGET, package, tmp_path / "p", force=True)


def test_a_file_beside_ours_is_never_lost(package, tmp_path):
    write(TARGET, package, tmp_path / "p")
    (tmp_path / "p" / "deep" / "values.yaml").write_text("precious")
    with pytest.raises(InputError, match=r"'deep/values.yaml' among them"):
        write(TARGET, package, tmp_path / "p", force=True)


def test_a_full_disk_leaves_nothing_and_keeps_the_old(package, tmp_path, monkeypatch):
    write(TARGET, package, tmp_path / "p")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publish.os, "fsync", full)
    for name in ("p", "new"):
        with pytest.raises(ArtifactError, match=r"No space left on device"):
            write(TARGET, package, tmp_path / name, force=True)
    assert os.listdir(tmp_path) == ["p"]
    assert content(tmp_path / "p").keys() == {*CONTENT, RECORD_NAME}


def test_a_template_with_a_gap_is_a_fault_of_ours():
    with pytest.raises(AssertionError, match=r"nothing fills"):
        filled("systemd/lenet.service", {})


def test_the_command_says_files_and_json(artifact, tmp_path):
    words = ("package", artifact.path, "--target", "systemd", "-o", tmp_path / "p")
    lines = run(*words).stdout.splitlines()
    assert all(line.startswith(str(tmp_path / "p")) for line in lines)
    assert "pass --force to replace" in run(*words, code=2).stderr
    told = json.loads(run(*words, "--force", "--json").stdout)
    assert told["files"] == lines
    assert told["artifact"] == artifact.digest


def test_a_target_that_is_not_there_is_a_usage_error(artifact, tmp_path):
    result = run("package", artifact.path, "--target", "systmd", "-o", tmp_path / "p", code=2)
    assert "did you mean systemd?" in result.stderr
    assert not list(tmp_path.iterdir())


def test_help_has_a_line_for_each_target():
    text = run("package", "--help").stdout
    for target in TARGETS.values():
        assert f" {target.name}: {target.summary.split()[0]}" in text
