"""The artifact that the package ships, and the packages' public names."""

import json
import os

import numpy as np
import pytest
from cli_helper import run_alone
from processes import python

import lenet_bench
import lenet_deploy
import lenet_export
import lenet_runtime
from lenet_export.network.weights import fingerprint
from lenet_runtime.artifact import Artifact
from lenet_runtime.images.digits import load_digits

WITHOUT = ["torch", "torchvision", "onnx", "onnxscript", "safetensors", "matplotlib", "plotly"]


@pytest.fixture(scope="module")
def bundled():
    return Artifact.open(lenet_deploy.bundled_artifact())


def test_it_is_the_bundled_checkpoints(bundled, net, onnx_artifact):
    """``python -m lenet_deploy.training.bundle artifact`` makes it again."""
    found, exported = bundled.manifest, onnx_artifact.manifest
    assert found.weights_sha256 == fingerprint(net)
    for field in ("schema_version", "inputs", "outputs", "preprocessing", "labels", "requirements"):
        assert getattr(found, field) == getattr(exported, field), field
    if found.tools == exported.tools:  # another version of PyTorch may write another graph
        assert bundled.read("model.onnx") == onnx_artifact.read("model.onnx")


def test_it_answers_as_eager_does(bundled, net):
    assert bundled.manifest.parity.ok
    with lenet_runtime.load(bundled) as session:
        assert lenet_export.verify(session, net).ok


def test_it_is_data_and_has_no_file_that_is_not_listed(bundled):
    assert lenet_runtime.artifact.trust.reason(bundled) is None
    assert not bundled.unlisted()


def test_predict_needs_neither_pytorch_nor_a_place_to_write(tmp_path):
    tmp_path.chmod(0o500)
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = run_alone("predict", "--digits", 60, "--json", without=WITHOUT, **home)
    answers = json.loads(done.stdout)["predictions"]
    assert sum(answer["correct"] for answer in answers) >= 59
    assert not os.listdir(tmp_path)


def test_a_service_loads_it_without_pytorch():
    code = f"""
import sys
sys.modules.update(dict.fromkeys({WITHOUT}))
import lenet_deploy, lenet_runtime
from lenet_runtime.images.digits import load_digits
with lenet_runtime.load(lenet_deploy.bundled_artifact()) as session:
    print(session.predict(load_digits().images).labels.tolist())
"""
    labels = np.array(json.loads(python(code).stdout))
    assert np.count_nonzero(labels != load_digits().labels) <= 1


# ---- public names


@pytest.mark.parametrize(
    "package", [lenet_bench, lenet_deploy, lenet_export, lenet_runtime], ids=lambda p: p.__name__
)
def test_a_package_shows_its_public_names_and_no_others(package):
    """What Python's prompt and notebooks complete, before anything was used."""
    code = f"import {package.__name__} as package, json; print(json.dumps(dir(package)))"
    assert json.loads(python(code).stdout) == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name) is not None


def test_the_toolkit_offers_its_network():
    assert {"Net", "load_checkpoint", "bundled_artifact"} <= set(dir(lenet_deploy))
    assert isinstance(lenet_deploy.load_checkpoint(), lenet_deploy.Net)
    with pytest.raises(AttributeError, match="no attribute 'Nett'"):
        lenet_deploy.Nett  # noqa: B018  the look-up is the test
