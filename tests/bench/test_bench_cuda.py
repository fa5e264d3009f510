"""`lenet-deploy bench --device cuda`, on a driver without a GPU and engines of the CPU."""

import dataclasses
import json
import re

import pytest
from artifact_files import write_artifact
from cli_helper import assert_fits, run, set_columns
from device_helper import run_of
from host_stages import Staged

import lenet_runtime
from lenet_bench.field import Contender, Field
from lenet_bench.gpu import harness, stopwatch
from lenet_bench.html import report as html_report
from lenet_bench.html import style
from lenet_deploy import benching
from lenet_runtime.backends.torch import torch_cuda
from lenet_runtime.errors import BackendUnavailable

QUICK = ("--min-time", "0.01", "--min-iterations", "3", "--warmup", "0", "--batch-sizes", "1,3")
MIB = 2**20


@pytest.fixture
def pretended(fake_cuda, onnx_artifact, monkeypatch, tmp_path):
    """A GPU of the fake driver, on which ONNX Runtime and eager of the CPU have steps."""
    fake_cuda()
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    opened = stopwatch.opened
    monkeypatch.setattr(stopwatch, "opened", lambda index: opened(index, MIB))
    context = lenet_runtime.cuda.Context(0)

    def gather(request, stack, step):
        sessions = {
            name: stack.enter_context(lenet_runtime.load(onnx_artifact.path))
            for name in ("eager", "ort-cuda")
        }
        stack.enter_context(context)
        stream = context.stream()
        failures = {"ort-cuda": BackendUnavailable("no graph of this engine")}
        return Field(
            [
                Contender(
                    name, session.run, {"backend": name, "precision": "fp32"}, None,
                    Staged(session.predictor, stream.handle, failures.get(name)),
                )
                for name, session in sessions.items()
            ]
        )  # fmt: skip

    monkeypatch.setattr(benching, "gather", gather)
    yield context
    context.close()


def bench(*words, code=0):
    return run("bench", "--device", "cuda", *QUICK, *words, code=code)


def test_the_report_has_whole_calls_and_steps(pretended, tmp_path):
    path = tmp_path / "report.json"
    bench("--json", path, "--csv", tmp_path / "report.csv")
    report = json.loads(path.read_text())
    assert report["fingerprint"]["machine"]["gpu"] == "Fake GPU 0"
    assert {(r["engine"], r["batch_size"]) for r in report["results"]} == {
        (name, size) for name in ("eager", "ort-cuda") for size in (1, 3)
    }
    steps = {(r["engine"], r["graph"]) for r in report["device"]["results"]}
    assert steps == {("eager", False), ("eager", True), ("ort-cuda", False)}
    assert report["device"]["skipped"][0] == {
        "engine": "ort-cuda (graph)",
        "reason": "batch 1: BackendUnavailable: no graph of this engine",
    }
    assert len(report["device"]["splits"]) == 4
    assert "device_p50_us" in (tmp_path / "report.csv").read_text().splitlines()[0]


def test_the_gate_reads_it_again(pretended, tmp_path):
    before = tmp_path / "before.json"
    bench("--json", before)
    result = bench("--baseline", before, "--fail-above", "1000%")
    assert "ort-cuda device" in " ".join(result.stderr.split())


def test_a_report_of_the_cpu_is_another_machine(pretended, onnx_artifact, tmp_path):
    before = tmp_path / "before.json"
    bench("--json", before)
    document = json.loads(before.read_text())
    document["fingerprint"]["machine"].pop("gpu")
    before.write_text(json.dumps(document))
    assert "gpu: 'Fake GPU 0' here, None there" in bench("--baseline", before, code=2).output


@pytest.mark.parametrize("columns", [80, 120])
def test_the_tables_fit_the_terminal(pretended, monkeypatch, columns):
    set_columns(monkeypatch, columns)
    shown = bench().stdout
    assert "Where the time of a call goes" in shown
    assert "no steps of: ort-cuda (graph)" in shown
    assert_fits(shown, columns)


