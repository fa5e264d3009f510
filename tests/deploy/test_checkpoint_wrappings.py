"""Everyday wrappings of the right weights are undone, and said; others are named in a sentence."""

import argparse
import pathlib
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.torch
import torch
from checkpoint_files import same
from torch import nn

from lenet_deploy.training.checkpoint import load_checkpoint, load_network
from lenet_deploy.training.model import Net
from lenet_runtime.errors import ArtifactError


def renamed(weights, prefix):
    return {f"{prefix}{name}": value for name, value in weights.items()}


def cast(weights, dtype):
    return {name: value.to(dtype) for name, value in weights.items()}


# Of flat dicts, which both kinds of file hold: what becomes of Net's weights, and what is said.
FLAT = {
    "plain": (lambda w: w, ""),
    "DataParallel": (lambda w: renamed(w, "module."), "dropped the prefix 'module.'"),
    "compiled": (lambda w: renamed(w, "_orig_mod."), "dropped the prefix '_orig_mod.'"),
    "compiled DataParallel": (
        lambda w: renamed(w, "_orig_mod.module."),
        "dropped the prefixes 'module.', '_orig_mod.'",
    ),
    "Lightning's": (lambda w: renamed(w, "model."), "dropped the prefix 'model.'"),
    "net.": (lambda w: renamed(w, "net."), "dropped the prefix 'net.'"),
    "two": (lambda w: renamed(w, "model.net."), "dropped the prefixes 'model.', 'net.'"),
    "of any name": (lambda w: renamed(w, "my_lenet."), "dropped the prefix 'my_lenet.'"),
    "beside a loss": (
        lambda w: renamed(w, "model.") | {"criterion.weight": torch.ones(10)},
        "dropped the prefix 'model.'; ignored criterion.weight",
    ),
    "averaged": (
        lambda w: renamed(w, "module.") | {"n_averaged": torch.tensor(3)},
        "dropped the prefix 'module.'; ignored n_averaged",
    ),
    "half": (lambda w: cast(w, torch.float16), "cast float16 to float32"),
    "bfloat16": (lambda w: cast(w, torch.bfloat16), "cast bfloat16 to float32"),
    "double": (lambda w: cast(w, torch.float64), "cast float64 to float32"),
    "some half": (
        lambda w: w | {"fc1.weight": w["fc1.weight"].half()},
        "cast float16 to float32",
    ),
    "a counter": (lambda w: w | {"steps": torch.tensor(7)}, "ignored steps"),
}


def read(path, net):
    """Load Net's weights, whose rounding to fewer bits is what `net` has; returns what is said."""
    loaded = load_network(path)
    assert type(loaded.module) is Net
    for name, value in loaded.module.state_dict().items():
        torch.testing.assert_close(value, net.state_dict()[name], rtol=2**-8, atol=1e-7)
    first, *_, last = loaded.notes
    assert last.startswith("assumed, for weights do not say: ReLU (--activation), max pooling")
    return first.removeprefix(f"{path}: ") if first.startswith(str(path)) else ""


@pytest.mark.parametrize("kind", ["safetensors", "zip", "old pickle"])
@pytest.mark.parametrize(("wrap", "said"), FLAT.values(), ids=FLAT)
def test_a_wrapped_state_dict_is_unwrapped(fresh_net, tmp_path, wrap, said, kind):
    path, weights = tmp_path / "mine", wrap(dict(fresh_net.state_dict()))
    if kind == "safetensors":
        safetensors.torch.save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=kind == "zip")
    assert read(path, fresh_net) == said


def lightning(weights):
    optimizer = torch.optim.Adam(list(weights.values()))
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": renamed(weights, "model."),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{}": {"best_model_score": torch.tensor(0.9)}},
        "optimizer_states": [optimizer.state_dict()],
        "hyper_parameters": argparse.Namespace(
            lr=0.1, folder=pathlib.PurePosixPath("/x"), score=np.float64(1.5), loss=nn.NLLLoss()
        ),
    }


