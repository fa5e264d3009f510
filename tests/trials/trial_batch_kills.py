"""Batch jobs killed at random, by the group or one process of it, and gone on with.

`BATCH_KILLS=50` kills as often; CI kills fewer. What is left in the end must be, byte by byte, what
a job writes that nobody disturbed. Kills that came too late to hit a running job are not counted.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from batch_jobs import child_environment, digest, write_pixels

KILLS = int(os.environ.get("BATCH_KILLS", "6"))
SEED = int(os.environ.get("BATCH_SEED", str(time.time_ns() % 2**32)))
LAYOUTS = ["labels.parquet", "out/", "labels.csv"]
PARTS, ROWS = 24, 2000
LIMIT_S = 120


def start(pixels, output, *flags):
    words = ["batch", pixels, "-o", output, "--workers", "2", "--quiet", *flags]
    return subprocess.Popen(
        [sys.executable, "-m", "lenet_deploy", *words], env=child_environment(),
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def workers_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123
        return [int(word) for word in file.read().split()]


def kill(job, how):
    """Kill what `how` says; whether there was a job to hit."""
    if job.poll() is not None:
        return False
    try:
        if how == "group":
            os.killpg(job.pid, signal.SIGKILL)
        elif how == "parent":
            os.kill(job.pid, signal.SIGKILL)
        else:
            children = workers_of(job.pid)
            if not children:
                return False
            os.kill(random.choice(children), signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError):
        return False
    return True


def test_random_kills_lose_and_double_nothing(tmp_path):
    random.seed(SEED)
    print(f"seed {SEED}")
    pixels = str(write_pixels(tmp_path / "in", parts=PARTS, rows=ROWS))
    expected, took = {}, 0.0
    for layout in LAYOUTS:
        (tmp_path / "whole" / layout).parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        job = start(pixels, f"{tmp_path}/whole/{layout}")
        assert job.wait(LIMIT_S) == 0, job.stderr.read()
        took = max(took, time.monotonic() - began)
        expected[layout] = digest_of(tmp_path / "whole", layout)
    hits, rounds = Counter(), 0
    while sum(hits.values()) < KILLS:
        layout = LAYOUTS[rounds % len(LAYOUTS)]
        folder = tmp_path / f"round-{rounds}"
        folder.mkdir()
        rounds += 1
        for attempt in range(4):
            job = start(pixels, f"{folder}/{layout}", "--resume")
            how = random.choice(["group", "parent", "worker"])
            if attempt < 3:
                time.sleep(random.uniform(0.3, took))
                hits[how] += kill(job, how)
            error = job.communicate(timeout=LIMIT_S)[1]
            assert job.returncode in (0, -signal.SIGKILL), error
            if how == "worker" or attempt == 3:
                assert job.returncode == 0, error
                break
        assert digest_of(folder, layout) == expected[layout], (layout, how)
    print(f"{sum(hits.values())} kills hit a running job in {rounds} rounds: {dict(hits)}")


def digest_of(folder, layout):
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    return digest(folder / layout)


@pytest.mark.parametrize("layout", LAYOUTS[:1])
def test_ctrl_c_ends_at_once_and_leaves_a_job_to_resume(layout, tmp_path):
    """To all processes of the terminal, as a terminal sends it; without a traceback from any."""
    pixels = str(write_pixels(tmp_path / "in", parts=40, rows=ROWS))
    output = f"{tmp_path}/{layout}"
    for wait_s in (0.5, 1.5, 3.0):
        job = start(pixels, output, "--resume")
        time.sleep(wait_s)
        began = time.monotonic()
        os.killpg(job.pid, signal.SIGINT)
        error = job.communicate(timeout=LIMIT_S)[1]
        print(f"{layout}: {time.monotonic() - began:.2f} s after Ctrl-C: {error!r}")
        assert "Traceback" not in error
        # By the signal itself where Python was ending, which answers none then; a shell says 130.
        assert job.returncode in (130, 0, -signal.SIGINT)
        assert "interrupted" in error or job.returncode != 130
    job = start(pixels, output, "--resume")
    assert job.wait(LIMIT_S) == 0, job.stderr.read()


def test_workers_end_with_their_parent(tmp_path):
    pixels = str(write_pixels(tmp_path / "in", parts=40, rows=ROWS))
    job = start(pixels, f"{tmp_path}/labels.csv")
    while len(children := workers_of(job.pid)) < 2:
        time.sleep(0.05)
    os.kill(job.pid, signal.SIGKILL)
    job.communicate(timeout=LIMIT_S)
    began = time.monotonic()
    while any(is_running(child) for child in children):
        assert time.monotonic() - began < 10
        time.sleep(0.01)
    print(f"the workers ended {time.monotonic() - began:.2f} s after their parent")


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("layout", LAYOUTS[:1])
def test_a_job_that_is_started_twice_at_once_runs_once(layout, tmp_path):
    pixels = str(write_pixels(tmp_path / "in", parts=6, rows=ROWS))
    jobs = [start(pixels, f"{tmp_path}/{layout}", "--resume") for _ in range(3)]
    errors = [job.communicate(timeout=LIMIT_S)[1] for job in jobs]
    codes = [job.returncode for job in jobs]
    assert 0 in codes
    for code, error in zip(codes, errors, strict=True):
        assert code == 0 or "another process works on this output" in error


FULL = """
mount -t tmpfs -o size=$1 tmpfs $2 || exit 77
shift 2
"$@" && exit 1
code=$?
mount -o remount,size=64m $DISK && "$@" --resume && cp -r $DISK/. $KEPT && exit $code
"""


@pytest.mark.parametrize(
    ("layout", "size"), [("labels.parquet", "64k"), ("labels.csv", "256k"), ("out/", "64k")]
)
def test_a_disk_that_is_full_and_then_larger(layout, size, tmp_path):
    """On a real file system, with workers."""
    pixels = str(write_pixels(tmp_path / "in", parts=6, rows=ROWS))
    for name in ("disk", "kept", "whole"):
        (tmp_path / name).mkdir()
    assert start(pixels, f"{tmp_path}/whole/{layout}").wait(LIMIT_S) == 0
    disk = str(tmp_path / "disk")
    words = [sys.executable, "-m", "lenet_deploy", "batch", pixels, "-o", f"{disk}/{layout}"]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", FULL, "sh", size, disk, *words, "--workers", "2"],
        env=child_environment() | {"DISK": disk, "KEPT": str(tmp_path / "kept")},
        capture_output=True, text=True, check=False, timeout=LIMIT_S,
    )  # fmt: skip
    if "unshare" in done.stderr or done.returncode == 77:
        pytest.skip("this user may not mount anything")
    assert done.returncode == 1, done.stderr
    assert "cannot be written (No space left on device); make room" in done.stderr
    assert digest_of(tmp_path / "kept", layout) == digest_of(tmp_path / "whole", layout)
