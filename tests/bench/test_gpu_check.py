"""`benchmarks.gpu_check`: its order, its deadlines and its record; no GPU is needed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from device_helper import run_of
from processes import REPOSITORY

from benchmarks.gpu_check import AHEAD, EXPORTED, check, record
from benchmarks.gpu_check import __main__ as command
from benchmarks.gpu_check.check import Check, Options
from benchmarks.gpu_check.jobs import Outcome
from benchmarks.gpu_check.participants import Participant
from lenet_runtime import cuda

GPU = cuda.Gpu(0, "NVIDIA H200", "00" * 16, "9.0", 2**37, 132, 2**17, "13.0")
ROW = {"inputs": "digits", "batch_size": 1, "max_abs_diff": 1e-6, "worst_share": 0.2,
       "top1_agreement": 1.0, "eager_error": 1e-6, "reason": ""}  # fmt: skip
PATHS = os.pathsep.join(str(REPOSITORY / part) for part in (".", "export", "runtime", "benchmarks"))


def proven(**row):
    rows = [ROW | {"batch_size": size} | row for size in (1, 64)]
    ok = not row.get("reason")
    return Outcome({"precision": "fp32", "comparisons": rows, "steps": [], "skipped": [], "ok": ok})


class FakeRunner:
    """Answers jobs from a table by name; a function is called with the job."""

    def __init__(self, **answers):
        self.answers, self.jobs, self.alone = answers, [], []

    def run(self, given, seconds, width):
        self.jobs += given
        self.alone += [job.name for job in given if width == 1]
        return {job.name: self._answer(job) for job in given}

    def written(self, job):
        return latency("eager").result if self.answers["latency"] is interrupt else {}

    def _answer(self, job):
        answer = self.answers.get(job.name.replace("-", "_").replace(" ", "_"))
        if answer is None:
            answer = proven() if job.kind == "parity" else Outcome({"digest": "x"})
        if job.kind == "references":
            Path(job.arguments["path"]).touch()
        return answer(job) if callable(answer) else answer


OURS = [
    Participant("fused-cuda fp16", "fused-cuda", "fp16", "cuda:0", "folder", "export cuda fp16"),
    Participant("ort-cuda", "ort-cuda", "fp32", "cuda:0", "folder", "export onnx"),
]
EAGER = Participant("eager", "eager", "fp32", "cuda:0")


def compiled(precision):
    name = f"torch.compile {precision}"
    return Participant(name, "torch.compile", precision, "cuda:0", sizes=(1, 65536))


@pytest.fixture
def checked(monkeypatch, tmp_path):
    """`checked(runner, **options)`: a check of two engines and two peers, and what it found."""
    jobs = {"export cuda fp16": {"format": "cuda"}, "export onnx": {"format": "onnx"}}
    monkeypatch.setattr(check, "ours", lambda jobs: OURS)
    monkeypatch.setattr(check, "exports", lambda device, folder: jobs)
    monkeypatch.setattr(check, "peers", lambda device, sizes: [EAGER, compiled("fp16")])

    def run(runner, **options):
        monkeypatch.setattr(check, "Runner", lambda folder, say: runner)
        work = Check(Options("cuda:0", **options), tmp_path, lambda text: None)
        try:
            work.run()
        except KeyboardInterrupt:
            work.findings.interrupted = True
        return work.findings

    return run


def latency(*names, sizes=(1,)):
    figures = {(name, "fp32", size): 5.0 for name in names for size in sizes}
    return Outcome(run_of(figures).to_dict())


def names_of(job):
    return [participant["name"] for participant in job.arguments["participants"]]


def timed(job):
    return latency(*names_of(job), sizes=job.arguments["sizes"])


def test_everything_is_exported_proven_and_timed_in_that_order(checked):
    runner = FakeRunner(latency=timed)
    findings = checked(runner)
    kinds = [job.kind for job in runner.jobs]
    assert kinds == ["references", "probe", "export", "export", *["parity"] * 4, "latency"]
    assert names_of(runner.jobs[-1]) == [
        "fused-cuda fp16", "ort-cuda", "eager", "torch.compile fp16",
    ]  # fmt: skip
    assert findings.failures() == []
    assert findings.skipped == []


def test_what_tunes_on_the_gpu_has_it_alone(checked, monkeypatch):
    monkeypatch.setattr(check.os, "cpu_count", lambda: 8)
    runner = FakeRunner(latency=timed)
    checked(runner)
    assert runner.alone == ["torch.compile fp16", "latency"]


def test_a_compiled_peer_leaves_the_next_one_what_it_does_not_need(checked, monkeypatch):
    two = [EAGER, compiled("fp16"), compiled("fp32")]
    monkeypatch.setattr(check, "peers", lambda device, sizes: two)
    runner = FakeRunner(latency=timed)
    checked(runner, budget_s=400.0)
    first, last = [job.seconds for job in runner.jobs if job.name.startswith("torch.compile")]
    assert first == pytest.approx(AHEAD * EXPORTED * 400 / 2, rel=0.05)
    assert last == pytest.approx(EXPORTED * 400, rel=0.05)


def test_an_export_that_fails_is_listed_and_the_rest_goes_on(checked):
    runner = FakeRunner(export_cuda_fp16=Outcome(reason="no nvcc"), latency=timed)
    findings = checked(runner)
    assert {"what": "export cuda fp16", "reason": "no nvcc"} in findings.skipped
    assert "fused-cuda fp16" not in findings.parity
    assert "ort-cuda" in names_of(runner.jobs[-1])


def test_what_is_not_here_is_not_tried_alone(checked, monkeypatch):
    monkeypatch.setattr(check, "ALONE", ("cuda",))
    probe = Outcome({"unavailable": {"cuda": "no nvcc"}})
    runner = FakeRunner(probe=probe, latency=timed)
    findings = checked(runner)
    assert "export cuda fp16" not in [job.name for job in runner.jobs]
    assert {"what": "export cuda fp16", "reason": "no nvcc"} in findings.skipped


def test_who_fails_parity_is_not_timed_and_fails_the_check(checked):
    runner = FakeRunner(ort_cuda=proven(reason="row 0: off by 3"), latency=timed)
    findings = checked(runner)
    assert findings.failures() == ["ort-cuda"]
    assert "ort-cuda" not in names_of(runner.jobs[-1])


def test_who_dies_in_parity_is_not_timed_and_is_no_failure_of_parity(checked):
    runner = FakeRunner(ort_cuda=Outcome(reason="the process died of signal 6"), latency=timed)
    findings = checked(runner)
    assert findings.failures() == []
    assert {"what": "parity of ort-cuda", "reason": "the process died of signal 6"} in (
        findings.skipped
    )
    assert "ort-cuda" not in names_of(runner.jobs[-1])


def test_a_compiled_peer_takes_part_at_the_sizes_it_got_to(checked):
    half = Outcome(proven().result, "ended after 60 s, which was its time", 60)
    runner = FakeRunner(torch_compile_fp16=half, latency=timed)
    runner.answers["torch.compile_fp16"] = half
    checked(runner)
    timed_ones = runner.jobs[-1].arguments["participants"]
    assert [p["sizes"] for p in timed_ones if p["backend"] == "torch.compile"] == [(1, 64)]


def test_a_process_that_dies_in_the_latency_is_followed_by_one_without_the_culprit(checked):
    died = []

    def dies_once(job):
        if not died:
            died.append(job)
            Path(job.arguments["doing"]).write_text("ort-cuda")
            return Outcome(latency("eager", sizes=(1, 65536)).result, "died of signal 6")
        return timed(job)

    runner = FakeRunner(latency=dies_once)
    findings = checked(runner)
    again = runner.jobs[-1]
    assert "ort-cuda" not in names_of(again)
    assert again.arguments["sizes"] == [64, 1024, 8, 8192]
    assert {"what": "latency, during ort-cuda", "reason": "died of signal 6"} in findings.skipped
    run = record.merged(findings.latency)
    assert {r.batch_size for r in run.results} == {1, 65536, 64, 1024, 8, 8192}


def test_only_some_engines_can_be_chosen(checked):
    runner = FakeRunner(latency=timed)
    checked(runner, only=("fused",))
    assert names_of(runner.jobs[-1]) == ["fused-cuda fp16"]
    assert "export onnx" not in [job.name for job in runner.jobs]


def test_without_compute_sanitizer_that_is_said(checked, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    findings = checked(FakeRunner(latency=timed), sanitize=True)
    assert findings.skipped[0]["what"] == "sanitizer"


def test_the_sanitizers_verdict_is_recorded(checked, monkeypatch):
    monkeypatch.setattr(check.shutil, "which", lambda name: "/bin/compute-sanitizer")
    bad = Outcome(reason="ERROR SUMMARY: 3 errors")
    runner = FakeRunner(latency=timed)
    runner.answers["racecheck_fused_cuda_fp16"] = bad
    findings = checked(runner, sanitize=True)
    assert [(s["tool"], s["ok"]) for s in findings.sanitizer] == [
        ("memcheck", True), ("racecheck", False),
    ]  # fmt: skip
    assert findings.failures() == ["racecheck fused-cuda fp16"]
    wrapper = next(s for s in runner.jobs if s.name.startswith("memcheck")).wrapper
    assert wrapper[1:3] == ("--tool", "memcheck")


def interrupt(job):
    raise KeyboardInterrupt


def terminate(job):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)  # the signal comes first


def broken(job):
    raise ZeroDivisionError


@pytest.fixture
def run_command(checked, monkeypatch, tmp_path):
    """`run_command(**answers)`: the exit code of the command, which writes into ``out``."""
    monkeypatch.setattr(cuda, "gpu", lambda index: GPU)

    def run(**answers):
        monkeypatch.setattr(check, "Runner", lambda folder, say: FakeRunner(**answers))
        return command.main(["--output", str(tmp_path / "out")])

    return run


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ({"latency": timed}, 0),
        ({"latency": timed, "ort_cuda": proven(reason="row 0: off by 3")}, 3),
        ({"latency": interrupt}, 130),
        ({"ort_cuda": interrupt}, 130),
    ],
)
def test_the_record_is_written_however_it_ends(run_command, tmp_path, capsys, answers, code):
    assert run_command(**answers) == code
    (path,) = (tmp_path / "out").glob("nvidia-h200-*.json")
    assert json.loads(path.read_text())["interrupted"] == (code == 130)
    page = path.with_suffix(".md").read_text()
    assert page.strip() == capsys.readouterr().out.strip()
    assert ("Interrupted" in page) == (code == 130)
    assert ("Failed: ort-cuda" in page) == (code == 3)


def test_ctrl_c_in_the_latency_keeps_the_batch_sizes_that_are_done(checked):
    findings = checked(FakeRunner(latency=interrupt))
    assert findings.interrupted
    assert [r.engine for r in record.merged(findings.latency).results] == ["eager"]


def test_a_machine_that_is_taken_away_leaves_the_record(run_command, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    assert run_command(latency=terminate) == 130
    assert signal.getsignal(signal.SIGTERM) is before
    assert list(tmp_path.glob("out/nvidia-h200-*.md"))


def test_a_fault_of_ours_does_not_cost_the_record(run_command, tmp_path):
    with pytest.raises(ZeroDivisionError):
        run_command(latency=broken)
    assert list(tmp_path.glob("out/nvidia-h200-*.md"))


def test_from_a_plain_checkout_without_a_gpu_it_exits_4_with_the_reason(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_check", "--output", str(tmp_path)],
        cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": PATHS, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "needs an NVIDIA GPU, nothing was written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_cpu_is_no_gpu(capsys):
    assert command.main(["--device", "cpu"]) == 2
    assert "expected 'cuda'" in capsys.readouterr().err
