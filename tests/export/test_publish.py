"""Publishing: whole or not at all, whatever gets in the way."""

import os
import shutil
import stat
import threading

import pytest
from publishing import make_notes, names, put
from samples import snapshot

import lenet_runtime
from lenet_export import publish
from lenet_runtime.artifact import GOLDEN_NAME, MANIFEST_NAME, Artifact
from lenet_runtime.errors import ArtifactError

# ---- what is in the way


def test_publishing_to_nothing_makes_parents_too(new, tmp_path):
    target = tmp_path / "deep" / "er" / "a"
    artifact = put(new, target)
    assert artifact.path == target
    assert snapshot(target) == snapshot(new)
    assert names(target.parent) == ["a"]


def test_an_empty_folder_is_taken(new, tmp_path):
    (tmp_path / "a").mkdir()
    assert snapshot(put(new, tmp_path / "a").path) == snapshot(new)


def test_an_artifact_is_replaced_only_with_force(old, new):
    before = snapshot(old)
    with pytest.raises(ArtifactError, match="already; pass force=True to replace it"):
        put(new, old)
    assert snapshot(old.parent) == {f"a/{name}": data for name, data in before.items()}
    put(new, old, force=True)
    assert snapshot(old) == snapshot(new)
    assert names(old.parent) == ["a"]


def web_app(target):
    target.mkdir()
    (target / "manifest.json").write_text('{"name": "my app", "start_url": "/"}')
    (target / "index.html").write_text("precious")


def link_to(make):
    return lambda target: (make(target.with_name("other")), target.symlink_to("other"))


IN_THE_WAY = {
    "a file": lambda target: target.write_text("precious"),
    "notes": make_notes,
    "a web app": web_app,
    "a folder for a manifest": lambda target: (target / "manifest.json").mkdir(parents=True),
    "a link to a file": link_to(lambda target: target.write_text("precious")),
    "a link to a folder": link_to(make_notes),
    "a link to nothing": lambda target: target.symlink_to("nowhere"),
    "a fifo": os.mkfifo,
}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("make", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_what_is_not_ours_is_refused_even_with_force(new, tmp_path, make, force):
    site = tmp_path / "site"
    site.mkdir()
    make(site / "a")
    before, listing = snapshot(site), names(site)
    for attempt in (publish.check_target, lambda t, f: put(new, t, f)):
        with pytest.raises(ArtifactError, match=r"expected (an artifact|a folder) or nothing"):
            attempt(site / "a", force)
    assert (snapshot(site), names(site)) == (before, listing)


def test_a_link_to_an_artifact_is_refused_too(old, new):
    """Deployments point a link at an artifact; replacing the link would be somebody else's job."""
    link = old.with_name("current")
    link.symlink_to("a")
    with pytest.raises(ArtifactError, match="found another kind of file"):
        put(new, link, force=True)
    assert link.is_symlink()


@pytest.mark.parametrize("damage", [MANIFEST_NAME, GOLDEN_NAME, "model.onnx", "no golden"])
def test_a_damaged_artifact_can_be_replaced(old, new, damage):
    if damage == "no golden":
        (old / GOLDEN_NAME).unlink()
    else:
        (old / damage).write_bytes(b"{")
    put(new, old, force=True)
    assert snapshot(old) == snapshot(new)


def test_export_looks_at_the_target_before_it_works(net, old, monkeypatch):
    import lenet_export
    from lenet_export.formats import onnx

    monkeypatch.setattr(onnx, "build", lambda request: pytest.fail("it was built"))
    with pytest.raises(ArtifactError, match="pass force=True"):
        lenet_export.export(net, "onnx", old)


@pytest.mark.parametrize("force", [False, True])
def test_what_appears_at_the_last_instant_is_not_lost(new, tmp_path, monkeypatch, force):
    """Between the look at the target and the rename, somebody puts a folder there."""
    target, check = tmp_path / "site" / "a", publish.check_target
    calls = []

    def late(path, forced):
        check(path, forced)
        calls.append(path)
        if len(calls) == 1:
            make_notes(target)

    monkeypatch.setattr(publish, "check_target", late)
    with pytest.raises(ArtifactError, match="a folder of other files"):
        put(new, target, force)
    assert snapshot(target) == {"notes.txt": b"precious"}
    assert names(target.parent) == ["a"]


def test_an_artifact_that_appears_at_the_last_instant_stays_without_force(
    old, new, tmp_path, monkeypatch
):
    target, check = tmp_path / "b", publish.check_target

    def late(path, forced):
        check(path, forced)
        if not target.exists():
            shutil.copytree(old, target)

    monkeypatch.setattr(publish, "check_target", late)
    with pytest.raises(ArtifactError, match="already"):
        put(new, target)
    assert snapshot(target) == snapshot(old)


def test_what_is_staged_must_be_an_artifact(old, new):
    """A file that the manifest does not list would be published, and never read."""
    before = snapshot(old)
    (new / "stray").write_text("")
    with pytest.raises(ArtifactError, match=r"not listed in the manifest .*\['stray'\]"):
        put(new, old, force=True)
    assert snapshot(old) == before
    assert names(old.parent) == ["a"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_whatever_stops_the_work_leaves_nothing(tmp_path, kind):
    def stop_half_way(folder):
        publish.write_files(folder, {"model": b"half"})
        raise kind

    with pytest.raises(kind), publish.staging(tmp_path / "new" / "a") as folder:
        stop_half_way(folder)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_there_stays_when_the_work_stops(tmp_path):
    (tmp_path / "site").mkdir()
    with pytest.raises(RuntimeError), publish.staging(tmp_path / "site" / "new" / "a"):
        raise RuntimeError
    assert names(tmp_path) == ["site"]
    assert not list((tmp_path / "site").iterdir())


@pytest.mark.parametrize("mask", [0, 0o002, 0o022, 0o027, 0o077])
def test_permissions_follow_the_umask_and_never_let_others_write(new, tmp_path, mask):
    """Whoever can write a file, or a folder above it, can change what it answers."""
    before = os.umask(mask)
    try:
        target = put(new, tmp_path / "site" / "a").path
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(p.stat().st_mode) for p in target.iterdir()}
    assert modes == {0o644 & ~mask}
    for folder in (target, target.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755 & ~mask


def test_what_is_published_opens(new, tmp_path):
    artifact = put(new, tmp_path / "site" / "a")
    assert artifact == Artifact.open(tmp_path / "site" / "a")
    assert artifact.manifest.tools == {"made by": "the new one"}


def test_loading_outlasts_an_export_that_replaces_the_folder(onnx_artifact, tmp_path):
    """A reader holds the old folder while it is deleted, or reads half of each."""
    target, files = tmp_path / "onnx", {}
    shutil.copytree(onnx_artifact.path, target)
    for file in target.iterdir():
        files[file.name] = file.read_bytes()
    done = threading.Event()

    def replace():
        while not done.wait(0.02):  # a load must have time to end between two exports
            with publish.staging(target) as folder:
                publish.write_files(folder, files)
                publish.publish(folder, target, force=True)

    exporter = threading.Thread(target=replace)
    exporter.start()
    try:
        for _ in range(200):
            lenet_runtime.load(target).close()
    finally:
        done.set()
        exporter.join()
