"""Publishing: whole or not at all, whatever dies, fills up, or gets in the way."""

import contextlib
import dataclasses
import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from processes import python
from samples import snapshot

import lenet_runtime
from lenet_export import publish
from lenet_runtime.artifact import GOLDEN_NAME, MANIFEST_NAME, Artifact
from lenet_runtime.errors import ArtifactError

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
FSYNCS = 5  # of three files, of the staging folder, and of the parent after the exchange


def child(source, target, point="0", force=True, **kwargs):
    words = [sys.executable, "-c", CHILD, source, target, point, "force" if force else ""]
    return subprocess.Popen(list(map(str, words)), text=True, **kwargs)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def put(source: Path, target: Path, force=False):
    """Publish copies of `source`'s files."""
    with publish.staging(target) as folder:
        publish.write_files(folder, {p.name: p.read_bytes() for p in source.iterdir()})
        return publish.publish(folder, target, force)


@pytest.fixture
def old(onnx_artifact, tmp_path):
    """The target, in a folder of its own, with an artifact in it."""
    return shutil.copytree(onnx_artifact.path, tmp_path / "site" / "a")


@pytest.fixture
def new(onnx_artifact, tmp_path):
    """A folder with the files of another artifact, told by its manifest."""
    folder = shutil.copytree(onnx_artifact.path, tmp_path / "new")
    manifest = dataclasses.replace(onnx_artifact.manifest, tools={"made by": "the new one"})
    (folder / MANIFEST_NAME).write_bytes(manifest.to_bytes())
    return folder


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
    with pytest.raises(ArtifactError, match="already; pass --force to replace it"):
        put(new, old)
    assert snapshot(old.parent) == {f"a/{name}": data for name, data in before.items()}
    put(new, old, force=True)
    assert snapshot(old) == snapshot(new)
    assert names(old.parent) == ["a"]


def make_file(target):
    target.write_text("precious")


def make_notes(target):
    target.mkdir()
    (target / "notes.txt").write_text("precious")


def make_web_app(target):
    target.mkdir()
    (target / "manifest.json").write_text('{"name": "my app", "start_url": "/"}')
    (target / "index.html").write_text("precious")


def make_manifest_folder(target):
    (target / "manifest.json").mkdir(parents=True)


def make_link_to_file(target):
    target.with_name("file").write_text("precious")
    target.symlink_to("file")


def make_link_to_folder(target):
    make_notes(target.with_name("folder"))
    target.symlink_to("folder")


def make_link_to_nothing(target):
    target.symlink_to("nowhere")


def make_fifo(target):
    os.mkfifo(target)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "make",
    [make_file, make_notes, make_web_app, make_manifest_folder, make_link_to_file,
     make_link_to_folder, make_link_to_nothing, make_fifo],
)  # fmt: skip
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
    with pytest.raises(ArtifactError, match="pass --force"):
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
    """A file that the manifest does not list would make every reader refuse it."""
    before = snapshot(old)
    (new / "stray").write_text("")
    with pytest.raises(ArtifactError, match=r"not listed \['stray'\]"):
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


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_permissions_follow_the_umask(new, tmp_path, mask):
    before = os.umask(mask)
    try:
        target = put(new, tmp_path / "site" / "a").path
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(p.stat().st_mode) for p in target.iterdir()}
    assert modes == {0o666 & ~mask}
    assert stat.S_IMODE(target.stat().st_mode) == 0o777 & ~mask


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


# ---- disks


