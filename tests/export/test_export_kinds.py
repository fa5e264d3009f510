"""Kinds of modules: each is exported rightly, or refused with what to do."""

import copy
import threading
import warnings

import numpy as np
import pytest
import torch
from samples import eager, noise
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import lenet_export
import lenet_runtime
from lenet_deploy.training.model import Net
from lenet_export import formats
from lenet_export.request import Request
from lenet_runtime.devices import Device
from lenet_runtime.errors import DeployError, InputError


def changed(change):
    """A network after `change(net)`."""
    net = Net()
    change(net)
    return net


def quietly(make):
    """What PyTorch deprecates is a kind, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def fake():
    with FakeTensorMode():
        return Net()


def shared():
    module = nn.Sequential(nn.Flatten(), *(nn.Linear(1024, 1024) for _ in range(2)))
    module[1].weight = module[2].weight
    return module.append(nn.Linear(1024, 10))


class Answers(Net):
    """A network with another signature of `forward` or another answer."""

    def __init__(self, forward):
        super().__init__()
        self.forward = lambda *images: forward(super(Answers, self).forward, *images)


class ExtraState(Net):
    def get_extra_state(self):
        return {"epoch": 3}

    def set_extra_state(self, state):
        pass


def recurse(net, x):
    return recurse(net, x)


# What comes of it: None where it is exported, else what the error says.
KINDS = {
    "plain": (Net, None),
    "training": (lambda: Net().train(), None),
    "no gradients": (lambda: Net().requires_grad_(False), None),
    "channels last": (lambda: Net().to(memory_format=torch.channels_last), None),
    "nested": (lambda: nn.Sequential(nn.Identity(), nn.Sequential(Net())), None),
    "fx": (lambda: torch.fx.symbolic_trace(Net()), None),
    "hooked": (
        lambda: changed(lambda net: net.fc1.register_forward_hook(lambda *a: a[2] * 2)),
        None,
    ),
    "shared weights": (shared, None),
    "shared layer": (lambda: changed(lambda net: setattr(net, "fc4", net.fc3)), None),
    "integer buffer": (lambda: changed(lambda n: n.register_buffer("step", torch.tensor(3))), None),
    "extra state": (ExtraState, None),
    "weight norm": (lambda: changed(lambda net: parametrizations.weight_norm(net.fc1)), None),
    "spectral norm": (lambda: changed(lambda net: parametrizations.spectral_norm(net.fc1)), None),
    "old weight norm": (
        lambda: changed(lambda net: weight_norm(net.fc1)),
        r"found WeightNorm of layer 'fc1'.*remove_weight_norm\(layer\)",
    ),
    "old spectral norm": (
        lambda: changed(lambda net: spectral_norm(net.fc1)),
        r"found SpectralNorm of layer 'fc1'.*remove_spectral_norm\(layer\)",
    ),
    "pruned": (
        lambda: changed(lambda net: prune.l1_unstructured(net.fc1, "weight", 0.3)),
        r"found L1Unstructured of layer 'fc1'.*prune\.remove\(layer, 'weight'\)",
    ),
    "scripted": (
        lambda: torch.jit.script(Net()),
        "found TorchScript, .*pass the module that it was made of",
    ),
    "traced": (lambda: torch.jit.trace(Net().eval(), torch.zeros(2, 1, 32, 32)), "TorchScript"),
    "compiled": (lambda: torch.compile(Net()), r"found OptimizedModule .*pass module\._orig_mod"),
    "data parallel": (lambda: nn.DataParallel(Net()), r"found DataParallel .*pass module\.module"),
    "averaged": (lambda: torch.optim.swa_utils.AveragedModel(Net()), r"pass module\.module"),
    "quantized": (
        lambda: torch.ao.quantization.quantize_dynamic(Net().eval(), {nn.Linear}),
        "found Linear as 'fc1'; pass the network before it was quantized",
    ),
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), "call it once on images"),
    "meta": (lambda: Net().to("meta"), "conv1.weight has a shape and no values"),
    "fake": (fake, "conv1.weight has a shape and no values"),
    "half": (lambda: Net().half(), r"its weights are torch\.float16, pass module\.float\(\)"),
    "bfloat16": (lambda: Net().bfloat16(), r"torch\.bfloat16, pass module\.float\(\)"),
    "double": (lambda: Net().double(), r"torch\.float64, pass module\.float\(\)"),
    "mixed": (lambda: changed(lambda net: net.fc1.double()), r"torch\.float64, pass module\.float"),
    "two inputs": (lambda: Answers(lambda net, x, y: net(x)), "fails on .*'y'"),
    "no input": (lambda: Answers(lambda net: net), "fails on .*positional argument"),
    "tuple": (lambda: Answers(lambda net, x: (net(x), x)), "expected a tensor .*found tuple"),
    "dict": (lambda: Answers(lambda net, x: {"logits": net(x)}), "expected a tensor .*found dict"),
    "raises": (lambda: Answers(lambda net, x: 1 / 0), "fails on .*division by zero"),
    "recursive": (lambda: Answers(recurse), "fails on .*recursion"),
    "a lock": (lambda: changed(lambda n: setattr(n, "lock", threading.Lock())), "cannot be copied"),
    "empty": (nn.Module, 'fails on .*"forward"'),
    "a class": (lambda: Net, r"found the class Net; pass an instance, Net\(\)"),
    "weights alone": (lambda: Net().state_dict(), r"found OrderedDict .*module\.load_state_dict"),
    "a checkpoint": (lambda: {"model": Net().state_dict()}, r"found dict .*load_state_dict"),
    "a path": (lambda: "net.pt", r"found the path 'net\.pt'; make the module and load its weights"),
    "a program": (
        lambda: torch.export.export(Net(), (torch.zeros(2, 1, 32, 32),)),
        r"found ExportedProgram; pass program\.module\(\)",
    ),
    "a program of one batch": (
        lambda: torch.export.export(Net(), (torch.zeros(2, 1, 32, 32),)).module(),
        "it takes 2 images and not 1: pass the module .*static_batch=2",
    ),
}


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_module_is_exported_or_refused_with_what_to_do(tmp_path, kind, format):
    make, reason = KINDS[kind]
    torch.manual_seed(0)
    module = quietly(make)
    if reason is not None:
        with pytest.raises(InputError, match=f"(?s)^module: .*{reason}"):
            lenet_export.export(module, format, tmp_path / "a")
        assert not list(tmp_path.iterdir())
        return
    expected = eager(copy.deepcopy(module), noise(3))
    artifact = lenet_export.export(module, format, tmp_path / "a", batch_sizes=[2])
    with lenet_runtime.load(artifact.path) as session:
        np.testing.assert_allclose(session.run(noise(3)), expected, rtol=1e-4, atol=1e-5)


# ---- compilers


@pytest.mark.parametrize("chained", ["__cause__", "__context__"])
def test_ctrl_c_inside_a_compiler_is_no_failure_of_its(net, monkeypatch, chained):
    """PyTorch's exporter makes an error of whatever stops it."""
    error = torch.onnx.errors.OnnxExporterError("it failed")
    setattr(error, chained, KeyboardInterrupt())

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(KeyboardInterrupt):
        formats.build(Request(net, "onnx", "fp32", Device("cpu")))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AssertionError("of its own"), r"cannot be compiled \(AssertionError: of its own\)$"),
        (OSError(27, "File too large"), "room for files in TMPDIR"),
        (KeyError("getpwuid(): uid not found: 100123"), "need HOME and USER"),
        (RecursionError("too deep"), "RecursionError: too deep"),
    ],
)
def test_whatever_a_compiler_raises_is_a_deploy_error(net, tmp_path, monkeypatch, error, reason):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(DeployError, match=f"onnx: .*{reason}"):
        lenet_export.export(net, "onnx", tmp_path / "a")
    assert not list(tmp_path.iterdir())