def test_ctrl_c_among_the_steps_keeps_the_whole_calls(pretended, monkeypatch, tmp_path):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(harness, "measure", interrupted)
    path = tmp_path / "report.json"
    bench("--json", path, code=130)
    report = json.loads(path.read_text())
    assert report["interrupted"]
    assert len(report["results"]) == 4
    assert report["device"]["results"] == []


def test_without_a_gpu_it_exits_4_before_anything_is_exported(fake_cuda, monkeypatch):
    fake_cuda(devices=0)
    monkeypatch.setattr(benching, "default_artifact", None)
    assert "CUDA_VISIBLE_DEVICES" in bench(code=4).stderr


def test_a_gpu_that_is_not_there_exits_4(fake_cuda):
    fake_cuda()
    assert "no 'cuda:1'" in run("bench", "--device", "cuda:1", *QUICK, code=4).stderr


def test_what_cannot_run_on_the_gpu_is_listed_and_none_is_an_error(fake_cuda, monkeypatch):
    fake_cuda()
    made = []

    def default_artifact(format, progress, device):
        made.append((format, device))
        raise BackendUnavailable(f"no {format} here")

    monkeypatch.setattr(benching, "default_artifact", default_artifact)
    shown = " ".join(bench(code=4).stderr.split())
    assert "native: it runs on cpu, not on cuda:0" in shown
    assert "onnx: " in shown
    assert "eager: " in shown
    assert {device for _, device in made} == {"cuda:0"}


def test_eager_on_the_gpu_is_the_base_line(monkeypatch):
    torch = pytest.importorskip("torch")
    from lenet_deploy.training.checkpoint import load_network

    monkeypatch.setattr(torch_cuda, "require", lambda device: None)
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, device: self)
    found, request = Field(), benching.Request((), ("auto",), "cuda:0", (1,), trust=False)
    benching._add_eager(found, request, load_network(), (1, 32, 32), "cuda:0")
    (eager,) = found.contenders
    assert isinstance(eager.predictor, torch_cuda.CudaTorchPredictor)
    assert eager.details["device"] == "cuda:0"
    assert found.baseline == "eager"


def page_of(run):
    pytest.importorskip("plotly")
    return html_report.page(run).replace(style.packed_plotly(), "")


FIGURES = {("eager", "fp32", n): 40.0 + n for n in (1, 8)} | {
    ("fused-cuda", "fp16", n): 3.0 + n / 100 for n in (1, 8)
}


def test_the_page_plots_the_steps():
    page = page_of(run_of(FIGURES))
    assert "<h1>Latency of LeNet on Fake GPU</h1>" in page
    for plot in ("device-latency-over-batch-size", "where-the-time-of-a-call-goes"):
        assert f'<div id="{plot}"' in page
    assert re.search(r'<td class="name">fused-cuda fp16</td><td>1</td><td>3\.0\d</td>', page)
    assert "Power and clocks are unknown: none" in page


def test_a_page_about_the_cpu_has_none_of_it():
    assert "device-latency" not in page_of(run_of(FIGURES, device=None))


def test_foreign_names_stay_text():
    script = "<script>alert(1)</script>"
    run = run_of(FIGURES)
    results = tuple(dataclasses.replace(r, engine=script) for r in run.device.results)
    skipped = ({"engine": script, "reason": script},)
    section = dataclasses.replace(run.device, results=results, skipped=skipped)
    assert "<script>alert" not in page_of(dataclasses.replace(run, device=section))


def test_an_artifact_for_gpus_alone_says_so_on_a_cpu(tmp_path):
    folder = write_artifact(tmp_path / "a", format="cuda")
    done = run("bench", folder, "--trust", code=4)
    assert "runs 'cuda' artifacts on 'cpu'; expected the device cuda" in " ".join(
        done.stderr.split()
    )
