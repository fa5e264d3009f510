"""Artifacts in volumes, in caches by content and on layers: swapped, linked, read-only."""

import os
import shutil
import threading

import numpy as np
import pytest
from artifact_files import open_descriptors, read_all, replace_file, write_artifact
from publishing import put
from samples import noise, snapshot
from volumes import contents, hugging_face, kubelet, mounted, read_only

import lenet_runtime
from lenet_runtime.artifact import Artifact, Manifest
from lenet_runtime.errors import ArtifactError


def numbered(folder, number):
    """An artifact whose files say which it is, so that a mixture would show."""
    replace_file(write_artifact(folder), "model.fake", str(number).encode())
    return replace_file(folder, "golden.npz", str(number).encode() * 100)


@pytest.mark.parametrize("below", ["", "lenet/1/"], ids=["flat", "a folder of models"])
def test_a_volume_that_is_swapped_is_read_whole(tmp_path, below):
    """200 times as kubelet does, while somebody loads: not one refused, not one mixture."""
    releases = [contents(numbered(tmp_path / str(n), n), below) for n in range(2)]
    volume, stop = kubelet(tmp_path / "volume", releases[0]), threading.Event()
    seen, failed = set(), []

    def read():
        while not stop.is_set():
            try:
                files = read_all(volume / below)
                assert files["golden.npz"] == files["model.fake"] * 100
                seen.add(files["model.fake"])
            except Exception as error:
                failed.append(error)

    before = open_descriptors()
    reader = threading.Thread(target=read)
    reader.start()
    for number in range(200):
        kubelet(volume, releases[number % 2])
    stop.set()
    reader.join()
    assert not failed
    assert seen == {b"0", b"1"}
    assert open_descriptors() == before


def test_links_into_a_folder_that_is_swapped_meanwhile(tmp_path, monkeypatch):
    """Here the artifact's own folder never changes: only what its files' links lead through."""
    for name in ("old", "new"):
        replace_file(write_artifact(tmp_path / name), "model.fake", name.encode())
    now, folder, from_bytes = tmp_path / "now", tmp_path / "folder", Manifest.from_bytes
    now.symlink_to("old")
    folder.mkdir()
    for name in contents(tmp_path / "old"):
        (folder / name).symlink_to(now / name)

    def swap_then_parse(data, where):
        (tmp_path / "next").symlink_to("new")
        (tmp_path / "next").replace(now)
        return from_bytes(data, where)

    monkeypatch.setattr(Manifest, "from_bytes", swap_then_parse)
    assert Artifact.open(folder).read("model.fake") == b"new"


def test_what_stays_a_mixture_is_refused(tmp_path):
    """A copy that was made half way is no swap: nothing more comes."""
    old, new = numbered(tmp_path / "old", 1), numbered(tmp_path / "new", 2)
    shutil.copy(new / "manifest.json", old)
    with pytest.raises(ArtifactError, match=r"model\.fake: expected 1 bytes with SHA-256"):
        Artifact.open(old)


def answers(path):
    with lenet_runtime.load(path, trust=True) as session:
        return session.run(noise(3))


def test_a_cache_by_content_answers_and_stays_as_it_is(native_artifact, tmp_path):
    """Links to blobs, as of Hugging Face, and hard links, as of pip, uv and conda."""
    expected = answers(native_artifact.path)
    linked = shutil.copytree(native_artifact.path, tmp_path / "linked", copy_function=os.link)
    for path in (hugging_face(tmp_path / "cache", native_artifact.path), linked):
        before = snapshot(path.parent)
        np.testing.assert_array_equal(answers(path), expected)
        assert snapshot(path.parent) == before


def test_a_volume_that_is_read_only_and_without_programs_answers(native_artifact, tmp_path):
    """The library's bytes are loaded from memory, so noexec is no obstacle; nothing is written."""
    with read_only(native_artifact.path, tmp_path / "volume") as volume:
        np.testing.assert_array_equal(answers(volume), answers(native_artifact.path))
        with pytest.raises(OSError, match="Read-only file system"):
            (volume / "lock").touch()


def test_layers_of_an_image_answer(native_artifact, tmp_path):
    """An artifact in an overlay's lower layer, which nobody can write; and whited out above it."""
    layers = [tmp_path / name for name in ("image", "own", "work")]
    for layer in layers:
        layer.mkdir()
    shutil.copytree(native_artifact.path, layers[0] / "a")
    options = "lowerdir={},upperdir={},workdir={}".format(*layers)
    with mounted("-t", "overlay", "-o", options, "overlay", tmp_path / "merged") as merged:
        np.testing.assert_array_equal(answers(merged / "a"), answers(native_artifact.path))
        assert not any(layers[1].iterdir())
        (merged / "a" / "lenet.so").unlink()
        with pytest.raises(ArtifactError, match=r"lenet\.so: cannot be read \(No such file"):
            answers(merged / "a")


def test_an_export_leaves_what_others_publish(tmp_path, old, new):
    """Behind links, a volume's next swap or the cache's own hash would be at odds with it."""
    volume = kubelet(tmp_path / "volume" / "a", contents(old))
    cached = hugging_face(tmp_path / "cache", old)
    before = snapshot(tmp_path)
    for target in (volume, cached):
        with pytest.raises(ArtifactError, match=r"own files, found links.*choose another output"):
            put(new, target, force=True)
    assert snapshot(tmp_path) == before
