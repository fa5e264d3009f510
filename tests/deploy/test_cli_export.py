"""`lenet-deploy export`: its exit codes, its two outputs, and what it leaves behind."""

import importlib
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from cli_helper import assert_fits, run, set_columns
from every_format import NET_LIKE, ON_CPU
from samples import eager, noise, snapshot

import lenet_runtime
from lenet_deploy.training.checkpoint import save_checkpoint
from lenet_export.formats import BUILDERS, onnx, torch_compile, torchscript
from lenet_export.network import weights
from lenet_runtime.artifact import trust
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError, ParityError
from lenet_runtime.images.preprocess import Preprocessing
from lenet_runtime.version import pip_install

NO_COMPILER = "no-such-compiler"


@pytest.fixture(scope="module")
def checkpoint(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "net.safetensors"
    save_checkpoint(net, path, {"preprocessing": {"mean": 0.25, "std": 0.5}})
    return path


@pytest.fixture
def export(checkpoint, tmp_path):
    """`export(*words, code=0)`: into ``out`` of the test's own folder; quick unless told."""

    def call(*words, format="torchscript", code=0, sizes="1,2"):
        return run(
            "export", "--checkpoint", checkpoint, "-o", tmp_path / "out", "-f", format,
            "--batch-sizes", sizes, *words, code=code,
        )  # fmt: skip

    return call


def raising(error):
    def build(request):
        raise error

    return build


# ---- what it makes and says


def test_an_artifact_appears_that_loads_without_this_process(export, net, tmp_path, monkeypatch):
    result = export("--json")
    (row,) = json.loads(result.stdout)["artifacts"]
    folder = tmp_path / "out" / "torchscript-fp32"
    assert row["path"] == str(folder)
    assert row["format"] == "torchscript"
    assert row["weights_sha256"] == weights.fingerprint(net)
    assert row["size_bytes"] == sum(
        p.stat().st_size for p in folder.iterdir() if p.name != "manifest.json"
    )
    assert 0 <= row["worst_share_of_tolerance"] < 1
    assert row["top1_agreement"] == 1
    monkeypatch.setattr(trust, "_written", set())
    with lenet_runtime.load(folder, trust=True) as session:
        assert session.manifest.parity.ok


def test_the_checkpoints_card_decides_the_preprocessing(export, tmp_path):
    export()
    with lenet_runtime.load(tmp_path / "out" / "torchscript-fp32") as session:
        assert session.manifest.preprocessing == Preprocessing(mean=0.25, std=0.5)


def test_results_go_to_stdout_and_progress_to_stderr(export):
    result = export("--json")
    json.loads(result.stdout)
    assert result.stderr.splitlines() == [
        "looking for what is in the way ...",
        "building torchscript ...",
        "verifying with torchscript at batch sizes 1, 2, 129 ...",  # which is cut
        "classifying digits with torchscript ...",
    ]


@pytest.mark.parametrize("columns", [60, 70, 80, 200])
def test_the_table_fits_the_terminal(export, tmp_path, monkeypatch, columns):
    set_columns(monkeypatch, columns)
    result = export()
    assert_fits(result.stdout.partition("wrote ")[0], columns)  # and a path never folds
    assert "100.00%" in result.stdout
    cells = [line.split("│")[1].strip() for line in result.stdout.splitlines() if "│" in line]
    assert "".join(cells) == "torchscript-fp32"
    assert f"wrote {tmp_path / 'out' / 'torchscript-fp32'}" in result.stdout.splitlines()


def test_a_static_batch_has_a_folder_of_its_own(export, tmp_path):
    export("--static-batch", 5)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["torchscript-fp32-b5"]


def test_onnx_is_the_default_and_takes_an_opset(checkpoint, tmp_path):
    words = ("--checkpoint", checkpoint, "-o", tmp_path, "--batch-sizes", "1", "--opset", 18)
    (row,) = json.loads(run("export", *words, "--json").stdout)["artifacts"]
    assert row["format"] == "onnx"
    with lenet_runtime.load(row["path"]) as session:
        assert session.manifest.requirements.engine_version == "opset 18, IR 8"


def test_all_iterates_the_table_and_lists_what_is_missing(export, tmp_path, monkeypatch):
    """Without a compiler the other formats are made, and the exit code says that one was not."""
    monkeypatch.setenv("CXX", NO_COMPILER)
    result = export("--json", format="all", code=4)
    document = json.loads(result.stdout)
    (failed,) = document["failed"]
    assert failed["format"] == "torch-compile"
    assert "expected a C++ compiler, found no 'no-such-compiler'" in failed["reason"]
    made = [row["format"] for row in document["artifacts"]]
    assert made == [name for name in ON_CPU if name != "torch-compile"]
    assert "found no 'no-such-compiler'" in result.stderr
    assert len(list((tmp_path / "out").iterdir())) == len(made)


def test_all_goes_on_after_a_failure_and_its_code_wins(export, monkeypatch):
    """A parity failure outranks a missing engine; both are told, each with its format."""
    monkeypatch.setattr(onnx, "build", raising(BackendUnavailable("pip install 'x[y]'")))
    monkeypatch.setattr(torch_compile, "build", raising(ParityError("it differs [by design]")))
    result = export("--json", format="all", code=3)
    document = json.loads(result.stdout)
    assert [row["format"] for row in document["artifacts"]] == ["torchscript", *NET_LIKE]
    assert [row["format"] for row in document["failed"]] == ["onnx", "torch-compile"]
    assert "error: it differs [by design]" in result.stderr
    assert "onnx: pip install 'x[y]'" in result.stderr


def test_all_names_the_target_where_the_format_has_one(export, tmp_path):
    (tmp_path / "out" / "web-int8").mkdir(parents=True)
    (tmp_path / "out" / "web-int8" / "notes.txt").touch()
    result = export("--target", "cortex-m", format="all", code=1)
    assert "out/web-int8: expected an artifact or nothing" in result.stderr


def test_all_with_nothing_made_prints_no_table(export, monkeypatch):
    for name in ON_CPU:
        module = importlib.import_module(BUILDERS[name])
        monkeypatch.setattr(module, "build", raising(DeployError(f"{name} is broken")))
    result = export(format="all", code=1)
    assert result.stdout == ""
    assert all(f"{name} is broken" in result.stderr for name in ON_CPU)


@pytest.mark.slow
def test_all_formats_for_real(export, net):
    """With a static batch, which each of them must keep to."""
    rows = json.loads(export("--json", "--static-batch", 5, format="all").stdout)["artifacts"]
    assert [row["format"] for row in rows] == ON_CPU
    images = noise(5)
    expected = eager(net, images)
    for row in rows:
        with lenet_runtime.load(row["path"]) as session:
            np.testing.assert_allclose(session.run(images), expected, rtol=1e-4, atol=1e-5)
            assert {c.batch_size for c in session.manifest.parity.comparisons} == {5}
            with pytest.raises(InputError, match="batches of 5, found 4"):
                session.run(images[:4])


# ---- exit code 1


def test_an_artifact_in_the_way_is_kept_without_force(export, tmp_path):
    export()
    before = snapshot(tmp_path)
    result = export(code=1)
    assert "an artifact is there already; pass --force" in result.stderr
    assert result.stdout == ""
    assert snapshot(tmp_path) == before
    export("--force", "--static-batch", 5)
    export("--force")


def test_a_folder_of_other_files_is_never_replaced(export, tmp_path):
    folder = tmp_path / "out" / "torchscript-fp32"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("precious")
    assert "a folder of other files" in export("--force", code=1).stderr
    assert (folder / "notes.txt").read_text() == "precious"


def test_an_output_that_cannot_be_written_is_one_line(checkpoint, tmp_path):
    (tmp_path / "file").touch()
    words = ("--checkpoint", checkpoint, "-o", tmp_path / "file", "-f", "torchscript")
    assert "cannot write here" in run("export", *words, "--batch-sizes", 1, code=1).stderr


@pytest.mark.parametrize("weights", ["module.pt", "none.safetensors", "card.safetensors"])
def test_a_checkpoint_that_is_not_as_it_should_be_is_one_line(net, tmp_path, weights):
    """tests/deploy/test_checkpoint.py has all that is refused, and that no code of it runs."""
    torch.save(net, tmp_path / "module.pt")
    save_checkpoint(net, tmp_path / "card.safetensors", {"preprocessing": {"tint": 1}})
    words = ("export", "--checkpoint", tmp_path / weights, "-o", tmp_path / "out")
    assert run(*words, code=1).stderr.startswith(f"error: {tmp_path / weights}: expected a ")
    assert not (tmp_path / "out").exists()


# ---- exit code 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "tflite"], "--format: expected one of onnx, torchscript, torch-compile"),
        (["--format", "onx"], "found 'onx'; did you mean onnx?"),
        (["--format", "ONNX"], "found 'ONNX'"),
        (
            ["--precision", "fp16"],
            "--precision: 'torchscript' can be exported in one of fp32, tf32, found 'fp16'",
        ),
        (["--opset", "20"], "--opset: only the onnx format has one"),
        (["--isa", "generic"], "--isa: only the native format has one"),
        (["--target", "cortex-m"], "--target: only the native format has one"),
        (["--format", "native", "--isa", "x86-64-v9"], "--isa: expected one of x86-64-v4, x86"),
        (["--source-only"], "--source-only: only the native format is C, found --format torch"),
        (["--format", "onnx", "--opset", "17"], "opset: expected 18 to 22, found 17"),
        (["--format", "onnx", "--opset", "0"], "opset: expected 18 to 22, found 0"),
        (["--format", "native", "--calibration-dir", "x"], "int8 alone has one, found fp32"),
        (["--static-batch", "20000"], "--static-batch: expected 1 to 16384"),
        (["--static-batch", "0"], "--static-batch"),
        (["--static-batch", "x"], "--static-batch"),
        (["--no-such-flag"], "No such option"),
        (["extra"], "unexpected extra argument"),
        (["--batch-sizes", "1,x"], "--batch-sizes: expected integers of 1 to 99999"),
        (["--batch-sizes", ""], "found ''"),
        (["--batch-sizes", "1,,2"], "found '1,,2'"),
        (["--batch-sizes", "0"], "found '0'"),
        (["--batch-sizes", "-1"], "found '-1'"),
        (["--batch-sizes", "1.5"], "found '1.5'"),
        (["--batch-sizes", "100000"], "found '100000'"),
        (["--batch-sizes", "9" * 5000], "found '999"),
        (["--batch-sizes", "\u0661,\u00b2"], "found '\u0661,\u00b2'"),
    ],
)
def test_wrong_values_are_usage_errors(export, tmp_path, words, message):
    result = export(*words, code=2)
    assert message in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()


