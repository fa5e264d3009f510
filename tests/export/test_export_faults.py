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
from lenet_export.formats import BUILDERS
from lenet_export.formats import onnx as onnx_format
from lenet_runtime.errors import ArtifactError, DeployError, InputError, ParityError


def nudge(name, by=1e-3):
    """Change the largest weight of one tensor."""

    def spoil(module):
        flat = module.state_dict()[name].view(-1)
        flat[flat.abs().argmax()] += by
        return module

    return spoil


def drop_bias(module):
    module.fc2.bias.zero_()
    return module


def swap_classes(module):
    module.fc3.weight[[3, 8]] = module.fc3.weight[[8, 3]]
    module.fc3.bias[[3, 8]] = module.fc3.bias[[8, 3]]
    return module


class WrongBeyondSixtyFour(Net):
    """Scripted, so that the branch on the batch size survives."""

    def forward(self, x):
        if x.shape[0] > 64:
            x = x + 1
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(F.relu(self.fc2(x)))


class Altered(Net):
    """The network with one of its operations replaced."""

    def __init__(self, first=lambda x: x, pool=F.max_pool2d, relu=F.relu):
        super().__init__()
        self.first, self.pool, self.relu = first, pool, relu

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(self.first(x))), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(F.relu(self.fc2(x)))


def become(kind, **operations):
    def spoil(module):
        other = kind(**operations)
        other.load_state_dict(module.state_dict())
        return other.eval().requires_grad_(False)

    return spoil


def plant(monkeypatch, format, spoil):
    """From here on, `format` is built from a spoilt copy of what it was asked to build."""
    builder = importlib.import_module(BUILDERS[format])
    build = builder.build

    def faulty(request):
        with torch.no_grad():
            module = spoil(copy.deepcopy(request.module))
        return build(dataclasses.replace(request, module=module))

    monkeypatch.setattr(builder, "build", faulty)


SPOILS = {name: nudge(name) for name in Net().state_dict()} | {
    "no bias": drop_bias,
    "classes swapped": swap_classes,
    "no ReLU": become(Altered, relu=lambda x: x),
    "average pooling": become(Altered, pool=F.avg_pool2d),
    "half precision": become(Altered, first=lambda x: x.half().float()),
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


def test_a_planted_fault_leaves_nothing_where_nothing_was(net, tmp_path, monkeypatch):
    plant(monkeypatch, "onnx", nudge("fc3.weight"))
    with pytest.raises(ParityError):
        lenet_export.export(net, "onnx", tmp_path / "new" / "folder" / "a")
    assert not list(tmp_path.iterdir())


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


# ---- tiny logits


def shrunk(net, factor):
    """Its logits, and all that leads to them, `factor` times as large."""
    module = copy.deepcopy(net)
    with torch.no_grad():
        for name in ("fc3.weight", "fc3.bias"):
            module.get_parameter(name).mul_(factor)
    return module


@pytest.mark.parametrize("factor", [1e-3, 1e-8, 1e-20])
@pytest.mark.parametrize("fault", ["fc3.weight", "classes swapped"])
def test_a_fault_of_a_network_with_tiny_logits_is_found(net, tmp_path, monkeypatch, factor, fault):
    """An absolute tolerance would let pass whatever it answers."""
    module = shrunk(net, factor)
    lenet_export.export(module, "torchscript", tmp_path / "right", batch_sizes=[2])
    spoil = swap_classes if fault == "classes swapped" else nudge(fault, 1e-3 * factor)
    plant(monkeypatch, "torchscript", spoil)
    with pytest.raises(ParityError, match=r"differs|self-test"):
        lenet_export.export(module, "torchscript", tmp_path / "wrong", batch_sizes=[2])


def test_logits_that_float32_cannot_tell_apart_are_refused(net, tmp_path):
    for module in (shrunk(net, 1e-32), shrunk(net, 0)):
        with pytest.raises(InputError, match=r"logits of 1e-29 at least, found none above"):
            lenet_export.export(module, "torchscript", tmp_path / "a")
    assert not list(tmp_path.iterdir())
