"""Modules that are not `Net`: which are exported and left as they were, which are refused."""

import copy

import numpy as np
import pytest
import torch
from samples import eager, noise
from torch import nn

import lenet_export
import lenet_runtime
from lenet_deploy.training.model import Net
from lenet_export import FORMATS
from lenet_runtime.errors import (
    DeployError,
    InputError,
    ParityError,
)

# Quick formats that take any module.
GENERAL = [f for f in FORMATS if f not in ("native", "torch-compile", "tensorrt", "cuda")]


# ---- the caller's module


class Regularised(nn.Module):
    """Answers differently in training mode, and remembers what it saw."""

    def __init__(self):
        super().__init__()
        self.net = Net()
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(10)

    def forward(self, x):
        return self.norm(self.drop(self.net(x)))


@pytest.mark.parametrize("format", GENERAL)
def test_a_module_in_training_mode_is_exported_in_eval_mode(tmp_path, format):
    torch.manual_seed(1)
    module = Regularised().train()
    module.norm.running_mean += 0.5
    artifact = lenet_export.export(module, format, tmp_path / "a", batch_sizes=[2])
    with lenet_runtime.load(artifact.path) as session:
        images = noise(4)
        np.testing.assert_allclose(session.run(images), eager(module, images), rtol=1e-4, atol=1e-5)


def test_the_callers_module_is_left_as_it_was(tmp_path):
    """Mode, gradients, frozen layers and running statistics; with `eval` of a part kept, too."""
    torch.manual_seed(1)
    module = Regularised().train()
    module.drop.eval()
    module.net.conv1.requires_grad_(False)
    module(torch.randn(4, 1, 32, 32)).sum().backward()
    state = copy.deepcopy(module.state_dict())
    grads = {n: None if p.grad is None else p.grad.clone() for n, p in module.named_parameters()}
    modes = {name: part.training for name, part in module.named_modules()}
    threads, grad_mode = torch.get_num_threads(), torch.is_grad_enabled()
    lenet_export.export(module, "torchscript", tmp_path / "a", batch_sizes=[2])
    assert {name: part.training for name, part in module.named_modules()} == modes
    assert all(torch.equal(value, state[n]) for n, value in module.state_dict().items())
    assert not module.net.conv1.weight.requires_grad
    assert module.net.fc3.weight.requires_grad
    for name, parameter in module.named_parameters():
        assert (parameter.grad is None) == (grads[name] is None)
        assert parameter.grad is None or torch.equal(parameter.grad, grads[name])
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, grad_mode)


def assert_refused(module, folder, message=None, format="torchscript", error=InputError):
    """It is not exported, and nothing is left of the attempt; returns what was raised."""
    with pytest.raises(error, match=message) as caught:
        lenet_export.export(module, format, folder / "a")
    assert not list(folder.iterdir())
    return caught


class InPlace(Net):
    def forward(self, x):
        return super().forward(x.mul_(0.5))


@pytest.mark.parametrize("format", GENERAL)
def test_a_module_that_writes_into_its_input_is_refused(tmp_path, format):
    """Its artifact would write into the memory of whoever calls it."""
    assert_refused(InPlace(), tmp_path, r"it writes into its input; .*x\.clone\(\)", format)


# ---- modules that are refused


class Shaped(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.net, self.make = Net(), make

    def forward(self, x):
        return self.make(self.net(x))


def raise_key_error(logits):
    raise KeyError("some key")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda y: y[:, :9], r"expected float32 logits \(2, 10\) of 2 images, found .*\(2, 9\)"),
        (lambda y: y[:1], r"found float32 \(1, 10\)"),
        (lambda y: y.double(), r"found float64 \(2, 10\)"),
        (lambda y: y.argmax(1), "expected a tensor of logits .* found torch.int64"),
        (lambda y: (y, y), "expected a tensor of logits .* found tuple"),
        (lambda y: {"logits": y}, "found dict"),
        (lambda y: y.bfloat16(), "found torch.bfloat16"),
        (lambda y: y @ y, "it fails on float32 images"),
        (raise_key_error, "it fails on float32 images .*some key"),
    ],
    ids=["9 classes", "1 row", "float64", "labels", "tuple", "dict", "bfloat16", "raises", "key"],
)
def test_a_module_of_another_shape_is_refused(tmp_path, make, message):
    assert_refused(Shaped(make), tmp_path, message)


def test_a_module_for_other_images_is_refused(tmp_path):
    assert_refused(nn.Conv2d(3, 8, 3), tmp_path, r"float32 images \(2, 1, 32, 32\)", "onnx")
    assert_refused(Net().double(), tmp_path, "it fails on float32 images", "onnx")


def test_each_tensor_that_is_not_finite_is_named(tmp_path):
    module = Regularised()
    with torch.no_grad():
        module.net.conv1.weight[0, 0, 0, :2] = float("nan")
        module.net.fc3.bias[3] = float("-inf")
        module.norm.running_var[0] = float("inf")
    caught = assert_refused(module, tmp_path, format="onnx")
    for part in ("net.conv1.weight (2 of 54)", "net.fc3.bias (1 of 10)", "norm.running_var (1"):
        assert part in str(caught.value)
    assert "fc1" not in str(caught.value)


class Branching(Net):
    """Dark images go another way."""

    def forward(self, x):
        return super().forward(x) if x.sum() <= 0 else -super().forward(x)


@pytest.mark.parametrize(("format", "error"), [("onnx", DeployError), ("torchscript", ParityError)])
def test_a_branch_on_the_data_is_found(tmp_path, format, error):
    """torch.export refuses it; a trace takes one branch only, which parity shows."""
    assert_refused(Branching(), tmp_path, format=format, error=error)


class FailsAtSeven(Net):
    def forward(self, x):
        if x.shape[0] == 7:
            raise ArithmeticError("seven is too many")
        return super().forward(x)


def test_a_module_that_fails_at_one_batch_size_is_refused_by_name(tmp_path):
    message = r"fails on float32 images \(7, 1, 32, 32\) \(seven is"
    assert_refused(FailsAtSeven(), tmp_path, message)


class FixedToOne(Net):
    def forward(self, x):
        return super().forward(x.reshape(1, 1, 32, 32))


def test_a_module_of_one_batch_size_exports_as_static_alone(tmp_path):
    assert_refused(FixedToOne(), tmp_path, "fails on float32 images")
    lenet_export.export(FixedToOne(), "torchscript", tmp_path / "a", static_batch=1)


class Untraceable(Net):
    def forward(self, x):
        if torch.jit.is_tracing():
            raise RuntimeError("not while tracing")
        return super().forward(x)


def test_a_module_that_cannot_be_traced_is_a_deploy_error(tmp_path):
    message = "torchscript: the module cannot be traced"
    assert_refused(Untraceable(), tmp_path, message, error=DeployError)