# ---- exit code 3


def test_a_failed_comparison_exits_3_and_leaves_nothing(export, tmp_path, monkeypatch):
    build = torchscript.build

    def faulty(request):
        with torch.no_grad():
            request.module.conv1.bias += 1e-3
        result = build(request)
        with torch.no_grad():
            request.module.conv1.bias -= 1e-3
        return result

    monkeypatch.setattr(torchscript, "build", faulty)
    result = export("--json", code=3)
    assert result.stdout == ""
    assert "error: " in result.stderr
    assert not (tmp_path / "out").exists()


# ---- exit code 4


def test_a_missing_compiler_exits_4(export, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", NO_COMPILER)
    result = export(format="torch-compile", code=4)
    assert "install g++ (Debian: apt install g++), or set CXX" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_engine_exits_4_and_says_what_to_install(export, tmp_path, monkeypatch):
    """Brackets in the advice are not eaten as rich's markup."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert pip_install("cpu") in export(format="onnx", code=4).stderr
    assert not (tmp_path / "out").exists()


# ---- exit code 130


def test_an_interrupt_exits_130_and_leaves_nothing(export, tmp_path, monkeypatch):
    monkeypatch.setattr(torchscript, "build", raising(KeyboardInterrupt()))
    assert export(code=130).stderr.endswith("interrupted\n")
    assert not (tmp_path / "out").exists()


def test_ctrl_c_in_the_terminal_exits_130(checkpoint, tmp_path):
    script = "from lenet_deploy.__main__ import main; main()"
    words = ["export", "--checkpoint", checkpoint, "-o", tmp_path / "out", "-f", "onnx"]
    with subprocess.Popen(
        [sys.executable, "-c", script, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        steps = [process.stderr.readline() for _ in range(3)]
        assert [steps[0], steps[2]] == ["starting PyTorch ...\n", "building onnx ...\n"]
        process.send_signal(signal.SIGINT)
        out, error = process.communicate()
    assert process.returncode == 130, error
    assert (out, error) == ("", "interrupted\n")
    assert not (tmp_path / "out").exists()
