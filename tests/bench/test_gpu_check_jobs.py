"""`benchmarks.gpu_check.jobs`: real processes, their deadlines, and how they end."""

import os
import time

import pytest

from benchmarks.gpu_check import jobs
from benchmarks.gpu_check.jobs import Budget, Job, Runner


class Worker:
    """Real processes, of `python -c` in place of the worker."""

    def __init__(self, monkeypatch, tmp_path):
        self.said = []
        self.runner = Runner(tmp_path, self.said.append)
        folder = tmp_path / "bin"
        folder.mkdir()
        self._python = folder / "python"
        monkeypatch.setattr(jobs.sys, "executable", str(self._python))

    def script(self, text):
        self._python.write_text(f"#!/bin/sh\n{text}\n")
        self._python.chmod(0o755)
        return self.runner


@pytest.fixture
def worker(monkeypatch, tmp_path):
    return Worker(monkeypatch, tmp_path)


def test_a_step_that_fails_is_quoted_by_its_last_line(worker):
    runner = worker.script("echo first; echo 'InputError: bad' >&2; exit 1")
    (found,) = runner.run([Job("a", "export", {})], 30, 2).values()
    assert found.reason == "InputError: bad"


def test_a_step_that_dies_is_told_from_one_that_fails(worker):
    (found,) = worker.script("kill -6 $$").run([Job("a", "export", {})], 30, 1).values()
    assert "died of signal 6" in found.reason


def test_a_step_that_takes_too_long_is_ended_with_what_it_wrote(worker, tmp_path):
    text = f"echo '{{\"ok\": true}}' > {tmp_path}/a.json; echo tuning; exec sleep 60"
    (found,) = worker.script(text).run([Job("a", "parity", {}, 0.5)], 30, 1).values()
    assert found.result == {"ok": True}
    assert "which was its time; its last words: tuning" in found.reason


def test_what_has_not_begun_when_time_is_up_is_skipped(worker):
    given = [Job(name, "export", {}) for name in "abc"]
    found = worker.script("exec sleep 60").run(given, 0.5, 1)
    assert "ended" in found["a"].reason
    assert found["b"].reason == found["c"].reason == "skipped: no time was left for it"


def test_a_step_alone_shares_the_gpu_with_nothing(worker, tmp_path):
    log = tmp_path / "log"
    text = f'echo "begin $3" >> {log}; sleep 0.2; echo "end $3" >> {log}; exit 0'
    runner = worker.script(text)
    runner.run([Job("a", "x", {}), Job("b", "x", {})], 30, 2)
    runner.run([Job("c", "x", {}), Job("d", "x", {})], 30, 1)
    words = [line.split()[0] for line in log.read_text().splitlines()]
    assert words == ["begin", "begin", "end", "end", *["begin", "end"] * 2]


def test_children_may_write_bytecode_so_that_the_next_imports_pytorch_faster(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert "PYTHONDONTWRITEBYTECODE" not in jobs.environment(tmp_path)


def test_ctrl_c_ends_all_processes(worker, tmp_path):
    pid = tmp_path / "pid"
    runner = worker.script(f"echo $$ > {pid}; exec sleep 60")

    def interrupted(seconds):
        if pid.exists() and pid.read_text().strip():
            raise KeyboardInterrupt
        time.sleep(0.01)

    jobs_time = type("T", (), {"monotonic": time.monotonic, "sleep": staticmethod(interrupted)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "time", jobs_time)
        with pytest.raises(KeyboardInterrupt):
            runner.run([Job("a", "export", {})], 30, 1)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_the_budget_is_of_the_whole_run():
    now = [0.0]
    budget = Budget(100, lambda: now[0])
    now[0] = 30.0
    assert (budget.left(), budget.left(0.5), budget.left(0.2)) == (70, 20, 0)


@pytest.mark.parametrize("linked", [True, False])
def test_the_toolkit_is_where_its_headers_are(monkeypatch, tmp_path, linked):
    real, nvcc = tmp_path / "cuda-13.0" / "bin" / "nvcc", tmp_path / "bin" / "nvcc"
    header = tmp_path / "cuda-13.0" / "include" / "cuda.h"
    for file in (real, nvcc, header):
        file.parent.mkdir(parents=True)
    header.touch()
    real.touch(mode=0o755)
    if linked:
        nvcc.symlink_to(real)
    else:
        nvcc.write_text(f"#!/bin/sh\nexec {real}\n")
        nvcc.chmod(0o755)
    monkeypatch.setenv("PATH", str(nvcc.parent))
    monkeypatch.delenv("CUDA_HOME", raising=False)
    assert jobs.toolkit(tmp_path) == {"CUDA_HOME": str(tmp_path / "cuda-13.0")}
    monkeypatch.setenv("CUDA_HOME", "/mine")
    assert jobs.toolkit(tmp_path) == {}


def test_paths_of_this_machine_stay_out_of_the_record():
    text = f"{jobs.ROOT}/runtime/a.py: no\n /tmp/gpu-check-x_1/onnx-fp32/model.onnx"
    assert jobs.tidy(text) == "./runtime/a.py: no onnx-fp32/model.onnx"
