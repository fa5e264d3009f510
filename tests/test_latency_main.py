"""`python -m lenet_runtime.latency`: the benchmark of a host that has the runtime alone."""

import json
import subprocess
import sys

import pytest

from lenet_runtime.latency.__main__ import main
from lenet_runtime.latency.report import read

QUICK = ["--min-time", "0.01", "--min-iterations", "3", "--warmup", "0", "--batch-sizes", "1,3"]


def test_it_runs_and_prints_where_torch_and_typer_are_missing(onnx_artifact):
    script = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'typer', 'rich']));"
        "from lenet_runtime.latency.__main__ import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", script, str(onnx_artifact.path), *QUICK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [
        ["ort-cpu", "1"],
        ["ort-cpu", "3"],
    ]


def test_the_report_reads_back(onnx_artifact, tmp_path, capsys):
    assert main([str(onnx_artifact.path), *QUICK, "--json", str(tmp_path / "r.json")]) == 0
    run = read(tmp_path / "r.json")
    assert (run.baseline, run.batch_sizes) == ("ort-cpu", (1, 3))
    assert run.engines["ort-cpu"]["digest"] == onnx_artifact.digest


def test_what_is_missing_is_one_line_on_stderr(tmp_path, capsys):
    assert main([str(tmp_path / "none"), *QUICK]) == 1
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("sizes", ["0", "x", "1,,2", ""])
def test_senseless_sizes_are_usage_errors(onnx_artifact, sizes, capsys):
    with pytest.raises(SystemExit) as caught:
        main([str(onnx_artifact.path), "--batch-sizes", sizes])
    assert caught.value.code == 2


def test_ctrl_c_prints_what_was_measured(onnx_artifact, monkeypatch, capsys):
    from lenet_runtime.latency import __main__ as command

    def interrupted(engines, sizes, settings, keep):
        for result in measured(engines, sizes[:1], settings):
            keep(result)
        raise KeyboardInterrupt

    measured = command.measure
    monkeypatch.setattr(command, "measure", interrupted)
    assert main([str(onnx_artifact.path), *QUICK]) == 130
    out = capsys.readouterr().out
    assert "ort-cpu" in out
    assert "interrupted" in out


def test_it_is_a_module_to_run():
    done = subprocess.run(
        [sys.executable, "-m", "lenet_runtime.latency", "--help"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "ARTIFACT" in done.stdout
    assert json.dumps(done.stderr) == '""'
