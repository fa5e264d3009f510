"""Export: every format is proven, nothing wrong is ever published, the caller's module is kept."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from elf import EXECUTABLE, libraries, stack_flags
from every_format import EACH, ON_CPU, SLOW
from samples import eager, noise, snapshot

import lenet_export
import lenet_runtime
from lenet_export.formats import onnx as onnx_format
from lenet_export.network import weights
from lenet_runtime.artifact import golden
from lenet_runtime.errors import BackendUnavailable, InputError
from lenet_runtime.images.preprocess import Preprocessing
from lenet_runtime.parity import BATCH_SIZES

FAST = [f for f in ON_CPU if f not in SLOW]


# ---- every format


@pytest.mark.parametrize("format", EACH)
def test_parity_holds_at_every_batch_size(exported, format):
    """The manifest records two passed comparisons, noise and digits, for each size."""
    report = exported(format).manifest.parity
    assert report.ok
    found = [(c.inputs, c.batch_size) for c in report.comparisons]
    sizes = (1, 2, 7, 23, 24, 64, 257) if format == "torch-compile" else (1, 2, 7, 64, 257)
    assert found == [(inputs, n) for n in sizes for inputs in ("random", "digits")]
    assert all(c.worst_share < 1 and c.top1_agreement == 1 for c in report.comparisons)
    assert all(c.eager_error is not None for c in report.comparisons)


@pytest.mark.parametrize("format", EACH)
@pytest.mark.parametrize("count", [3, 100])
def test_sizes_that_export_never_tried_run(exported, net, format, count):
    with lenet_runtime.load(exported(format).path) as session:
        images = noise(count, seed=count)
        np.testing.assert_allclose(session.run(images), eager(net, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("format", EACH)
def test_the_manifest_says_what_was_exported(exported, net, format):
    artifact = exported(format)
    manifest = artifact.manifest
    assert (manifest.format, manifest.precision, manifest.batch_size) == (format, "fp32", None)
    assert manifest.preprocessing == Preprocessing()
    assert manifest.labels == tuple("0123456789")
    assert manifest.weights_sha256 == weights.fingerprint(net)
    assert manifest.tools["lenet-deploy"] == lenet_runtime.__version__
    assert manifest.tools["torch"] == torch.__version__
    for name, entry in manifest.files.items():
        data = (artifact.path / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry.size, entry.sha256)


@pytest.mark.parametrize("format", EACH)
def test_golden_holds_eagers_answers(exported, net, format):
    images, logits = golden.read(exported(format))
    assert len(images) == 8
    np.testing.assert_array_equal(logits, eager(net, images))


@pytest.mark.parametrize("format", EACH)
def test_no_library_asks_for_a_stack_that_can_be_executed(exported, format):
    """glibc 2.41 and services under MemoryDenyWriteExecute refuse such a library."""
    artifact = exported(format)
    found = libraries({name: artifact.read(name) for name in artifact.manifest.files})
    assert len(found) == {"native": 1, "torch-compile": 3}.get(format, 0)
    for name, data in found.items():
        (flags,) = stack_flags(data)
        assert not flags & EXECUTABLE, name


@pytest.mark.parametrize("format", FAST)  # torch-compile's: in test_cli_export.py
def test_a_static_batch_takes_that_size_only(exported, net, format):
    artifact = exported(format, static_batch=5)
    assert {c.batch_size for c in artifact.manifest.parity.comparisons} == {5}
    assert len(golden.read(artifact)[0]) == 5
    with lenet_runtime.load(artifact.path) as session:
        images = noise(5)
        np.testing.assert_allclose(session.run(images), eager(net, images), rtol=1e-4, atol=1e-5)
        with pytest.raises(InputError, match="batches of 5, found 4"):
            session.run(images[:4])


@pytest.mark.slow
def test_fresh_processes_make_the_same_bytes(net, onnx_artifact, tmp_path):
    """Whatever the hash seed, the folder and the number of threads are, and the manifest's, too.

    TorchScript's are the same only that way.
    """
    torch.save(net.state_dict(), tmp_path / "net.pt")
    script = (
        "import sys, torch, lenet_export; from lenet_deploy.training.model import Net; net = Net();"
        "net.load_state_dict(torch.load(sys.argv[1]));"
        "[lenet_export.export(net, f, f'{sys.argv[2]}/{f}', batch_sizes=[2, 64])"
        " for f in sys.argv[3:]]"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, tmp_path / "net.pt", tmp_path / number, *FAST],
            env=os.environ | {"PYTHONHASHSEED": number, "OMP_NUM_THREADS": number},
        )
        for number in ("1", "2")
    ]
    assert [process.wait() for process in processes] == [0, 0]
    first = snapshot(tmp_path / "1")
    assert len(first) == 3 + 3 + 5 + 7  # onnx, torchscript, native, web
    assert first == snapshot(tmp_path / "2")
    assert first["onnx/model.onnx"] == onnx_artifact.read("model.onnx")


# ---- arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "tflite"}, "format: expected one of onnx, .* found 'tflite'"),
        ({"precision": "fp16"}, "precision: 'torchscript' can be exported in .*fp32"),
        ({"precision": "FP32"}, "found 'FP32'"),
        ({"precision": []}, r"found \[\]"),
        ({"static_batch": 0}, "static batch: expected 1 to 16384, found 0"),
        ({"static_batch": -1}, "found -1"),
        ({"static_batch": True}, "found True"),
        ({"static_batch": 2.0}, "found 2.0"),
        ({"static_batch": 10**9}, "found 1000000000"),
        ({"labels": tuple("012345678")}, "labels: expected 10 strings, .*found 9"),
        ({"labels": ("0",) * 10}, "labels: expected different strings"),
        ({"labels": range(10)}, "labels: expected different strings"),
        ({"batch_sizes": ()}, "batch sizes: expected positive integers"),
        ({"batch_sizes": (1, 0)}, r"found \[1, 0\]"),
        ({"batch_sizes": (1, -3)}, r"found \[1, -3\]"),
        ({"batch_sizes": (1.5,)}, r"found \[1.5\]"),
        ({"opset": 20}, "'torchscript' takes no option opset; it takes none"),
        ({"format": "onnx", "optset": 20}, r"no option optset; it takes opset"),
        ({"output": "."}, "output: expected the name of a new folder, found '.'"),
        ({"output": "/"}, "output: expected the name"),
        ({"output": ".."}, "output: expected the name"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_done(
    net, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    given = {"format": "torchscript", "output": "a"} | arguments
    with pytest.raises(InputError, match=message):
        lenet_export.export(net, given.pop("format"), given.pop("output"), **given)
    assert not list(tmp_path.iterdir())


def test_progress_names_each_step(net, tmp_path):
    steps = []
    lenet_export.export(
        net, "torchscript", tmp_path / "a", batch_sizes=[2, 3], progress=steps.append
    )
    assert steps == [
        "building torchscript",
        "verifying with torchscript at batch sizes 1, 2, 3, 129",
    ]


def test_an_export_is_trusted_by_the_process_that_made_it(exported):
    lenet_runtime.load(exported("torchscript").path).close()  # no trust=True


def test_no_engine_to_verify_with_makes_nothing(net, tmp_path, monkeypatch):
    """What cannot be proven is not even built."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(onnx_format, "build", lambda request: pytest.fail("it was built"))
    with pytest.raises(BackendUnavailable, match=r"ort-cpu: .*pip install .*\[cpu\]"):
        lenet_export.export(net, "onnx", tmp_path / "out" / "a")
    assert not list(tmp_path.iterdir())


def test_default_batch_sizes_are_the_promised_ones():
    assert BATCH_SIZES == (1, 2, 7, 64, 257)