NESTED = {
    **{
        name: (lambda w, name=name: {name: w, "epoch": 3}, f"took {name!r}")
        for name in ("state_dict", "model_state_dict", "model", "net", "weights", "ours")
    },
    "PyTorch's recipe": (
        lambda w: {
            "epoch": 3,
            "model_state_dict": w,
            "optimizer_state_dict": torch.optim.SGD(list(w.values()), 0.1).state_dict(),
            "loss": 0.3,
        },
        "took 'model_state_dict'",
    ),
    "Adam's state": (
        lambda w: {
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(6, 1, 3, 3)}}, "param_groups": []},
            "ours": w,
        },
        "took 'ours'",
    ),
    "two deep": (lambda w: {"model": {"state_dict": w}}, "took 'model'; took 'state_dict'"),
    "beside an average": (lambda w: {"ema": w, "model": w}, "took 'model'"),
    "all at once": (
        lambda w: {"model_state_dict": renamed(cast(w, torch.float16), "module.")},
        "took 'model_state_dict'; dropped the prefix 'module.'; cast float16 to float32",
    ),
    "a dict of dicts": (
        lambda w: {
            layer: {part: w[f"{layer}.{part}"] for part in ("weight", "bias")}
            for layer in ("conv1", "conv2", "fc1", "fc2", "fc3")
        },
        "joined the names of layers and weights",
    ),
    "parameters": (lambda w: {n: nn.Parameter(v) for n, v in w.items()}, ""),
    "numbers among them": (lambda w: w | {"epoch": 3, "loss": 0.1}, "ignored epoch, loss"),
    "Lightning": (lightning, "took 'state_dict'; dropped the prefix 'model.'"),
}


@pytest.mark.parametrize("name", ["mine.pt", "mine.ckpt", "mine.bin", "mine.tar", "mine"])
@pytest.mark.parametrize(("nest", "said"), NESTED.values(), ids=NESTED)
def test_a_nested_state_dict_is_found(fresh_net, tmp_path, nest, said, name):
    torch.save(nest(dict(fresh_net.state_dict())), tmp_path / name)
    assert read(tmp_path / name, fresh_net) == said


def test_what_is_wrapped_and_what_is_not_is_the_same_network(fresh_net, tmp_path):
    """The fingerprint of the weights must be the same, so the names and bits must be."""
    torch.save({"model": renamed(fresh_net.state_dict(), "module.")}, tmp_path / "a.pt")
    assert same(load_checkpoint(tmp_path / "a.pt"), fresh_net)


def larger_than_float32(weights):
    return weights | {"fc1.weight": weights["fc1.weight"].double() * 1e300}


# What a file holds, made of Net's weights, and the words of the one sentence that it gets.
REFUSED = {
    "numbers float32 lacks": (larger_than_float32, "float32 can hold, found larger ones in fc1.w"),
    "NaN": (lambda w: w | {"fc1.bias": torch.full((120,), torch.nan)}, "NaN or infinity in fc1.b"),
    "text": (lambda w: w | {"fc3.bias": "text"}, "a tensor as fc3.bias, found str"),
    "nothing": (lambda w: w | {"fc3.bias": None}, "a tensor as fc3.bias, found NoneType"),
    "sparse": (lambda w: w | {"fc3.bias": torch.zeros(10).to_sparse()}, "fc3.bias that is not den"),
    "meta": (lambda w: w | {"fc3.bias": torch.zeros(10, device="meta")}, "fc3.bias without values"),
    "complex": (lambda w: w | {"fc3.bias": torch.zeros(10) * 1j}, "fc3.bias of complex64"),
    "int8": (lambda w: w | {"fc1.weight": w["fc1.weight"].to(torch.int8)}, "quantized or an index"),
    "quantized": (
        lambda w: w | {"fc1.weight": torch.quantize_per_tensor(w["fc1.weight"], 1, 0, torch.qint8)},
        "fc1.weight that is quantized",
    ),
    "a list": (lambda w: list(w.values()), "a state dict, found list"),
    "a tensor": (lambda w: w["fc1.weight"], "a state dict, found Tensor"),
    "a number": (lambda _: 3, "a state dict, found int"),
    "empty": (lambda _: {}, "found an empty one"),
    "an optimizer": (
        lambda w: torch.optim.SGD(list(w.values()), 0.1, momentum=0.9).state_dict(),
        "found 'state', 'param_groups' and no weights of layers",
    ),
    "two networks": (lambda w: {"teacher": w, "student": w}, "found 2, 'teacher', 'student'"),
    "arrays": (lambda w: {n: v.numpy() for n, v in w.items()}, "array or number of NumPy"),
    "a counter alone": (lambda _: {"step": torch.tensor(3)}, "found 'step' and no weights"),
    "a module": (lambda _: Net(), "found a whole pickled object (lenet_deploy.training.model.Net)"),
    "a module inside": (
        lambda _: {"epoch": 3, "model": Net()},
        "found a whole pickled object (lenet_deploy.training.model.Net) as 'model'",
    ),
    "a pruned layer": (
        lambda w: w | {"fc1.weight_mask": torch.ones(120, 576)},
        "no layer with fc1.weight_mask (120, 576)",
    ),
}


