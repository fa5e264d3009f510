"""Modules that are not `Net`: which are exported and left as they were, which are refused."""

import copy

import numpy as np
import pytest
import torch
from every_format import NET_LIKE, ON_CPU, SLOW
from samples import eager, noise
from torch import nn

import lenet_export
import lenet_runtime
from lenet_deploy.training.model import Net
from lenet_export.network import weights
from lenet_runtime.errors import DeployError, InputError

# Quick formats that take any module.
GENERAL = [name for name in ON_CPU if name not in (*SLOW, *NET_LIKE)]


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


class Around(nn.Module):
    """`call(net, x)` of a fresh network and its images."""

    def __init__(self, call):
        super().__init__()
        self.net, self.call = Net(), call

    def forward(self, x):
        return self.call(self.net, x)


def refuse(error):
    raise error


@pytest.mark.parametrize("format", GENERAL)
def test_a_module_that_writes_into_its_input_is_refused(tmp_path, format):
    """Its artifact would write into the memory of whoever calls it."""
    module = Around(lambda net, x: net(x.mul_(0.5)))
    assert_refused(module, tmp_path, r"it writes into its input; .*x\.clone\(\)", format)


# ---- modules that are refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y[:1], r"expected logits \(2, K\) of 2 images .*, found \(1, 10\)"),
        (lambda y: y[..., None], r"found \(2, 10, 1\)"),
        (lambda y: y.double(), "expected float32 logits, found float64"),
        (lambda y: y.argmax(1), "expected a tensor of logits .* found torch.int64"),
        (lambda y: (y, y), "expected a tensor of logits .* found tuple"),
        (lambda y: {"logits": y}, "found dict"),
        (lambda y: y.bfloat16(), "found torch.bfloat16"),
        (lambda y: y @ y, "it fails on float32 images"),
        (lambda y: refuse(KeyError("some key")), "it fails on float32 images .*some key"),
        # A module of one batch size exports as static alone.
        (lambda y: y.reshape(1, 10), "it fails on float32 images"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_module_of_another_shape_is_refused(tmp_path, change, message):
    assert_refused(Around(lambda net, x: change(net(x))), tmp_path, message)


def test_a_module_for_other_images_is_refused(tmp_path):
    message = r"fails on float32 images \(2, 1, 32, 32\)"
    assert_refused(Net().double(), tmp_path, message, "onnx")
    assert_refused(nn.Conv2d(3, 8, 3), tmp_path, r"logits \(2, K\) .* found \(2, 8, 30, 30\)")


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


@pytest.mark.parametrize("format", GENERAL)
def test_a_branch_on_the_whole_batch_is_refused(tmp_path, format):
    """A trace would take one branch only, and the images beside it decide which an image takes."""
    module = Around(lambda net, x: net(x) if x.sum() <= 0 else -net(x))
    assert_refused(module, tmp_path, "images beside it, .*in what its own forward does", format)


def test_a_module_that_fails_at_one_batch_size_is_refused_by_name(tmp_path):
    error = ArithmeticError("seven is too many")
    module = Around(lambda net, x: refuse(error) if len(x) == 7 else net(x))
    assert_refused(module, tmp_path, r"fails on float32 images \(7, 1, 32, 32\) \(seven is")


def test_a_module_of_one_batch_size_exports_as_static(tmp_path):
    module = Around(lambda net, x: net(x).reshape(1, 10))
    lenet_export.export(module, "torchscript", tmp_path / "a", static_batch=1)


def test_a_module_that_cannot_be_traced_is_a_deploy_error(tmp_path):
    error = RuntimeError("not while tracing")
    module = Around(lambda net, x: refuse(error) if torch.jit.is_tracing() else net(x))
    message = "torchscript: the module cannot be traced"
    assert_refused(module, tmp_path, message, error=DeployError)


# ---- the names of weights


def test_fingerprint_knows_every_bit_name_shape_and_dtype():
    torch.manual_seed(0)
    first = Net()
    prints = {weights.fingerprint(first), weights.fingerprint(copy.deepcopy(first).train())}
    assert len(prints) == 1
    changed = copy.deepcopy(first)
    with torch.no_grad():
        changed.fc3.bias[9] = torch.nextafter(changed.fc3.bias[9], torch.tensor(9.0))
    assert weights.fingerprint(changed) not in prints


def test_fingerprint_is_of_more_than_bytes():
    """Six zeros, in another shape, type, or under another name."""

    def holding(name, tensor):
        module = nn.Module()
        module.register_buffer(name, tensor)
        return weights.fingerprint(module)

    zeros = torch.zeros(6)
    kinds = [("a", zeros), ("b", zeros), ("a", zeros.reshape(2, 3)), ("a", zeros.reshape(3, 2))]
    kinds += [("a", zeros.int()), ("a", torch.zeros(12).bfloat16()), ("a", torch.zeros(()))]
    assert len({holding(*kind) for kind in kinds}) == len(kinds)
