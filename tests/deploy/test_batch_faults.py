"""Batch jobs on disks that are full and in folders that cannot be written, and how they go on."""

import os
import resource

import pytest
from batch_jobs import PARTS, ROWS, digest, serially, write_pixels

from lenet_deploy import batch
from lenet_deploy.batch import running
from lenet_runtime.errors import DeployError

OUTPUTS = ["labels.parquet", "labels.csv", "labels.jsonl", "out/"]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setitem(running.ENGINES, "local", lambda address: serially)


@pytest.fixture
def pixels(tmp_path):
    return str(write_pixels(tmp_path / "in"))


@pytest.fixture
def file_size():
    """`file_size(bytes)`: what a file may grow to until the test ends, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size=soft: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("size", [0, 100, 2500])
def test_a_full_disk_is_said_and_gone_on_from(output, size, pixels, tmp_path, file_size):
    """At the job's document, at a part, at the list of parts, or at joining them."""
    batch.run([pixels], f"{tmp_path}/whole/{output}")
    file_size(size)
    with pytest.raises(
        DeployError, match=r"cannot be written \(File too large\); make room.*resum"
    ):
        batch.run([pixels], f"{tmp_path}/full/{output}")
    file_size()
    assert not (tmp_path / "full" / "labels.parquet").exists()
    assert not list((tmp_path / "full").rglob(".part-*"))
    summary = batch.run([pixels], f"{tmp_path}/full/{output}", resume=True)
    assert summary.rows == PARTS * ROWS
    assert digest(tmp_path / "full") == digest(tmp_path / "whole")


@pytest.mark.parametrize("output", ["FILE/labels.parquet", "FILE/out/"])
def test_a_folder_that_cannot_be_made_is_said(output, pixels, tmp_path):
    (tmp_path / "FILE").touch()
    with pytest.raises(DeployError, match=r"cannot be written \(Not a directory\)"):
        batch.run([pixels], f"{tmp_path}/{output}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_another_user_is_said(pixels, tmp_path):
    (tmp_path / "theirs").mkdir(mode=0o500)
    with pytest.raises(DeployError, match=r"cannot be written \(Permission denied\)"):
        batch.run([pixels], tmp_path / "theirs" / "labels.parquet")


def test_parts_are_joined_in_their_order_however_they_come(pixels, tmp_path, monkeypatch):
    def backwards(parts, settings, output, *, workers, report):
        yield from list(serially(parts, settings, output, workers=workers, report=report))[::-1]

    batch.run([pixels], tmp_path / "a.csv")
    monkeypatch.setitem(running.ENGINES, "local", lambda address: backwards)
    batch.run([pixels], tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_part_that_somebody_deleted_is_done_again(pixels, tmp_path, monkeypatch):
    def fails(*arguments, **options):
        yield from list(serially(*arguments, **options))[:2]
        raise DeployError("the engine failed")

    monkeypatch.setitem(running.ENGINES, "local", lambda address: fails)
    with pytest.raises(DeployError, match="the engine failed"):
        batch.run([pixels], tmp_path / "labels.csv")
    (part,) = tmp_path.glob(".labels.csv.job/*/part-000000.csv")
    part.unlink()
    monkeypatch.setitem(running.ENGINES, "local", lambda address: serially)
    summary = batch.run([pixels], tmp_path / "labels.csv", resume=True)
    assert (summary.rows, summary.rows_before) == (PARTS * ROWS, ROWS)


def test_an_engine_that_loses_a_part_is_found_out(pixels, tmp_path, monkeypatch):
    def loses(*arguments, **options):
        yield from list(serially(*arguments, **options))[1:]

    monkeypatch.setitem(running.ENGINES, "local", lambda address: loses)
    with pytest.raises(DeployError, match="the engine did 2 parts of 3"):
        batch.run([pixels], tmp_path / "labels.csv")
    assert not (tmp_path / "labels.csv").exists()


def test_a_join_that_fails_ends_the_job(pixels, tmp_path, monkeypatch):
    """Though it is a thread's."""

    def appends(self, path):
        raise DeployError(f"{path.name} cannot be joined")

    monkeypatch.setattr("lenet_deploy.batch.outputs.Csv.append", appends)
    with pytest.raises(DeployError, match=r"part-000000\.csv cannot be joined"):
        batch.run([pixels], tmp_path / "labels.csv")
