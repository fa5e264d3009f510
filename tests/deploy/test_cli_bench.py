"""`lenet-deploy bench`: how it ends and where it prints; what it measures is tested elsewhere."""

import json
import shutil

import numpy as np
import pytest
from cli_helper import assert_fits, run, run_alone, set_columns

from lenet_runtime.artifact import trust
from lenet_runtime.backends.ort.ort_cpu import OrtCpu
from lenet_runtime.version import pip_install

QUICK = ("--min-time", "0.01", "--min-iterations", "3", "--warmup", "0", "--batch-sizes", "1,3")


def test_json_for_stdout_is_all_there_is_on_stdout(onnx_artifact):
    result = run("bench", onnx_artifact.path, *QUICK, "--json", "-")
    assert "ort-cpu" in json.dumps(json.loads(result.stdout))


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_fits_the_terminal(onnx_artifact, torchscript_artifact, monkeypatch, columns):
    set_columns(monkeypatch, columns)
    result = run("bench", onnx_artifact.path, torchscript_artifact.path, *QUICK)
    assert_fits(result.stdout, columns)


def test_two_artifacts_of_one_backend_are_told_apart(onnx_artifact, tmp_path):
    """Brackets in a name are no markup."""
    twin = shutil.copytree(onnx_artifact.path, tmp_path / "[red]")
    shown = run("bench", onnx_artifact.path, twin, *QUICK).stdout
    assert "/[red]" in shown.replace("\n", "").replace("│", "").replace(" ", "")


def test_a_missing_artifact_exits_1(tmp_path):
    result = run("bench", tmp_path / "nowhere", *QUICK, code=1)
    assert "expected an artifact's folder" in result.stderr
    assert result.stdout == ""


def test_code_is_not_run_without_trust(torchscript_artifact, monkeypatch):
    monkeypatch.setattr(trust, "_written", set())
    assert "--trust" in run("bench", torchscript_artifact.path, *QUICK, code=1).stderr
    run("bench", torchscript_artifact.path, *QUICK, "--trust")


@pytest.mark.parametrize(
    "words",
    [
        ("--batch-sizes", "0"),
        ("--batch-sizes", "many"),
        ("--threads", "0"),
        ("--min-time", "0"),
        ("--min-time", "inf"),
        ("--backend", "abacus"),
        ("--device", "tpu"),
        ("--seed", "-1"),
        ("--backend", "ort"),
        ("--input", "warm"),
    ],
)
def test_wrong_values_are_usage_errors(onnx_artifact, words):
    assert run("bench", onnx_artifact.path, *QUICK, *words, code=2).stdout == ""


def test_a_missing_engine_exits_4(onnx_artifact):
    done = run_alone("bench", onnx_artifact.path, *QUICK, without=["onnxruntime"], code=4)
    assert pip_install("cpu") in done.stderr


def test_an_interrupt_exits_130(onnx_artifact, monkeypatch):
    run_engine = OrtCpu.run

    def interrupted(self, images):
        if len(images) == 3:
            raise KeyboardInterrupt
        return run_engine(self, images)

    monkeypatch.setattr(OrtCpu, "run", interrupted)
    result = run("bench", onnx_artifact.path, *QUICK, code=130)
    assert result.stderr.endswith("interrupted\n")


def test_reports_in_files_leave_the_table_on_stdout(onnx_artifact, tmp_path):
    files = {name: tmp_path / f"report.{name}" for name in ("json", "csv", "html")}
    flags = [word for name, path in files.items() for word in (f"--{name}", path)]
    assert "ort-cpu" in run("bench", onnx_artifact.path, *QUICK, *flags).stdout
    assert json.loads(files["json"].read_text())["baseline"] == "eager"
    assert files["csv"].read_text().startswith("engine,batch_size")
    assert "plotly" in files["html"].read_text()


def test_threads_take_part_once_each(onnx_artifact):
    shown = json.loads(
        run("bench", onnx_artifact.path, *QUICK, "--threads", "1,2", "--json", "-").stdout
    )
    assert set(shown["engines"]) == {"eager t1", "eager t2", "ort-cpu t1", "ort-cpu t2"}
    assert shown["engines"]["ort-cpu t2"]["threads"] == 2


def test_without_artifacts_the_bundled_network_takes_part_in_every_format(
    monkeypatch, onnx_artifact, torchscript_artifact
):
    """A format that cannot be made here is listed with its reason."""
    from lenet_deploy import benching
    from lenet_runtime.errors import BackendUnavailable

    made = {"onnx": onnx_artifact.path, "torchscript": torchscript_artifact.path}

    def default_artifact(format, progress, device):
        if format not in made:
            raise BackendUnavailable("no compiler")
        return made[format]

    monkeypatch.setattr(benching, "default_artifact", default_artifact)
    shown = json.loads(run("bench", "all", *QUICK, "--json", "-").stdout)
    assert set(shown["engines"]) == {"eager", "ort-cpu", "torchscript"}
    assert {"engine": "torch-compile", "reason": "no compiler"} in shown["skipped"]


