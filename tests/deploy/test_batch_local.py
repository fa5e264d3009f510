"""The local engine's processes: what becomes of a part whose process is lost."""

import os
import shutil
import signal

import pytest
from batch_jobs import PARTS, ROWS, Deadly, write_pixels

from lenet_deploy import bundled_artifact
from lenet_deploy.batch import local, sources
from lenet_deploy.batch.job import Parts
from lenet_deploy.batch.worker import Settings
from lenet_runtime import Artifact
from lenet_runtime.errors import DeployError, InputError


@pytest.fixture
def begin(tmp_path):
    """`begin(parts)`: the local engine on them, with two processes."""
    (tmp_path / "out").mkdir()

    def run(parts, report=lambda rows, errors: None, artifact=None):
        settings = Settings(Artifact.open(artifact or bundled_artifact()))
        output = Parts(tmp_path / "out", "parquet", "{}", 3)
        return local.run(parts, settings, output, workers=2, report=report)

    return run


@pytest.fixture
def parts(tmp_path):
    return sources.plan([str(write_pixels(tmp_path / "in"))])


@pytest.fixture
def marks(tmp_path):
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


def test_a_part_whose_process_was_killed_is_done_by_another(begin, parts, marks, tmp_path):
    parts[1] = Deadly(parts[1], marks)
    done = sorted(begin(parts), key=lambda part: part.number)
    assert [(part.number, part.rows) for part in done] == [(n, ROWS) for n in range(PARTS)]
    assert len(os.listdir(marks)) == 1
    assert sorted(os.listdir(tmp_path / "out")) == [f"part-00000{n}.parquet" for n in range(PARTS)]


@pytest.mark.parametrize(
    ("number", "advice"),
    [(signal.SIGKILL, "take fewer workers"), (signal.SIGSEGV, "a file that it reads")],
)
def test_a_part_that_ends_two_processes_is_named(number, advice, begin, parts, marks):
    parts[1] = Deadly(parts[1], marks, times=9, number=number)
    with pytest.raises(DeployError) as error:
        list(begin(parts))
    text = str(error.value)
    assert text.startswith(
        f"part 1 ({parts[0].file.name[:-11]}001.parquet): two workers ended in it"
    )
    assert f"the last by {number.name}" in text
    assert advice in text
    assert text.endswith("go on with resume=True")
    assert len(os.listdir(marks)) == 2


def test_few_parts_are_taken_at_a_time_of_however_many(begin, parts):
    taken, most, done = 0, 0, 0

    def endless():
        nonlocal taken
        while taken < 40:
            taken += 1
            yield sources.Part(**{**vars(parts[0]), "number": taken - 1})

    for _ in begin(endless()):
        done += 1
        most = max(most, taken - done)
    assert (done, taken) == (40, 40)
    assert most <= 5  # two for each process, and the one that takes the place of this


def test_an_error_of_a_process_is_raised_here(begin, parts, tmp_path):
    shutil.rmtree(tmp_path / "in")
    with pytest.raises(InputError, match="is gone since the job was planned"):
        list(begin(parts))


def test_the_artifact_may_go_while_processes_start(begin, parts, tmp_path, marks):
    """All compute with the bytes that were opened, whatever is in the folder meanwhile."""
    folder = shutil.copytree(bundled_artifact(), tmp_path / "artifact")
    parts[1] = Deadly(parts[1], marks)  # so that a process starts late
    done = begin(parts, artifact=folder)
    first = next(done)
    shutil.rmtree(folder)
    assert sum(part.rows for part in [first, *done]) == PARTS * ROWS


def test_what_is_done_of_parts_under_way_is_reported(begin, parts):
    reported = []
    list(begin(parts[:1], report=lambda rows, errors: reported.append((rows, errors))))
    assert reported == [(ROWS, 0)]
