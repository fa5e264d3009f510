"""Planted faults: parity finds each, and what was there before stays."""

import copy
import dataclasses
import importlib

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from samples import snapshot

import lenet_export
from lenet_deploy.training.model import Net
from lenet_export import FORMATS
from lenet_export.formats import onnx as onnx_format
from lenet_runtime.errors import (
    ArtifactError,
    DeployError,
    ParityError,
)

# ---- planted faults


def nudge(name):
    """Change the largest weight of one tensor by a thousandth."""

    def spoil(module):
        flat = module.state_dict()[name].view(-1)
        flat[flat.abs().argmax()] += 1e-3
        return module

    return spoil


def drop_bias(module):
    module.fc2.bias.zero_()
    return module


def swap_classes(module):
    module.fc3.weight[[3, 8]] = module.fc3.weight[[8, 3]]
    module.fc3.bias[[3, 8]] = module.fc3.bias[[8, 3]]
    return module


class NoRelu(Net):
    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.fc1(torch.flatten(x, 1))
        return self.fc3(F.relu(self.fc2(x)))


class AveragePool(Net):
    def forward(self, x):
        x = F.avg_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(F.relu(self.fc2(x)))


class HalfWay(Net):
    """Does its first layer in half precision."""

    def forward(self, x):
        return super().forward(x.half().float())


def become(kind):
    def spoil(module):
        other = kind()
        other.load_state_dict(module.state_dict())
        return other.eval().requires_grad_(False)

    return spoil


def plant(monkeypatch, format, spoil):
    """From here on, `format` is built from a spoilt copy of what it was asked to build."""
    builder = importlib.import_module(FORMATS[format].module)
    build = builder.build

    def faulty(request):
        with torch.no_grad():
            module = spoil(copy.deepcopy(request.module))
        return build(dataclasses.replace(request, module=module))

    monkeypatch.setattr(builder, "build", faulty)


SPOILS = {name: nudge(name) for name in Net().state_dict()} | {
    "no bias": drop_bias,
    "classes swapped": swap_classes,
    "no ReLU": become(NoRelu),
    "average pooling": become(AveragePool),
    "half precision": become(HalfWay),
}


@pytest.mark.parametrize("fault", SPOILS)
def test_a_planted_fault_is_never_published(
    net, torchscript_artifact, copy_of, tmp_path, monkeypatch, fault
):
    """The comparison fails, and the artifact that was there stays to the byte."""
    target = copy_of(torchscript_artifact)
    before = snapshot(tmp_path)
    plant(monkeypatch, "torchscript", SPOILS[fault])
    with pytest.raises(ParityError, match=r"differs|self-test"):
        lenet_export.export(net, "torchscript", target, force=True)
    assert snapshot(tmp_path) == before
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("fault", ["fc3.weight"])
def test_a_planted_fault_leaves_nothing_where_nothing_was(net, tmp_path, monkeypatch, fault):
    plant(monkeypatch, "onnx", SPOILS[fault])
    with pytest.raises(ParityError):
        lenet_export.export(net, "onnx", tmp_path / "new" / "folder" / "a")
    assert not list(tmp_path.iterdir())


class WrongBeyondSixtyFour(Net):
    """Scripted, so that the branch on the batch size survives."""

    def forward(self, x):
        if x.shape[0] > 64:
            x = x + 1
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(F.relu(self.fc2(x)))


def test_a_fault_at_large_batches_alone_is_found(net, tmp_path, monkeypatch):
    """Eight golden digits answer rightly; only the batch of 257 shows it."""
    monkeypatch.setattr(torch.jit, "trace", lambda module, example: torch.jit.script(module))
    plant(monkeypatch, "torchscript", become(WrongBeyondSixtyFour))
    with pytest.raises(ParityError) as caught:
        lenet_export.export(net, "torchscript", tmp_path / "a")
    assert str(caught.value).count("at batch size 257") == 2
    assert "batch size 64" not in str(caught.value)


def test_a_builder_that_fails_leaves_nothing(net, tmp_path, monkeypatch):
    def fail(request):
        raise DeployError("the compiler failed")

    monkeypatch.setattr(onnx_format, "build", fail)
    with pytest.raises(DeployError, match="the compiler failed"):
        lenet_export.export(net, "onnx", tmp_path / "out" / "a")
    assert not list(tmp_path.iterdir())


def test_a_builder_whose_file_the_engine_refuses_leaves_nothing(net, tmp_path, monkeypatch):
    build = onnx_format.build
    monkeypatch.setattr(
        onnx_format, "build",
        lambda request: dataclasses.replace(build(request), files={"model.onnx": b"garbage"}),
    )  # fmt: skip
    with pytest.raises(ArtifactError, match="ONNX Runtime cannot load it"):
        lenet_export.export(net, "onnx", tmp_path / "a")
    assert not list(tmp_path.iterdir())
