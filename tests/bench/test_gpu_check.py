"""`benchmarks.gpu_check`: its order, its deadlines, its record and its goals; no GPU is needed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY
from device_helper import device_result, run_of

from benchmarks.gpu_check import (
    BUDGET_S,
    EXPORTED,
    LATENCY_SIZES,
    PROFILES,
    TUNING,
    check,
    record,
    table,
)
from benchmarks.gpu_check import __main__ as command
from benchmarks.gpu_check.check import Check, Options
from benchmarks.gpu_check.goals import ANY, LARGE, SMALL, goals
from benchmarks.gpu_check.jobs import Outcome
from benchmarks.gpu_check.participants import Participant, exports, ours, peers
from lenet_export.formats import FORMATS
from lenet_runtime import cuda
from lenet_runtime.backends import BACKENDS

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


def test_compiled_peers_share_the_time_for_them_equally(checked, monkeypatch):
    two = [EAGER, compiled("fp16"), compiled("fp32")]
    monkeypatch.setattr(check, "peers", lambda device, sizes: two)
    runner = FakeRunner(latency=timed)
    checked(runner, budget_s=400.0)
    jobs = [job for job in runner.jobs if job.name.startswith("torch.compile")]
    assert [s.seconds for s in jobs] == [pytest.approx(EXPORTED * 400 / 2, rel=0.05)] * 2


def test_of_the_default_budget_two_compiled_peers_have_a_minute_each_and_the_goals_sizes_first():
    assert (EXPORTED - TUNING) * BUDGET_S / 2 >= 60
    both = [peer for peer in peers("cuda:0", LATENCY_SIZES) if peer.compiled]
    assert [peer.sizes[:2] for peer in both] == [(SMALL, LARGE)] * 2


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


GOOD = {
    ("fused-cuda", "fp16", 1): 2.0, ("ort-cuda", "fp32", 1): 20.0, ("tensorrt", "fp16", 1): 4.0,
    ("fused-cuda", "fp16", 65536): 200.0, ("tensorrt", "fp16", 65536): 1000.0,
}  # fmt: skip


def verdicts(figures):
    found = goals(run_of(figures))
    return [goal.met for goal in found if goal.precision in (ANY, "fp16")]


def test_goals_that_are_met():
    """65,536 images of 4 KB are 268 MB: 67 us at 4 TB/s, a third of 200 us."""
    assert verdicts(GOOD) == [True, True, True, True, True]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({("fused-cuda", "fp16", 1): 2.1}, [False, False, True, True, True]),
        ({("tensorrt", "fp16", 65536): 990.0}, [True, True, False, False, True]),
        ({("fused-cuda", "fp16", 65536): 230.0}, [True, True, False, False, False]),
        ({("ort-cuda", "fp32", 1): 3.0}, [False, True, True, True, True]),
    ],
)
def test_goals_that_are_missed(changed, expected):
    assert verdicts(GOOD | changed) == expected


def test_a_goal_that_was_not_measured_is_neither():
    assert verdicts({("ort-cuda", "fp32", 1): 3.0}) == [None, None, None]


def test_the_page_has_every_figure_and_says_what_is_missing(checked):
    runner = FakeRunner(latency=timed, export_onnx=Outcome(reason="no | ORT"))
    findings = checked(runner)
    findings.latency = [run_of(GOOD).to_dict()]
    found = record.document(findings, Options("cuda:0"), GPU, 300)
    page = table.markdown(json.loads(json.dumps(found, allow_nan=False)))
    for part in ("# NVIDIA H200", "## Goals", "## Parity", "## Latency", "## Skipped", "no | ORT"):
        assert part in page
    assert "| fused-cuda fp16 | **2.00** | **200" in page.replace("**200.0**", "**200")
    assert "**yes**" in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)


def test_a_figure_whose_launches_were_late_is_marked():
    late = device_result("a", 1, 5.0, hidden_share=0.5)
    assert table.mark(late, "device") == " ~"
    assert table.mark(late, "launch") == ""
    assert table.number("1,234 ~") == 1234


def test_every_backend_on_cuda_takes_part_in_every_precision():
    jobs = exports("cuda:0", Path("here"))
    names = {participant.name for participant in ours(jobs)}
    for name, backend in BACKENDS.items():
        for precision in FORMATS[backend.format].precisions if "cuda" in backend.devices else ():
            assert any(f"{name} {precision}".removesuffix(" fp32") in found for found in names)
    assert not [name for name in names if name.startswith(("native", "ort-cpu"))]
    assert len({arguments["folder"] for arguments in jobs.values()}) == len(jobs)


def test_what_is_built_for_a_range_is_built_for_both_ends():
    jobs = exports("cuda:0", Path("here")).values()
    profiles = [a["options"]["profile"] for a in jobs if a["options"]]
    built = [name for name, one in FORMATS.items() if "profile" in one.options]
    assert set(profiles) == (set(PROFILES) if built else set())


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