def refusal(path):
    """The error of a file, which is one sentence on one line and names the file."""
    with pytest.raises(ArtifactError) as caught:
        load_network(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < 420 + len(str(path))
    assert "train this network" not in text.lower()
    return text


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(("wrap", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_unwrapped_is_named_in_one_sentence(fresh_net, tmp_path, wrap, said):
    torch.save(wrap(dict(fresh_net.state_dict())), tmp_path / "a.pt")
    assert said in refusal(tmp_path / "a.pt")


def test_a_whole_module_s_refusal_says_how_to_save_its_weights(fresh_net, tmp_path):
    torch.save(fresh_net, tmp_path / "a.pt")
    assert "torch.save(net.state_dict(), 'lenet.pt')" in refusal(tmp_path / "a.pt")


def numpy_file(path, net):
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.with_suffix(".npy").rename(path)


def numpy_archive(path, net):
    np.savez(path.with_suffix(".npz"), a=np.zeros(3))
    path.with_suffix(".npz").rename(path)


def scripted(path, net):
    torch.jit.save(torch.jit.script(net), path)


def exported(path, net):
    torch.export.save(torch.export.export(net, (torch.zeros(2, 1, 32, 32),)), path)


STRANGERS = {
    "LFS": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "HTML": (b"<!DOCTYPE html><html>", "an HTML page"),
    "empty": (b"", "it is empty"),
    "gzip": (b"\x1f\x8b\x08", "gunzip"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "HDF5, as Keras writes"),
    "text": (b"conv1 0.3 0.1\n" * 9, "neither safetensors nor of torch.save"),
    "zip": (b"PK\x05\x06" + bytes(18), "an empty zip archive"),
    "ONNX": (b"\x08\x0a\x12\x07pytorch", "an ONNX model"),
    "NumPy": (numpy_file, "an array of NumPy"),
    "NumPy's archive": (numpy_archive, "an archive of NumPy arrays"),
    "pickled arrays": (
        lambda path, net: path.write_bytes(pickle.dumps(OrderedDict(a=np.zeros(3)))),
        "a pickle that torch.save did not write",
    ),
    "TorchScript": (scripted, "a TorchScript archive, which holds code"),
    "torch.export": (exported, "of torch.export"),
}


@pytest.mark.parametrize("name", ["mine.pt", "mine.safetensors", "mine"])
@pytest.mark.parametrize(("make", "said"), STRANGERS.values(), ids=STRANGERS)
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_what_came_in_place_of_a_checkpoint_is_named(fresh_net, tmp_path, make, said, name):
    path = tmp_path / name
    path.write_bytes(make) if isinstance(make, bytes) else make(path, fresh_net)
    assert said in refusal(path)


@pytest.mark.parametrize(("name", "found"), [("none.pt", "no file"), ("folder.pt", "a folder")])
def test_a_path_that_is_no_file_is_refused(tmp_path, name, found):
    (tmp_path / "folder.pt").mkdir()
    assert f"expected a checkpoint, found {found}" in refusal(tmp_path / name)
