"""`lenet-deploy bench`: how it ends and where it prints; what it measures is tested elsewhere."""

import json
import shutil

import pytest
from cli_helper import assert_fits, run, run_alone, set_columns

from lenet_runtime import trust
from lenet_runtime.backends.ort_cpu import OrtCpu

QUICK = ("--min-time", "0.01", "--min-iterations", "3", "--warmup", "0", "--batch-sizes", "1,3")


def test_json_for_stdout_is_all_there_is_on_stdout(onnx_artifact):
    result = run("bench", onnx_artifact.path, *QUICK, "--json", "-")
    assert "ort-cpu" in json.dumps(json.loads(result.stdout))


def test_json_for_a_file_leaves_the_table_on_stdout(onnx_artifact, tmp_path):
    result = run("bench", onnx_artifact.path, *QUICK, "--json", tmp_path / "report.json")
    assert "ort-cpu" in result.stdout
    json.loads((tmp_path / "report.json").read_text())


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
    ],
)
def test_wrong_values_are_usage_errors(onnx_artifact, words):
    assert run("bench", onnx_artifact.path, *QUICK, *words, code=2).stdout == ""


def test_a_missing_engine_exits_4(onnx_artifact):
    done = run_alone("bench", onnx_artifact.path, *QUICK, without=["onnxruntime"], code=4)
    assert "'lenet-deploy[cpu]'" in done.stderr


def test_an_interrupt_exits_130(onnx_artifact, monkeypatch):
    run_engine = OrtCpu.run

    def interrupted(self, images):
        if len(images) == 3:
            raise KeyboardInterrupt
        return run_engine(self, images)

    monkeypatch.setattr(OrtCpu, "run", interrupted)
    result = run("bench", onnx_artifact.path, *QUICK, code=130)
    assert result.stderr.endswith("interrupted\n")