@contextlib.contextmanager
def mounted(folder: Path, size: str):
    """A small file system of its own; needs root."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"cannot mount a tmpfs: {error}")
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_costs_nothing(old, new, tmp_path):
    """A real one: there is room for one artifact and a half."""
    with mounted(tmp_path / "disk", "544k") as disk:
        target = shutil.copytree(old, disk / "a")
        before = snapshot(disk)
        with pytest.raises(ArtifactError, match=r"No space left on device.*was there before is"):
            put(new, target, force=True)
        assert snapshot(disk) == before
        assert names(disk) == ["a"]
        lenet_runtime.load(target).close()


def test_a_read_only_disk_says_so(old, new, tmp_path):
    with mounted(tmp_path / "disk", "2m") as disk:
        target = shutil.copytree(old, disk / "a")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(ArtifactError, match=r"cannot write here .Read-only file system"):
            put(new, target, force=True)
        lenet_runtime.load(target).close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write where modes forbid it")
def test_a_folder_without_permission_says_so(old, new):
    old.parent.chmod(0o555)
    with pytest.raises(ArtifactError, match=r"cannot write here .Permission denied"):
        put(new, old, force=True)


@pytest.mark.parametrize("count", range(1, FSYNCS))
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_any_flush_costs_nothing(old, new, monkeypatch, count, code):
    """Full disks with late allocation answer only at fsync."""
    before, fsync, calls = snapshot(old.parent), os.fsync, []

    def failing(descriptor):
        calls.append(descriptor)
        if len(calls) == count:
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(publish.os, "fsync", failing)
    with pytest.raises(ArtifactError, match=os.strerror(code)):
        put(new, old, force=True)
    assert snapshot(old.parent) == before
    assert names(old.parent) == ["a"]


def test_a_parent_that_is_a_file_says_so(new, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=r"file: cannot write here \((File exists|Not a dir)"):
        put(new, tmp_path / "file" / "a")
    with pytest.raises(ArtifactError, match="cannot write here"):
        put(new, tmp_path / "file" / "deeper" / "a")
    with pytest.raises(ArtifactError, match="File name too long"):
        put(new, tmp_path / ("a" * 250))


def test_a_rename_across_a_mount_point_says_so(new, tmp_path):
    """The target is a disk of its own: a folder cannot be moved onto it."""
    with (
        mounted(tmp_path / "disk", "2m") as disk,
        pytest.raises(ArtifactError, match="cannot publish"),
    ):
        put(new, disk)
    assert names(tmp_path) == ["disk", "new"]


# ---- systems that cannot exchange two folders


class NoSuchCall:
    """A C library without renameat2 (macOS, musl of old)."""


def refusing(code):
    class Libc:
        @staticmethod
        def renameat2(*arguments):
            publish.ctypes.set_errno(code)
            return -1

    return Libc()


OLD_SYSTEMS = [NoSuchCall(), refusing(errno.ENOSYS), refusing(errno.EINVAL)]


@pytest.mark.parametrize("libc", OLD_SYSTEMS, ids=["none", "ENOSYS", "EINVAL"])
def test_without_the_system_call_two_renames_do(old, new, monkeypatch, libc):
    monkeypatch.setattr(publish.ctypes, "CDLL", lambda *args, **kwargs: libc)
    put(new, old, force=True)
    assert snapshot(old) == snapshot(new)
    assert names(old.parent) == ["a"]


def test_a_refused_exchange_costs_nothing(old, new, monkeypatch):
    before = snapshot(old)
    monkeypatch.setattr(publish.ctypes, "CDLL", lambda *args, **kwargs: refusing(errno.EPERM))
    with pytest.raises(ArtifactError, match=r"cannot publish .Operation not permitted"):
        put(new, old, force=True)
    assert snapshot(old) == before
    assert names(old.parent) == ["a"]


@pytest.mark.parametrize("failing", ["first", "second"])
def test_two_renames_of_which_one_fails_cost_nothing(old, new, monkeypatch, failing):
    before, rename = snapshot(old), Path.rename

    def deny(self, target):
        moves_away = ".replaced-" in Path(target).name
        brings_new = ".staging-" in self.name and not old.exists()
        if moves_away if failing == "first" else brings_new:
            raise PermissionError(errno.EACCES, "no")
        return rename(self, target)

    monkeypatch.setattr(publish.ctypes, "CDLL", lambda *args, **kwargs: NoSuchCall())
    monkeypatch.setattr(Path, "rename", deny)
    with pytest.raises(ArtifactError, match=r"cannot publish \(no\)"):
        put(new, old, force=True)
    assert snapshot(old) == before
    assert names(old.parent) == ["a"]


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