def test_cold_start_and_scaling_are_measured_when_asked(onnx_artifact, tmp_path):
    flags = ("--cold-start", "--scaling", "--json", tmp_path / "report.json")
    assert "Cold start" in run("bench", onnx_artifact.path, *QUICK, *flags).stdout
    shown = json.loads((tmp_path / "report.json").read_text())
    assert [row["engine"] for row in shown["cold_start"]] == ["ort-cpu"]
    assert {(row["threads"], row["callers"]) for row in shown["scaling"]} >= {(1, 1)}


def measured_as(factor):
    """A stand-in for the harness: 100 us for each engine, `factor` times that for ort-cpu."""
    from lenet_bench import LatencyResult

    def measure(engines, sizes, settings, progress, keep):
        for name in engines:
            factors = factor if name == "ort-cpu" else 1.0
            rounds = tuple(np.full(5, 1e5 * factors) for _ in range(20))
            for size in sizes:
                keep(LatencyResult(name, size, rounds))

    return measure


@pytest.fixture
def before(onnx_artifact, tmp_path, monkeypatch):
    """A report of before."""
    from lenet_bench import field

    path = tmp_path / "before.json"
    monkeypatch.setattr(field, "measure", measured_as(1.0))
    run("bench", onnx_artifact.path, *QUICK, "--json", path)
    return path


@pytest.mark.parametrize(("slower", "code"), [(1.0, 0), (2.0, 5)])
def test_the_gate_exits_5_on_a_regression(onnx_artifact, before, monkeypatch, slower, code):
    """The clock is replaced: what is tested is the way from two reports to the exit code."""
    from lenet_bench import field

    monkeypatch.setattr(field, "measure", measured_as(slower))
    words = ("bench", onnx_artifact.path, *QUICK, "--baseline", before)
    result = run(*words, code=code)
    assert ("slower by surely more than 10%: ort-cpu at batch 1" in result.stderr) == (code == 5)
    words = {"yardstick", "slower" if code else "unchanged", f"{100 * slower:.1f}"}
    assert words <= set(result.stderr.split())
    assert "relative to eager" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("limit", "code"),
    [("10", 5), ("10%", 5), ("99%", 5), ("101", 0), ("101 %", 2), ("0.1", 2), ("0.1%", 5),
     ("1.1x", 2), ("-5", 2), ("nan", 2), ("inf", 2), ("1001", 2), ("", 2), ("%", 2), ("1e2", 2)],
)  # fmt: skip
def test_a_limit_is_in_percent_and_nothing_else(onnx_artifact, before, monkeypatch, limit, code):
    """Twice as slow; a share like 0.1 might be meant as either."""
    from lenet_bench import field

    monkeypatch.setattr(field, "measure", measured_as(2.0))
    words = ("bench", onnx_artifact.path, *QUICK, "--baseline", before, f"--fail-above={limit}")
    result = run(*words, "--json", "-", code=code)
    if code != 2:
        assert json.loads(result.stdout)["gate"]["ok"] == (code == 0)


def test_a_limit_without_a_report_of_before_is_refused(onnx_artifact):
    words = ("bench", onnx_artifact.path, *QUICK, "--fail-above", "10")
    assert "--baseline" in run(*words, code=2).stderr


def test_reports_of_unlike_settings_are_refused_unless_forced(onnx_artifact, tmp_path):
    before = tmp_path / "before.json"
    run("bench", onnx_artifact.path, *QUICK, "--json", before)
    now = ("bench", onnx_artifact.path, *QUICK, "--input", "hot", "--fail-above", "1000")
    assert "inputs: hot here" in run(*now, "--baseline", before, code=2).output
    run(*now, "--baseline", before, "--force")


def test_ctrl_c_prints_what_was_measured_until_then(onnx_artifact, monkeypatch):
    from lenet_bench import LatencyResult, field

    def measure(engines, sizes, settings, progress, keep):
        keep(LatencyResult("ort-cpu", 1, (np.full(5, 1e5),)))
        raise KeyboardInterrupt

    monkeypatch.setattr(field, "measure", measure)
    assert "100.0" in run("bench", onnx_artifact.path, *QUICK, code=130).stdout


def test_it_runs_where_pytorch_and_onnx_are_missing(onnx_artifact):
    words = ("bench", onnx_artifact.path, *QUICK, "--json", "-")
    done = run_alone(*words, without=["torch", "onnx"])
    assert {row["engine"] for row in json.loads(done.stdout)["results"]} == {"ort-cpu"}
