"""Every command in each environment that README recommends: it works, or says what to install."""

import json
import re

import pytest
from processes import python

TORCH = ["torch", "onnx", "onnxscript", "safetensors"]
TRAINING = ["torchvision", "matplotlib", "plotly"]
# What is missing, by what was installed. The real environments are .ci/run's.
MISSING = {
    "base": [*TORCH, *TRAINING, "onnxruntime", "PIL"],
    "cpu": [*TORCH, *TRAINING],
    "cpu,export": TRAINING,
}
# Commands in one process, which prints each one's exit code and what it wrote.
CODE = """
import json, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))
from typer.testing import CliRunner
from lenet_deploy.cli import app

def run(words):
    result = CliRunner().invoke(app, words)
    exits = result.exception is None or isinstance(result.exception, SystemExit)
    assert exits and "Traceback" not in result.output, (words, result.output, result.exception)
    return result.exit_code, result.output

print(json.dumps([run(words) for words in json.loads(sys.argv[2])]))
"""
NEEDS = r"error: .*pip install .*\[{}\]"
EXPORT, TRAIN, CPU = (NEEDS.format(extra) for extra in ("export", "train", "cpu"))
QUICK = "--batch-sizes 1 --min-time 0.01 --min-iterations 1 --warmup 0"
# The command, and for each environment its exit code and what it says.
CASES = {
    "export --batch-sizes 1 -o {tmp}/a": [(4, EXPORT), (4, EXPORT), (0, "onnx-fp32")],
    "export -f native -o {tmp}/a": [(4, EXPORT), (4, EXPORT), None],
    "verify {bundled}": [(4, CPU), (4, EXPORT), None],
    "verify {bundled} --batch-sizes 1 --data-dir {mnist}": [
        (4, CPU), (4, EXPORT), (0, r"(?s)MNIST test set: 10000.*parity holds"),
    ],
    "evaluate --data-dir {mnist}": [(4, EXPORT), (4, EXPORT), (0, r"accuracy 99\.56%")],
    "evaluate --data-dir {mnist} --plot {tmp}/x.png": [(4, TRAIN), (4, TRAIN), (4, TRAIN)],
    "train --data-dir {mnist} -o {tmp}/run": [(4, TRAIN), (4, TRAIN), (4, TRAIN)],
    "train --data-dir {tmp} --download -o {tmp}/run": [(4, TRAIN), (4, TRAIN), (4, TRAIN)],
    "predict --digits 3": [(4, CPU), (0, "right"), (0, "right")],
    f"bench {QUICK}": [(4, CPU), (0, "ort-cpu"), None],
    f"bench {{bundled}} {QUICK}": [(4, CPU), (0, "ort-cpu"), (0, "ort-cpu")],
    "bench {bundled} --html {tmp}/x.html": [(4, NEEDS.format("bench"))] * 3,
    "tune {folder} --min-time 0.01 --batch-sizes 1": [None, (0, "onnx-fp32"), (0, "onnx-fp32")],
    "inspect {bundled}": [(0, r"pip install .*\[cpu\]"), (0, "ort-cpu on cpu +│ yes"), (0, "yes")],
    "doctor": [(0, r"\[cpu\]"), (0, "ort-cpu on cpu +│ yes"), (0, "ort-cpu on cpu +│ yes")],
}  # fmt: skip


@pytest.mark.parametrize("installed", MISSING)
def test_a_command_works_or_says_what_to_install(installed, onnx_artifact, mnist_dir, tmp_path):
    import lenet_deploy

    column = list(MISSING).index(installed)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "onnx-fp32").symlink_to(onnx_artifact.path)
    places = {
        "tmp": tmp_path, "mnist": mnist_dir, "bundled": lenet_deploy.bundled_artifact(),
        "folder": tmp_path / "folder",
    }  # fmt: skip
    cases = {words: outcomes[column] for words, outcomes in CASES.items() if outcomes[column]}
    lines = [[word.format(**places) for word in words.split()] for words in cases]
    home = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "COLUMNS": "200"}
    done = python(CODE, json.dumps(MISSING[installed]), json.dumps(lines), **home)
    for (words, (code, pattern)), found in zip(
        cases.items(), json.loads(done.stdout.splitlines()[-1]), strict=True
    ):
        assert found[0] == code, (words, found)
        assert re.search(pattern, found[1]), (words, found)
    assert not (tmp_path / "run").exists()
