"""The network is inferred from names and shapes where these say it, and asked for where not."""

import pytest
import safetensors.torch
import torch
from lenet_members import MEMBERS, Tutorial, numbered
from torch import nn

from lenet_deploy.training.checkpoint import load_network
from lenet_deploy.training.family import LeNet
from lenet_deploy.training.model import Net
from lenet_runtime.errors import ArtifactError, InputError


def save(weights, path):
    """Write by the suffix; safetensors sorts the names."""
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(weights, path)
    else:
        torch.save(weights, path)
    return path


def layer_names(module):
    return [n for n, m in module.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(("make", "told", "said"), MEMBERS.values(), ids=MEMBERS)
def test_a_member_of_the_family_is_inferred_and_answers_alike(tmp_path, make, told, said, suffix):
    torch.manual_seed(0)
    module = make()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as training leaves it
            nn.init.uniform_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 1e-4, 1e-3)  # eps counts
    module.eval()
    loaded = load_network(save(module.state_dict(), tmp_path / f"a{suffix}"), **told)
    assert f"inferred: {said}" in loaded.notes
    images = torch.randn(3, *loaded.input_shape)
    with torch.inference_mode():
        tolerance = 1e-4 if "batch norm" in said else 0  # which is folded
        torch.testing.assert_close(
            loaded.module(images), module(images), rtol=tolerance, atol=tolerance
        )
    assert layer_names(loaded.module) == layer_names(module)
    assert loaded.labels == tuple(map(str, range(loaded.module(images).shape[1])))
    assert not loaded.module.training


def test_net_s_own_shapes_are_net_whatever_their_names(tmp_path):
    torch.manual_seed(0)
    weights = numbered(3, 576).state_dict()
    loaded = load_network(save(weights, tmp_path / "a.pt"))
    assert type(loaded.module) is Net
    assert loaded.notes[0].endswith("input 1x32x32; named conv1, conv2, fc1, fc2, fc3")
    assert torch.equal(loaded.module.fc2.weight, weights["9.weight"])


def test_another_size_that_fits_is_said(tmp_path):
    loaded = load_network(save(Tutorial().state_dict(), tmp_path / "a.pt"))
    said = "the weights also fit images of 28x28 with padding 2 in the first convolution: --input"
    assert f"{said}-size 28" in loaded.notes


def test_names_that_pytorch_cannot_give_are_replaced_and_said(tmp_path):
    odd = ["forward", "a b", "\x1b[2J", "training", "ü.x"]
    layers = ["conv1", "conv2", "fc1", "fc2", "fc3"]
    names = dict(zip(layers, odd, strict=True))
    weights = {
        f"{names[layer]}.{part}": value
        for (layer, part), value in (
            (name.split("."), value) for name, value in Tutorial().state_dict().items()
        )
    }
    loaded = load_network(save(weights, tmp_path / "a.pt"))
    assert isinstance(loaded.module, LeNet)
    assert loaded.notes[0].endswith("; named conv1, conv2, fc1, fc2, fc3")
    assert {name.partition(".")[0] for name in loaded.module.state_dict()} == set(layers)


def layers(*shapes):
    return {f"l{i}.weight": torch.zeros(shape) for i, shape in enumerate(shapes)}


LINES = ((6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84))
UNCLEAR = {
    "7x7": (layers((6, 1, 7, 7), (10, 400)), "kernels of 3x3 and 5x5, found 7x7 in l0.weight"),
    "1x1": (layers((6, 1, 1, 1), (10, 400)), "found 1x1"),
    "3x5": (layers((6, 1, 3, 5), (10, 400)), "found 3x5"),
    "dense alone": (layers((10, 784)), "found no convolutions"),
    "convolutions alone": (layers((6, 1, 5, 5), (10, 6, 5, 5)), "found no dense layers"),
    "no chain": (layers((6, 1, 5, 5), (16, 8, 5, 5), (10, 400)), "the layers make no chain"),
    "grouped": (layers((6, 1, 5, 5), (6, 1, 5, 5), (10, 150)), "the layers make no chain"),
    "two channels": (layers((6, 2, 5, 5), (10, 1176)), "1 or 3 channels, found 2 in l0.weight"),
    "64x64": (
        layers((6, 1, 5, 5), (16, 6, 5, 5), (10, 16 * 169)),
        "name their size with --input-s",
    ),
    "no multiple": (
        layers((6, 1, 5, 5), (16, 6, 5, 5), (10, 401)),
        "401 features, which 16 channel",
    ),
    "3-D": (
        layers(*LINES) | {"x.weight": torch.zeros(3, 3, 3)},
        "no layer with x.weight (3, 3, 3)",
    ),
    "a scale": (layers(*LINES) | {"scale": torch.tensor(2.0)}, "no layer with scale ()"),
    "layer norm": (
        layers(*LINES) | {"n.weight": torch.ones(6), "n.bias": torch.ones(6)},
        "no layer with n.weight (6,), n.bias (6,)",
    ),
    "PReLU": (layers(*LINES) | {"act.weight": torch.ones(1)}, "no layer with act.weight (1,)"),
    "a bias too long": (layers(*LINES) | {"l0.bias": torch.ones(7)}, "no layer with l0.bias (7,)"),
    "norm of a dense layer": (
        layers(*LINES) | {f"n.{part}": torch.ones(120) for part in ("running_mean", "running_var")},
        "not clear what n follows",
    ),
    "empty": (
        layers((6, 1, 5, 5), (0, 6, 5, 5), (10, 400)),
        "no layer with l1.weight (0, 6, 5, 5)",
    ),
}


