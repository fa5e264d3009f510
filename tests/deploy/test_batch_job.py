"""What a batch job leaves behind at every moment, and how it is gone on with."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from batch_jobs import PARTS, ROWS, digest, rows_of, serially, write_pictures, write_pixels

from lenet_deploy import batch
from lenet_deploy.batch import running
from lenet_deploy.batch.job import DONE, locked
from lenet_runtime.errors import ArtifactError, DeployError, InputError

OUTPUTS = ["labels.parquet", "labels.csv", "labels.jsonl", "out/"]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setitem(running.ENGINES, "local", lambda address: serially)


@pytest.fixture
def pixels(tmp_path):
    return str(write_pixels(tmp_path / "in"))


named = "{}/{}".format  # an output in a folder, with the slash that a path would lose


@pytest.fixture
def snapshots(monkeypatch, tmp_path):
    """`snapshots(folder)`: from then on, a copy of the folder before each step that changes it.

    What a kill leaves behind is what is on disk at that moment.
    """
    copies = []

    def watch(folder):
        def before(owner, name):
            step = getattr(owner, name)

            def stepped(*arguments, **options):
                with monkeypatch.context() as original:
                    for owner_, name_, step_ in steps:
                        original.setattr(owner_, name_, step_)
                    copy = tmp_path / f"snapshot-{len(copies)}"
                    shutil.copytree(folder, copy)
                    copies.append((f"{name} {arguments[0]}", copy))
                return step(*arguments, **options)

            monkeypatch.setattr(owner, name, stepped)

        steps = [
            (owner, name, getattr(owner, name))
            for owner, name in (
                (os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "rmdir"),
                (shutil, "rmtree"), (Path, "mkdir"),
            )
        ]  # fmt: skip
        for owner, name, _ in steps:
            before(owner, name)
        return copies

    return watch


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("force", [False, True])
def test_a_kill_at_any_step_loses_and_doubles_nothing(
    output, force, pixels, tmp_path, snapshots, monkeypatch
):
    folder = tmp_path / "job"
    folder.mkdir()
    if force:  # an earlier output, of more parts and other rows
        other = write_pixels(tmp_path / "other", parts=PARTS + 1, rows=5)
        batch.run([str(other)], named(folder, output))
    with monkeypatch.context():
        copies = snapshots(folder)
        batch.run([pixels], named(folder, output), force=force)
        monkeypatch.undo()
    monkeypatch.setitem(running.ENGINES, "local", lambda address: serially)
    expected = digest(folder)
    assert len(copies) > 20
    late = set()
    for step, copy in copies:
        try:
            summary = batch.run([pixels], named(copy, output), resume=True)
        except InputError:  # it was killed before it had begun: the old output is there
            assert force, step
            summary = batch.run([pixels], named(copy, output), force=True)
            late.add(step)
        assert summary.rows == PARTS * ROWS, step
        assert digest(copy) == expected, step
    assert len(late) <= 4


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_old_output_stays_until_the_new_one_is_whole(output, pixels, tmp_path, monkeypatch):
    batch.run([pixels], named(tmp_path, output))
    place = tmp_path / output
    before = digest(place)

    def fails(*arguments, **options):
        yield from list(serially(*arguments, **options))[:1]
        assert hidden(place) == before
        raise DeployError("the engine failed")

    def hidden(place):
        if place.is_dir():
            place = shutil.copytree(place, tmp_path / "copy", ignore=lambda *_: [".job"])
        return digest(place)

    monkeypatch.setitem(running.ENGINES, "local", lambda address: fails)
    with pytest.raises(DeployError, match="the engine failed"):
        batch.run([pixels], named(tmp_path, output), top_k=2, force=True)
    monkeypatch.setitem(running.ENGINES, "local", lambda address: serially)
    summary = batch.run([pixels], named(tmp_path, output), top_k=2, resume=True)
    assert (summary.rows, summary.rows_before) == (PARTS * ROWS, ROWS)
    assert digest(place) != before


def test_a_torn_line_of_the_list_is_done_again(pixels, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def dies(*arguments, **options):
        yield next(serially(*arguments, **options))
        raise Killed

    monkeypatch.setitem(running.ENGINES, "local", lambda address: dies)
    with contextlib.suppress(Killed):
        batch.run([pixels], tmp_path / "labels.parquet")
    (journal,) = tmp_path.glob(f".labels.parquet.job/*/{DONE}")
    journal.write_bytes(journal.read_bytes() + b'{"number": 1, "ro')
    monkeypatch.setitem(running.ENGINES, "local", lambda address: serially)
    summary = batch.run([pixels], tmp_path / "labels.parquet", resume=True)
    assert (summary.rows, summary.rows_before) == (PARTS * ROWS, ROWS)
    assert len(rows_of(tmp_path / "labels.parquet")) == PARTS * ROWS


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_that_exists_is_refused(output, pixels, tmp_path):
    first = batch.run([pixels], named(tmp_path, output))
    before = digest(tmp_path / output)
    with pytest.raises(InputError, match=r"is there already; pass force=True"):
        batch.run([pixels], named(tmp_path, output))
    again = batch.run([pixels], named(tmp_path, output), resume=True)
    assert (again.rows, again.rows_before, again.errors) == (first.rows, first.rows, 0)
    with pytest.raises(InputError, match=r"top_k was 3 and is 2; .*force=True"):
        batch.run([pixels], named(tmp_path, output), resume=True, top_k=2)
    assert digest(tmp_path / output) == before
    assert not list(tmp_path.glob(".*"))


def test_other_inputs_and_another_artifact_are_another_job(
    pixels, tmp_path, onnx_artifact, copy_of
):
    output = tmp_path / "labels.parquet"
    batch.run([pixels], output, artifact=onnx_artifact.path)
    other = copy_of(onnx_artifact)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest))  # the same weights, spaced otherwise
    with pytest.raises(InputError, match="artifact was"):
        batch.run([pixels], output, artifact=other, resume=True)
    write_pixels(tmp_path / "in", rows=ROWS + 1)
    with pytest.raises(InputError, match="its inputs have other names, sizes or times"):
        batch.run([pixels], output, artifact=onnx_artifact.path, resume=True)


@pytest.mark.parametrize("flag", ["force", "resume"])
def test_what_is_not_ours_is_never_touched(flag, pixels, tmp_path):
    precious = tmp_path / "precious.parquet"
    shutil.copy(f"{pixels}/pixels-000.parquet", precious)
    before = precious.read_bytes()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "part-000000.parquet").write_text("of Spark")
    (tmp_path / "table.csv").write_text("a,b\n")
    for name in ("precious.parquet", "folder", "table.csv"):
        with pytest.raises(InputError, match="something else, which is not touched"):
            batch.run([pixels], tmp_path / name, **{flag: True})
    assert precious.read_bytes() == before
    assert (tmp_path / "folder" / "part-000000.parquet").read_text() == "of Spark"
    assert not list(tmp_path.rglob(".*"))


def test_force_leaves_the_files_of_others_in_our_folder(pixels, tmp_path):
    batch.run([pixels], tmp_path / "out")
    (tmp_path / "out" / "README").write_text("mine")
    other = write_pixels(tmp_path / "other", parts=1)
    batch.run([str(other)], tmp_path / "out", force=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README", "_SUCCESS", "_job.json", "part-000000.parquet",
    ]  # fmt: skip


def test_the_metadata_say_which_artifact_answered(pixels, tmp_path, onnx_artifact):
    for output, file in (("a.parquet", "a.parquet"), ("out", "out/part-000001.parquet")):
        batch.run([pixels], tmp_path / output, artifact=onnx_artifact.path)
        own = pq.read_metadata(tmp_path / file).metadata
        assert json.loads(own[b"lenet_deploy"])["artifact"] == onnx_artifact.digest
        rows = PARTS * ROWS if output == "a.parquet" else ROWS
        assert json.loads(own[b"lenet_deploy_totals"]) == {"rows": rows, "errors": 0}
    batch.run([pixels], tmp_path / "a.csv", artifact=onnx_artifact.path)
    note = json.loads((tmp_path / "a.csv.job.json").read_text())
    assert note["job"]["artifact"] == onnx_artifact.digest
    assert note["totals"] == {"rows": PARTS * ROWS, "errors": 0, "parts": PARTS}
    assert json.loads((tmp_path / "out" / "_SUCCESS").read_text()) == note["totals"]


def test_another_process_on_the_same_output_is_refused(pixels, tmp_path):
    with (
        locked(tmp_path / ".labels.csv.job"),
        pytest.raises(DeployError, match="another process works on this output"),
    ):
        batch.run([pixels], tmp_path / "labels.csv", resume=True)
    batch.run([pixels], tmp_path / "labels.csv")


def test_the_output_may_not_be_an_input(tmp_path):
    write_pixels(tmp_path / "in")
    pattern = f"{tmp_path}/in/*.parquet"
    batch.run([pattern], tmp_path / "in" / "labels.csv")
    batch.run([pattern], tmp_path / "in" / "labels.parquet")
    for name in (pattern, str(tmp_path / "in")):
        with pytest.raises(InputError, match="is, or holds, one of the inputs"):
            batch.run([name], tmp_path / "in" / "labels.parquet", resume=True)
    with pytest.raises(InputError, match="is, or holds, one of the inputs"):
        batch.run([f"{tmp_path}/in/pixels-*"], tmp_path / "in", force=True)


def test_a_link_is_followed_to_another_file_system(pixels, tmp_path):
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")
    target = other / f"lenet-deploy-test-{os.getpid()}"
    target.mkdir()
    try:
        (tmp_path / "labels.parquet").symlink_to(target / "labels.parquet")
        batch.run([pixels], tmp_path / "labels.parquet")
        assert (tmp_path / "labels.parquet").is_symlink()
        assert os.listdir(target) == ["labels.parquet"]
    finally:
        shutil.rmtree(target)


def test_max_errors_stops_and_a_larger_number_goes_on(tmp_path):
    pixels = str(write_pictures(tmp_path / "in", bad=(3, 50, 90, 91)))
    output = tmp_path / "labels.parquet"
    with pytest.raises(DeployError, match=r"2 rows with an error, and max_errors=1 .*resume=True"):
        batch.run([pixels], output, max_errors=1, keep=["id"])
    with pytest.raises(DeployError, match=r"4 rows with an error, and max_errors=3"):
        batch.run([pixels], output, max_errors=3, keep=["id"], resume=True)
    summary = batch.run([pixels], output, max_errors=4, keep=["id"], resume=True)
    assert (summary.rows, summary.errors) == (PARTS * ROWS, 4)
    assert [row for _, row, _ in summary.first_errors] == [3, 10, 10, 11]
    bad = [row["id"] for row in rows_of(output) if row["error"] is not None]
    assert bad == [3, 50, 90, 91]


@pytest.mark.parametrize(
    ("name", "to", "error"),
    [
        ("labels.json", None, "expected a name that ends in .parquet, .csv, .jsonl"),
        ("labels.csv", "parquet", "is of the kind csv, not parquet"),
        ("out", "xlsx", "to: expected one of parquet, csv, jsonl"),
    ],
)
def test_kinds_that_cannot_be_written_are_refused(name, to, error, pixels, tmp_path):
    with pytest.raises(InputError, match=error):
        batch.run([pixels], tmp_path / name, to=to)


def test_a_slash_makes_a_folder_of_any_name(pixels, tmp_path):
    batch.run([pixels], f"{tmp_path}/labels.parquet/", to="jsonl")
    assert (tmp_path / "labels.parquet" / "part-000002.jsonl").is_file()


def test_an_artifact_that_is_gone_is_an_error_and_nothing_begins(pixels, tmp_path):
    with pytest.raises(ArtifactError):
        batch.run([pixels], tmp_path / "labels.csv", artifact=tmp_path / "none")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_the_joined_file_is_on_the_disk_before_the_job_is_said_to_be_done(
    pixels, tmp_path, monkeypatch
):
    synced, fsync = [], os.fsync

    def record(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    batch.run([pixels], tmp_path / "labels.parquet")
    last = len(synced) - 1 - synced[::-1].index("._job.json.draft")
    assert synced.index("joined.parquet") < last
