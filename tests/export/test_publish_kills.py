"""Publishing while processes die and others publish at once: whole or not at all."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import python
from publishing import FSYNCS, make_notes, names, put
from samples import snapshot

import lenet_runtime
from lenet_export import publish

# A process that publishes SOURCE to TARGET. POINT is the number of the fsync at which it is
# killed (0: never), or "hold": it waits in staging until its stdin closes.
CHILD = """
import os, signal, sys
from pathlib import Path
from lenet_export import publish
from lenet_runtime.errors import ArtifactError

source, target, point, force = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
left, fsync = [int(point) if point.isdigit() else 0], os.fsync

def deadly(descriptor):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)

os.fsync = deadly
if point.startswith("rename"):  # where the system cannot exchange folders
    renames, rename = [int(point[6:])], Path.rename

    def deadly_rename(self, other):
        renames[0] -= 1
        if renames[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, other)

    publish._swapped, Path.rename = lambda new, old: False, deadly_rename
try:
    with publish.staging(target) as folder:
        if point == "hold":
            print(folder.name, flush=True)
            sys.stdin.read()
        publish.write_files(folder, {p.name: p.read_bytes() for p in sorted(source.iterdir())})
        publish.publish(folder, target, force == "force")
except ArtifactError as error:
    sys.exit(str(error))
"""


def child(source, target, point="0", force=True, **kwargs):
    words = [sys.executable, "-c", CHILD, source, target, point, "force" if force else ""]
    return subprocess.Popen(list(map(str, words)), text=True, **kwargs)


# ---- processes that are killed


@pytest.mark.parametrize("point", range(1, FSYNCS + 1))
def test_a_kill_at_any_point_leaves_one_whole_artifact(old, new, point):
    """The old one until the exchange, the new one from there; both load."""
    before = snapshot(old)
    assert child(new, old, point).wait() == -signal.SIGKILL
    assert snapshot(old) == (before if point < FSYNCS else snapshot(new))
    lenet_runtime.load(old).close()
    (orphan,) = [name for name in names(old.parent) if name != "a"]
    assert orphan.startswith(".a.staging-")
    with publish.staging(old):
        assert orphan not in names(old.parent)
    assert names(old.parent) == ["a"]


def test_the_kills_above_cover_every_fsync(old, new):
    assert child(new, old, FSYNCS + 1).wait() == 0
    assert snapshot(old) == snapshot(new)


@pytest.mark.parametrize("point", [1, 2, 3])
def test_a_kill_between_two_renames_is_mended_by_the_next_export(old, new, point):
    """Of the three renames, the first finds the name taken, the second puts the old one aside."""
    before = snapshot(old)
    assert child(new, old, f"rename{point}").wait() == -signal.SIGKILL
    assert old.exists() == (point < 3)
    with publish.staging(old):
        assert snapshot(old) == before
    assert names(old.parent) == ["a"]
    assert child(new, old, "rename4").wait() == 0
    assert snapshot(old) == snapshot(new)
    assert names(old.parent) == ["a"]


@pytest.mark.parametrize(
    ("left", "kept"),
    [(["golden.npz"], "the copy"), (["golden.npz", "notes.txt"], "both"), (None, "the target")],
    ids=["half deleted", "somebody's", "whole"],
)
def test_what_a_killed_copy_left_is_put_back_and_nothing_else_is_touched(old, left, kept):
    """On an overlay the old one is copied aside and then deleted, file by file."""
    before, aside = snapshot(old), old.with_name(f".a.replaced-{'0' * 16}")
    shutil.copytree(old, aside)
    if left is not None:
        for file in old.iterdir():
            if file.name not in left:
                file.unlink()
        (old / left[-1]).write_bytes(b"notes")
    remains = snapshot(old)
    with publish.staging(old):
        pass
    assert snapshot(old) == (remains if kept == "both" else before)
    assert aside.exists() == (kept == "both")


def test_a_kill_where_nothing_was_leaves_nothing_at_the_name(new, tmp_path):
    target = tmp_path / "site" / "a"
    assert child(new, target, 2).wait() == -signal.SIGKILL
    assert not target.exists()
    assert snapshot(put(new, target).path) == snapshot(new)
    assert names(target.parent) == ["a"]


def test_a_kill_in_a_real_export_costs_nothing(net, torchscript_artifact, copy_of, tmp_path):
    target = copy_of(torchscript_artifact)
    before = snapshot(target)
    script = (
        "import os, signal, sys, torch, lenet_export; from lenet_export import publish;"
        "from lenet_deploy.training.model import Net;"
        "publish.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
        "lenet_export.export(Net(), 'torchscript', sys.argv[1], force=True, batch_sizes=[1])"
    )
    python(script, target, exits=-signal.SIGKILL)
    assert snapshot(target) == before
    assert len(names(tmp_path)) == 2
    lenet_runtime.load(target, trust=True).close()


def test_a_folder_in_use_is_not_swept(old, new):
    """Until its process is gone."""
    with child(new, old, "hold", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        folder = old.parent / holder.stdout.readline().strip()
        (folder / "proof").touch()
        with publish.staging(old):
            assert (folder / "proof").exists()
        holder.kill()
    with publish.staging(old):
        assert not folder.exists()


@pytest.mark.parametrize(
    "name", [".b.staging-0123456789abcdef", ".a.staging-notes", ".a.staging-0123456789abcdef.old"]
)
def test_only_our_own_orphans_are_swept(old, name):
    (old.parent / name).mkdir()
    with publish.staging(old):
        pass
    assert (old.parent / name).is_dir()


def test_a_link_that_looks_like_an_orphan_is_not_followed(old, tmp_path):
    make_notes(tmp_path / "elsewhere")
    (old.parent / ".a.staging-0123456789abcdef").symlink_to(tmp_path / "elsewhere")
    with publish.staging(old):
        pass
    assert snapshot(tmp_path / "elsewhere") == {"notes.txt": b"precious"}


def test_brackets_in_a_name_are_no_pattern(new, tmp_path):
    """The orphan of `a[b]` is swept; that of `ab`, which the pattern means, is not."""
    token = "0123456789abcdef"
    for name in ("a[b]", "ab"):
        (tmp_path / f".{name}.staging-{token}").mkdir()
    put(new, tmp_path / "a[b]")
    assert names(tmp_path) == [f".ab.staging-{token}", "a[b]", "new"]


def test_a_folder_that_is_swept_before_its_lock_is_made_again(tmp_path, monkeypatch):
    opened, attempts = os.open, []

    def late(path, *args, **kwargs):
        if not attempts:
            attempts.append(path)
            Path(path).rmdir()
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(publish.os, "open", late)
    with publish.staging(tmp_path / "a") as folder:
        assert folder.is_dir()
        assert folder != attempts[0]


# ---- several processes at once


def test_of_exports_at_once_without_force_exactly_one_wins(new, tmp_path):
    target = tmp_path / "site" / "a"
    rivals = [child(new, target, force=False, stderr=subprocess.PIPE) for _ in range(4)]
    errors = [rival.communicate()[1] for rival in rivals]
    assert sorted(rival.returncode for rival in rivals) == [0, 1, 1, 1]
    assert sum("an artifact is there already" in error for error in errors) == 3
    assert snapshot(target) == snapshot(new)
    assert names(target.parent) == ["a"]


def test_exports_at_once_with_force_end_with_one_whole_artifact(old, new):
    rivals = [child(new, old) for _ in range(4)]
    assert [rival.wait() for rival in rivals] == [0, 0, 0, 0]
    assert snapshot(old) == snapshot(new)
    assert names(old.parent) == ["a"]