@pytest.mark.parametrize(("weights", "said"), UNCLEAR.values(), ids=UNCLEAR)
def test_what_the_weights_do_not_say_is_asked_for_in_one_line(tmp_path, weights, said):
    path = save(weights, tmp_path / "a.pt")
    with pytest.raises(ArtifactError) as caught:
        load_network(path)
    text = str(caught.value)
    assert said in text
    assert "--model FILE.py:ClassName" in text
    assert "\n" not in text


def norm(name, length):
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": torch.ones(length) for part in parts}


def named(*names_and_shapes):
    return {f"{name}.weight": torch.zeros(shape) for name, shape in names_and_shapes}


FIRST, EQUAL = (8, 1, 3, 3), (8, 8, 3, 3)
TWO_ORDERS = {
    "convolutions named in words": (
        ".safetensors",  # which sorts: one, three, two
        named(("one", FIRST), ("two", EQUAL), ("three", EQUAL), ("fc", (10, 72))),
        "fit in more than one order",
    ),
    "dense layers named in words": (
        ".safetensors",
        named(("c", FIRST), ("a", (84, 1352)), ("mid", (84, 84)), ("hid", (84, 84)))
        | named(("out", (10, 84))),
        "fit in more than one order",
    ),
    "a norm behind the first or the second": (
        ".pt",
        named(("conv1", FIRST), ("conv2", EQUAL)) | norm("bn", 8) | named(("fc", (10, 200))),
        "not clear what bn follows",
    ),
    "a norm, sorted": (
        ".safetensors",
        named(("conv1", FIRST), ("conv2", EQUAL), ("fc", (10, 200))) | norm("cz", 8),
        "not clear what cz follows",
    ),
    "a norm behind a dense layer as long as a convolution": (
        ".pt",
        named(("conv1", FIRST), ("conv2", (64, 8, 3, 3)), ("fc1", (64, 1600)))
        | norm("bn", 64)
        | named(("fc2", (10, 64))),
        "not clear what bn follows",
    ),
    "as many norms as convolutions": (
        ".pt",
        named(("conv1", FIRST))
        | norm("bn1", 8)
        | named(("conv2", (64, 8, 3, 3)), ("fc1", (64, 1600)))
        | norm("bn2", 64)
        | named(("fc2", (10, 64))),
        "not clear what bn2 follows",
    ),
    "norms named in words": (
        ".safetensors",
        named(("conv1", FIRST), ("conv2", EQUAL), ("fc", (10, 200)))
        | norm("n_one", 8)
        | norm("a_two", 8),
        "not clear what",
    ),
}


@pytest.mark.parametrize(("suffix", "weights", "said"), TWO_ORDERS.values(), ids=TWO_ORDERS)
def test_no_order_is_guessed(tmp_path, suffix, weights, said):
    with pytest.raises(ArtifactError, match=said):
        load_network(save(weights, tmp_path / f"a{suffix}"))


def test_norms_named_in_words_follow_in_the_order_of_the_definition(tmp_path):
    weights = named(("conv1", FIRST), ("conv2", EQUAL)) | norm("n_one", 8) | norm("a_two", 8)
    weights["a_two.bias"] = torch.full((8,), 7.0)
    path = save(weights | named(("fc", (10, 200))), tmp_path / "a.pt")
    assert load_network(path).module.conv2.bias.mean() > 5


@pytest.mark.parametrize(
    ("side", "advice"),
    [
        (11, "choose with --input-size, or name"),  # 32x32 pooled first, or 28x28 pooled last
        (16, "after l2; name"),  # 32x32 with padding, pooled after any one
    ],
)
def test_networks_that_fit_equally_well_are_named(tmp_path, side, advice):
    weights = layers((6, 1, 3, 3), (6, 6, 3, 3), (6, 6, 3, 3), (10, 6 * side**2))
    with pytest.raises(ArtifactError, match="fit more than one network: input 32x32") as caught:
        load_network(save(weights, tmp_path / "a.pt"))
    assert advice in str(caught.value)


def test_a_size_that_the_weights_do_not_fit_is_refused(tmp_path):
    path = save(Tutorial().state_dict(), tmp_path / "a.pt")
    with pytest.raises(ArtifactError, match="images of 40x40 do not become"):
        load_network(path, input_size=(40, 40))


@pytest.mark.parametrize("count", [8, 60])
def test_many_layers_take_no_time(tmp_path, count):
    """Orders are not tried by the million."""
    weights = layers((6, 1, 3, 3), (10, 7), *[(84, 84)] * count)
    with pytest.raises(ArtifactError, match="layers"):
        load_network(save(weights, tmp_path / "a.safetensors"))


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"activation": "gelu"}, "--activation: expected relu, tanh, sigmoid, found 'gelu'"),
        ({"pooling": "min"}, "--pooling: expected max, average, found 'min'"),
        ({"labels": ["a", "b"]}, "--labels: expected 10 different names"),
        ({"labels": list("aabcdefghi")}, "--labels: expected 10 different names"),
        ({"std": 0.0}, "--mean, --std"),
        ({"mean": float("nan")}, "--mean, --std"),
    ],
)
def test_a_wrong_option_is_refused(option, said):
    with pytest.raises(InputError) as caught:
        load_network(**option)
    assert said in str(caught.value)


def test_options_are_what_is_loaded():
    loaded = load_network(mean=0.5, std=0.25, labels=list("abcdefghij"))
    assert (loaded.preprocessing.mean, loaded.preprocessing.std) == (0.5, 0.25)
    assert loaded.labels == tuple("abcdefghij")
    assert loaded.notes == ()
