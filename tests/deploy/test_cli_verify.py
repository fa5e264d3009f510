"""`lenet-deploy verify`: what it shows, and each of its exit codes for a real reason."""

import copy
import hashlib
import importlib
import json
import shutil
import sys

import numpy as np
import pytest
import torch
from artifact_files import edit_manifest
from cli_helper import assert_fits, run, set_columns
from mnist_files import write_mnist

import lenet_export
import lenet_runtime
from lenet_deploy.training import mnist
from lenet_deploy.training.model import Net
from lenet_export.network import weights
from lenet_runtime.artifact import trust
from lenet_runtime.backends.ort.ort_cpu import OrtCpu
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import Preprocessing, to_batch
from lenet_runtime.version import pip_install


@pytest.fixture
def verify(tmp_path, monkeypatch):
    monkeypatch.delenv("LENET_DEPLOY_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(folder, *words, code=0, sizes="1,2"):
        return run("verify", folder, "--batch-sizes", sizes, *words, code=code)

    return call


@pytest.fixture(scope="module")
def forged(net, tmp_path_factory):
    """An artifact of slightly other weights that claims to be of `net`; it loads."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.fc3.bias[2] += 0.01
    folder = tmp_path_factory.mktemp("forged") / "a"
    lenet_export.export(other, "onnx", folder, batch_sizes=[1])
    claim = weights.fingerprint(net)
    return edit_manifest(folder, lambda document: document.update(weights_sha256=claim))


# ---- what it shows


def test_a_good_artifact_is_shown_and_exits_0(verify, onnx_artifact):
    result = verify(onnx_artifact.path)
    for text in ("on ort-cpu", "bundled digits: 60 digits, accuracy ", "0 answers differ",
                 "parity holds", "permuted", "taken apart"):  # fmt: skip
        assert text in result.stdout
    assert "note: accuracy is of the bundled digits; name a folder of MNIST" in result.stderr
    assert "note:" not in result.stdout


def test_json_is_the_only_thing_on_stdout(verify, onnx_artifact):
    result = verify(onnx_artifact.path, "--json", sizes="1,7")
    document = json.loads(result.stdout)
    assert document["ok"] is True
    assert document["backend"] == "ort-cpu"
    assert document["artifact"] == str(onnx_artifact.path)
    assert {c["batch_size"] for c in document["parity"]["comparisons"]} == {1, 7, 129}
    assert document["data_set"]["flips"] == []
    assert all("eager_multiple" in c for c in document["parity"]["comparisons"])


@pytest.mark.parametrize(
    ("columns", "left_out"), [(60, ("mean", "eager", "times")), (80, ("mean",)), (200, ())]
)
def test_the_tables_fit_the_terminal(verify, onnx_artifact, monkeypatch, columns, left_out):
    set_columns(monkeypatch, columns)
    result = verify(onnx_artifact.path)
    assert_fits(result.stdout, columns)
    headings = {h.strip() for h in result.stdout.splitlines()[3].split("┃")}
    for heading in ("images", "batch", "max", "mean", "eager", "times", "of tol.", "with eager"):
        assert (heading in headings) == (heading not in left_out)


def test_the_mnist_test_set_is_taken_where_it_is(verify, onnx_artifact, tmp_path):
    """And the digits of the tests, which are no digits, are said to be none."""
    for folder, words in ((tmp_path / "there", ("--data-dir", "there")), (tmp_path / "data", ())):
        write_mnist(folder, test=50)
        result = verify(onnx_artifact.path, "--json", *words)
        data_set = json.loads(result.stdout)["data_set"]
        assert (data_set["name"], data_set["comparison"]["batch_size"]) == ("MNIST test set", 50)
        assert "note" not in result.stderr
        assert "the usual causes: another activation than in training" in result.stderr


@pytest.mark.parametrize("way", ["flag", "variable"])
def test_a_folder_that_was_named_must_hold_mnist(verify, onnx_artifact, monkeypatch, way):
    if way == "variable":
        monkeypatch.setenv("LENET_DEPLOY_DATA_DIR", "/proc/nowhere")
    words = ("--data-dir", "/proc/nowhere") if way == "flag" else ()
    result = verify(onnx_artifact.path, *words, code=1)
    assert "error: /proc/nowhere: expected MNIST here or in MNIST/raw" in result.stderr
    assert "found no such folder. Name the folder" in result.stderr
    assert result.stdout == ""


@pytest.mark.slow
def test_all_ten_thousand_digits(verify, onnx_artifact, mnist_dir):
    result = verify(onnx_artifact.path, "--json", "--data-dir", mnist_dir)
    data_set = json.loads(result.stdout)["data_set"]
    assert data_set["comparison"]["batch_size"] == 10_000
    assert data_set["accuracy"] == data_set["eager_accuracy"]


def test_a_static_artifact_is_verified(verify, exported):
    result = verify(exported("torchscript", static_batch=5).path, "--json")
    document = json.loads(result.stdout)
    assert {c["batch_size"] for c in document["parity"]["comparisons"]} == {5}


# ---- exit code 1


def test_another_checkpoint_exits_1(verify, onnx_artifact, tmp_path):
    other = tmp_path / "other.pt"
    torch.save(Net().state_dict(), other)
    result = verify(onnx_artifact.path, "--checkpoint", other, code=1)
    assert "expected the weights it was exported from" in result.stderr
    assert "--checkpoint" in result.stderr
    assert result.stdout == ""


def test_code_is_not_run_without_trust(verify, torchscript_artifact, monkeypatch):
    monkeypatch.setattr(trust, "_written", set())
    assert "if you know who made it, pass --trust; an" in verify(
        torchscript_artifact.path, code=1
    ).stderr  # fmt: skip
    verify(torchscript_artifact.path, "--trust")


def test_a_missing_artifact_or_checkpoint_exits_1(verify, onnx_artifact, tmp_path):
    result = verify(tmp_path / "nowhere", code=1)
    assert f"{tmp_path / 'nowhere'}: expected an artifact's folder" in result.stderr
    result = verify(onnx_artifact.path, "--checkpoint", tmp_path / "none.pt", code=1)
    assert "none.pt" in result.stderr


def test_a_damaged_artifact_exits_1(verify, onnx_artifact, copy_of):
    folder = copy_of(onnx_artifact)
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "damaged or changed after the export" in verify(folder, code=1).stderr


# ---- exit code 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch-sizes", "1;2"], "--batch-sizes: expected integers"),
        (["--backend", "torchscript"], "does not run 'onnx' artifacts; expected one of"),
        (["--backend", "abacus"], "'abacus' does not run"),
        (["--device", "tpu"], "device: expected"),
        (["--threads", "0"], "threads"),
        (["--seed", "-1"], "seed"),
        (["--seed", "x"], "seed"),
    ],
)
def test_wrong_values_are_usage_errors(verify, onnx_artifact, words, message):
    result = verify(onnx_artifact.path, *words, code=2)
    assert message in result.stderr
    assert result.stdout == ""


# ---- exit code 3


def test_a_forged_artifact_exits_3_with_a_whole_report(verify, forged):
    """Trusted it loads, since its golden file was forged with it; only the checkpoint tells."""
    assert "its weights have the SHA-256" in verify(forged, code=1).stderr
    result = verify(forged, "--trust", "--json", code=3)
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert any("random at batch size 2: row " in line for line in document["failures"])
    assert "differs from eager PyTorch" in result.stderr
    assert "parity fails" in verify(forged, "--trust", code=3).stdout


def test_flips_are_listed_with_their_margins(verify, onnx_artifact, monkeypatch):
    """An engine that turns every digit into a 1, once it has passed the self-test of 8."""
    run_engine = OrtCpu.run

    def wrong(self, images):
        logits = run_engine(self, images).copy()
        if len(images) > 8:
            logits[:, 1] = 99
        return logits

    monkeypatch.setattr(OrtCpu, "run", wrong)
    result = verify(onnx_artifact.path, code=3)
    lines = [line for line in result.stdout.splitlines() if line.startswith("  digit ")]
    assert len(lines) == 10  # of 54; the rest is in --json
    assert all("found 1, eager's margin " in line for line in lines)
    flips = json.loads(verify(onnx_artifact.path, "--json", code=3).stdout)["data_set"]["flips"]
    assert len(flips) >= 50
    assert all(flip["found"] == 1 != flip["eager"] for flip in flips)


def test_answers_that_are_not_finite_exit_3_and_are_still_json(verify, onnx_artifact, monkeypatch):
    run_engine = OrtCpu.run
    monkeypatch.setattr(
        OrtCpu, "run",
        lambda self, x: run_engine(self, x) * np.float32(1 if len(x) == 8 else np.nan),
    )  # fmt: skip
    document = json.loads(verify(onnx_artifact.path, "--json", code=3).stdout)
    assert document["parity"]["comparisons"][0]["max_abs_diff"] is None
    assert "-" in verify(onnx_artifact.path, code=3).stdout


# ---- exit code 4


@pytest.mark.parametrize("need", [{"cpu_isa": ["sse9"]}, {"platform": "plan9-z80"}])
def test_foreign_requirements_exit_4(verify, onnx_artifact, copy_of, need):
    folder = edit_manifest(
        copy_of(onnx_artifact), lambda document: document["requirements"].update(need)
    )
    result = verify(folder, code=4)
    assert next(iter(need.values()))[0] in result.stderr
    assert "export it again on this machine" in result.stderr


def test_a_missing_engine_exits_4(verify, onnx_artifact, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert pip_install("cpu") in verify(onnx_artifact.path, code=4).stderr


# ---- exit code 130


def test_an_interrupt_exits_130(verify, onnx_artifact, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    module = importlib.import_module("lenet_export.verification")
    monkeypatch.setattr(module, "verify", interrupt)
    assert verify(onnx_artifact.path, code=130).stderr.endswith("interrupted\n")


def test_a_folder_with_brackets_is_shown_as_it_is(verify, onnx_artifact, tmp_path):
    folder = shutil.copytree(onnx_artifact.path, tmp_path / "[red]a[" / "]b")
    result = verify(folder)
    assert f"verifying {folder} on ort-cpu ..." in result.stderr
    result = verify(folder, "--data-dir", "[bold]x[/]", code=1)
    assert "error: [bold]x[/]: expected MNIST" in result.stderr


def test_in_a_terminal_the_steps_are_a_spinner(verify, onnx_artifact, tmp_path, monkeypatch):
    """It is drawn on stderr alone, and takes any folder's name."""
    folder = shutil.copytree(onnx_artifact.path, tmp_path / "[" / "b]")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert verify(folder, "--json").stdout.startswith("{\n")


# ---- --digest


def test_digest_is_of_the_logits_of_all_digits(verify, onnx_artifact, tmp_path):
    images, _ = mnist.read(write_mnist(tmp_path / "mnist", test=7), train=False)
    with lenet_runtime.load(onnx_artifact.path) as session:
        batches = [load_digits().images, images]
        hashes = [
            hashlib.sha256(session.run(to_batch(batch, Preprocessing())).tobytes()).hexdigest()
            for batch in batches
        ]
    result = verify(onnx_artifact.path, "--digest", "--data-dir", tmp_path / "mnist")
    assert result.stdout.splitlines() == [
        f"{hashes[0]}  bundled digits, 60 of them",
        f"{hashes[1]}  MNIST test set, {len(images)} of them",
    ]
    result = verify(onnx_artifact.path, "--digest", "--json")
    assert "note: digests are of the bundled digits; name a folder" in result.stderr
    document = json.loads(result.stdout)
    assert document["digests"] == [{"digits": "bundled digits", "count": 60, "sha256": hashes[0]}]
    assert (document["backend"], document["precision"]) == ("ort-cpu", "fp32")


@pytest.mark.parametrize("words", [("--record",), ("--html", "page.html")])
def test_digest_compares_nothing(verify, onnx_artifact, words):
    result = verify(onnx_artifact.path, "--digest", *words, code=2)
    assert f"--digest: it compares nothing, found {words[0]}" in result.stderr
